"""A made-up catalog of any size in a folder, for the benchmarks that need one larger than memory.

    python benchmarks/large_catalog.py --folder catalog                         # 9 GB
    python benchmarks/large_catalog.py --folder small --items 2000 --users 1000 --pairs 20000

It holds ``image.npy`` and ``text.npy`` (float16), ``labels.npy``, and ``users.npy`` and
``items.npy``, the pairs sorted by user, then item. The numbers depend on the seed and sizes only.
What a broken-off run has written is kept and gone on from. Memory stays below 1 GB: features are
made in chunks.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from tqdm import tqdm

WIDTHS = {"image": 4096, "text": 384}
NUM_CLASSES = 256
# Rows made at once: 64 MB of image features in float32.
CHUNK = 4096


class Catalog(NamedTuple):
    """What lies in a folder.

    Attributes:
        features: memory maps, (num_items, width) float16.
        labels: (num_items,) int64, the class that features are drawn around.
        train: (num_users, num_items), the interactions.
    """

    features: dict[str, np.memmap]
    labels: npt.NDArray[np.int64]
    train: csr_array


def catalog(folder: Path, *, items: int, users: int, pairs: int, seed: int = 0) -> Catalog:
    """Makes what is not there yet in a folder, and opens it.

    Args:
        folder: made if need be; about ``items * 8960`` bytes.
        items: number of items.
        users: number of users.
        pairs: number of interactions, each (user, item) once; at most half of all possible.
        seed: of all numbers.

    Raises:
        ValueError: if the folder holds a catalog of other sizes or another seed, or for too many
            pairs.
    """
    if not 0 < pairs <= items * users // 2:
        raise ValueError(f"pairs must be in 1..{items * users // 2}; got {pairs}.")
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"items": items, "users": users, "pairs": pairs, "seed": seed, "widths": WIDTHS}
    said = folder / "catalog.json"
    if said.exists() and json.loads(said.read_text()) != settings:
        raise ValueError(
            f"{folder} holds another catalog: {said.read_text()}. Give another folder."
        )
    said.write_text(json.dumps(settings))
    labels = np.random.default_rng([seed, 0]).integers(0, NUM_CLASSES, items)
    if not (folder / "labels.npy").exists():
        _save(folder / "labels.npy", labels)
    if not (folder / "items.npy").exists():
        made = _pairs(items, users, pairs, np.random.default_rng([seed, 1]))
        for name, values in zip(("users", "items"), made, strict=True):
            _save(folder / f"{name}.npy", values)
    for place, (name, width) in enumerate(WIDTHS.items()):
        if not (folder / f"{name}.npy").exists():
            _write_features(folder / f"{name}.npy", labels, width, (seed, 2 + place))
    return open_catalog(folder)


def open_catalog(folder: Path) -> Catalog:
    """What ``catalog`` has made in a folder; features are not read."""
    sizes = json.loads((folder / "catalog.json").read_text())
    users, columns = np.load(folder / "users.npy"), np.load(folder / "items.npy")
    ends = np.bincount(users, minlength=sizes["users"]).cumsum(dtype=np.int32)
    starts = np.concatenate([np.zeros(1, np.int32), ends])
    ones = np.ones(columns.size, np.float32)
    train = csr_array((ones, columns, starts), shape=(sizes["users"], sizes["items"]))
    features = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in WIDTHS}
    return Catalog(features, np.load(folder / "labels.npy"), train)


def _pairs(
    items: int, users: int, pairs: int, draw: np.random.Generator
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Distinct pairs; the busiest hundredth of the items has about a fifth of them."""
    names = draw.permutation(items)
    keys = np.empty(0, np.int64)
    while keys.size < pairs:
        num = max(pairs - keys.size, 1000)
        who = (users * draw.random(num) ** 1.5).astype(np.int64)
        what = names[(items * draw.random(num) ** 3).astype(np.int64)]
        keys = np.unique(np.concatenate([keys, who * items + what]))
    if keys.size > pairs:
        keys = np.sort(draw.choice(keys, pairs, replace=False))
    who, what = np.divmod(keys, items)
    return who.astype(np.int32), what.astype(np.int32)


def _write_features(
    path: Path, labels: npt.NDArray[np.int64], width: int, seed: tuple[int, int]
) -> None:
    """Features around their class' center, appended chunk by chunk, whole only under their name."""
    part = path.with_suffix(".part")
    header = {"descr": "<f2", "fortran_order": False, "shape": (labels.size, width)}
    centers = np.random.default_rng(seed).standard_normal((NUM_CLASSES, width), dtype=np.float32)
    with part.open("ab") as file:
        if file.tell() < 128:
            file.truncate(0)
            np.lib.format.write_array_header_1_0(file, header)
        start = file.tell() - (file.tell() - 128) % (CHUNK * width * 2)
        file.truncate(start)
        first = (start - 128) // (CHUNK * width * 2)
        chunks = range(first, -(-labels.size // CHUNK))
        for chunk in tqdm(chunks, desc=path.name, mininterval=5.0):
            some = labels[chunk * CHUNK : (chunk + 1) * CHUNK]
            draw = np.random.default_rng((*seed, chunk))
            values = draw.standard_normal((some.size, width), dtype=np.float32)
            values += centers[some]
            values.astype("<f2").tofile(file)
            file.flush()
    part.rename(path)


def _save(path: Path, values: npt.NDArray[np.generic]) -> None:
    part = path.with_suffix(".tmp.npy")
    np.save(part, values)
    part.rename(path)


def sizes_from(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which catalog, and where."""
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=20_000_000)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    sizes_from(parser)
    given = parser.parse_args()
    made = catalog(given.folder, items=given.items, users=given.users, pairs=given.pairs)
    print({name: (*map_.shape, str(map_.dtype)) for name, map_ in made.features.items()})
