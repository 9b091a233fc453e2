"""Nearest neighbors: exact against brute force, and the same in a fresh process."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sgfd import distill
from sgfd.backbones import BM3, GRCN, VBPR
from sgfd.data import synthetic_catalog
from sgfd.export import build_index, load_index, load_vectors, nearest, save_index, save_vectors


def vectors(rows=400, width=16, seed=0):
    x = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return x * torch.linspace(0.2, 3, rows).unsqueeze(1)  # of different lengths


def brute(items, queries, k, *, cosine):
    if cosine:
        items, queries = F.normalize(items), F.normalize(queries)
    return (queries @ items.T).topk(k, dim=1)


@pytest.mark.parametrize("cosine", [False, True])
def test_a_flat_index_is_exact(cosine):
    items, queries = vectors(), vectors(30, seed=1)
    found = nearest(build_index(items, cosine=cosine), queries, k=12)
    best = brute(items, queries, 12, cosine=cosine)
    assert torch.equal(found.items, best.indices)
    torch.testing.assert_close(found.scores, best.values)
    other = brute(items, queries, 12, cosine=not cosine)
    assert not torch.equal(found.items, other.indices)


@pytest.mark.parametrize("kind", ["HNSW32", "IVF8,Flat"])
@pytest.mark.parametrize("cosine", [False, True])
def test_an_approximate_index_finds_most_of_them(kind, cosine):
    items, queries = vectors(), vectors(50, seed=1)
    index = build_index(items, cosine=cosine, kind=kind)
    if kind.startswith("IVF"):
        import faiss

        faiss.ParameterSpace().set_index_parameter(index, "nprobe", 6)  # faiss's own options work
    found = nearest(index, queries, k=10).items
    best = brute(items, queries, 10, cosine=cosine).indices
    recall = np.mean(
        [len({*a} & {*b}) / 10 for a, b in zip(found.tolist(), best.tolist(), strict=True)]
    )
    assert recall > 0.9


@pytest.mark.parametrize("kind", [BM3, GRCN, VBPR])
def test_users_against_items_find_what_recommend_does(kind, tmp_path):
    data = synthetic_catalog(num_users=200, num_items=150)
    model = distill(kind(data.train, data.features, dim=8), data.features, data.labels).eval()
    save_vectors(tmp_path, model.vectors())
    saved = load_vectors(tmp_path)
    found = nearest(build_index(saved.items), saved.users, k=10)
    best = model.recommend(torch.arange(200), k=10)
    torch.testing.assert_close(found.scores, best.scores)
    assert torch.equal(found.items, best.items)


@pytest.mark.parametrize(("kind", "cosine"), [("Flat", False), ("Flat", True), ("HNSW16", True)])
def test_a_fresh_process_finds_the_same_neighbors(kind, cosine, tmp_path):
    items, queries = vectors(), vectors(20, seed=1)
    index = build_index(items, cosine=cosine, kind=kind)
    save_index(index, tmp_path / "new" / "items.faiss")
    np.save(tmp_path / "queries.npy", queries.numpy())
    code = (
        "import numpy as np\n"
        "from sgfd.export import load_index, nearest\n"
        "found = nearest(load_index('new/items.faiss'), np.load('queries.npy'), k=7)\n"
        "np.save('items.npy', found.items.numpy())\n"
        "np.save('scores.npy', found.scores.numpy())\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    here = nearest(index, queries, k=7)
    assert np.array_equal(np.load(tmp_path / "items.npy"), here.items.numpy())
    assert np.array_equal(np.load(tmp_path / "scores.npy"), here.scores.numpy())


def test_faiss_reads_the_file_itself_and_the_same_index_gives_the_same_bytes(tmp_path):
    import faiss

    paths = [save_index(build_index(vectors()), tmp_path / n / "x.faiss") for n in "ab"]
    assert faiss.read_index(str(paths[0])).ntotal == 400
    for name in ("x.faiss", "x.faiss.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_row_of_zeros_has_cosine_zero():
    items = torch.tensor([[0.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])
    found = nearest(build_index(items, cosine=True), torch.tensor([[5.0, 0.0], [0.0, 0.0]]), k=3)
    assert found.items[0].tolist() == [1, 0, 2]
    assert found.scores.tolist() == [[1, 0, -1], [0, 0, 0]]


def test_neighbors_that_are_not_found_are_minus_one():
    index = build_index(vectors(), kind="IVF40,Flat")  # looks into one of 40 parts
    found = nearest(index, vectors(3, seed=1), k=300)
    assert (found.items == -1).any()
    assert torch.equal(found.scores == -torch.inf, found.items == -1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_compared_in_float32(dtype):
    items = vectors().to(dtype)
    found = nearest(build_index(items), items[:5].numpy() if dtype == torch.float64 else items[:5])
    assert torch.equal(found.items, (items[:5].float() @ items.float().T).topk(20).indices)


INDEX = [
    ({"vectors": [[1.0]]}, TypeError, "vectors must be a tensor or an array; got list"),
    ({"vectors": torch.ones(3)}, ValueError, "vectors must be (num_items, width)"),
    ({"vectors": torch.full((3, 2), torch.nan)}, ValueError, "vectors must be finite; 3 of 3"),
    ({"kind": "Flatt"}, ValueError, "kind must be what faiss.index_factory takes, such as 'Flat'"),
    ({"kind": "IVF999,Flat"}, ValueError, "and fit the vectors (400, 16); got 'IVF999,Flat'"),
]


@pytest.mark.parametrize(("given", "error", "text"), INDEX, ids=range(len(INDEX)))
def test_what_cannot_be_indexed_is_refused(given, error, text):
    with pytest.raises(error) as caught:
        build_index(**{"vectors": vectors(), **given})
    assert text in str(caught.value)


def test_queries_that_do_not_fit_are_refused():
    index = build_index(vectors())
    for queries, k, error, text in (
        (
            torch.ones(2, 3),
            5,
            ValueError,
            r"queries must be \(n, 16\), as the index is; got \(2, 3",
        ),
        (torch.ones(2, 16) / 0, 5, ValueError, "queries must be finite"),
        (vectors(), 401, ValueError, r"k must be in 1\.\.400 .* got 401"),
        (vectors(), 2.5, ValueError, r"k must be in 1\.\.400 .* got 2\.5"),
    ):
        with pytest.raises(error, match=text):
            nearest(index, queries, k=k)
    with pytest.raises(TypeError, match=r"nearest needs a faiss\.Index, .* got Tensor"):
        nearest(vectors(), vectors())
    with pytest.raises(TypeError, match=r"save_index needs a faiss\.Index, .* got Tensor"):
        save_index(vectors(), "never.faiss")


def change(path, edit):
    data = bytearray(path.read_bytes())
    edit(data)
    path.write_bytes(data)


def test_an_index_that_does_not_fit_its_card_is_refused(tmp_path):
    path = save_index(build_index(vectors()), tmp_path / "x.faiss")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_index(build_index(vectors()), path)
    whole = path.read_bytes()
    for damaged, text in (
        (whole[:-1], "must have 25,645 bytes"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "must have the checksum"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=text):
            load_index(path)
    save_index(build_index(vectors()), path, overwrite=True)
    card = path.with_name("x.faiss.json")
    card.write_text(card.read_text().replace('"rows": 400', '"rows": 401'))
    with pytest.raises(ValueError, match="must have 401 rows of width 16, .* got 400 and 16"):
        load_index(path)
    card.write_text(card.read_text().replace("x.faiss", "y.faiss"))
    with pytest.raises(
        ValueError, match=r"as save_index writes it; it is not: KeyError\('x\.faiss"
    ):
        load_index(path)
    card.unlink()
    with pytest.raises(FileNotFoundError, match=r"x\.faiss\.json is not there"):
        load_index(path)


def test_without_faiss_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r'build_index needs faiss.*pip install "sgfd\[export\]"'):
        build_index(vectors())


def test_what_float32_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="vectors in float32, which faiss compares, must be fin"):
        build_index(torch.tensor([[1e39, 1.0]], dtype=torch.float64))
