"""A distilled model over memory maps, the same in every process that builds it.

As a script, with RANK and WORLD_SIZE set, it writes a worker's part: ``python streamed.py FOLDER``.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch

from sgfd import Distilled, distill
from sgfd.backbones import VBPR
from sgfd.data import synthetic_catalog
from sgfd.export import stream_features

ITEMS, CHUNK = 110, 16  # 7 chunks, the last of 14


def model(folder: Path, *, seed: int = 0, scale: float = 1.0) -> Distilled:
    """Image features are a float16 map with a missing row, text features a float32 map."""
    data = synthetic_catalog(num_users=40, num_items=ITEMS, widths={"image": 33, "text": 9})
    maps = {}
    for m, dtype in (("image", np.float16), ("text", np.float32)):
        if not (path := folder / f"{m}.npy").exists():
            x = (scale * data.features[m]).astype(dtype)
            if m == "image":
                x[37] = np.nan
            np.save(path, x)
        maps[m] = np.load(path, mmap_mode="r")
    made = distill(VBPR(data.train, maps, dim=5, seed=seed), maps, data.labels, seed=1)
    with torch.no_grad():
        for m, student in made.backbone.projections.items():
            student.bias.add_(len(m))
    return made


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    part = (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    stream_features(model(folder), folder / "out", chunk_size=CHUNK, part=part)
