"""Each backend, on each device there is, against a dense computation: values and gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from sgfd.graph import (
    Bipartite,
    _kernels,
    dropout_edges,
    edge_softmax,
    mask_edges,
    propagate,
    sddmm,
    spmm,
    use_backend,
)
from sgfd.graph._backend import torch_sparse_trouble

needs_kernels = pytest.mark.skipif(
    torch_sparse_trouble() is not None, reason=f"torch-sparse: {torch_sparse_trouble()}"
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
BACKENDS = ["torch", pytest.param("torch-sparse", marks=[pytest.mark.kernels, needs_kernels])]
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])]
DIRECTIONS = ["to_users", "to_items"]

on_each = [
    pytest.mark.parametrize("direction", DIRECTIONS),
    pytest.mark.parametrize("device", DEVICES),
    pytest.mark.parametrize("name", BACKENDS),
]


def on_each_backend(test):
    for mark in on_each:
        test = mark(test)
    return test


@st.composite
def graphs(draw):
    """Random interactions; with users without items, items without users, and no edge at all."""
    users, items = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    density = draw(st.sampled_from([0.0, 0.15, 0.5, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    return csr_array((rng.random((users, items)) < density).astype(float))


class Case:
    """A graph in one direction, its dense twin, and double-precision inputs of every kind."""

    def __init__(self, matrix, direction, device, index_dtype=torch.int64):
        graph = Bipartite(matrix, index_dtype=index_dtype).double().to(device)
        self.edges = getattr(graph, direction)
        users, items = (torch.from_numpy(x).to(device) for x in matrix.nonzero())
        # The order of values is by user, then by item, whatever the direction.
        self.row, self.column = (users, items) if direction == "to_users" else (items, users)
        self.generator = torch.Generator().manual_seed(matrix.nnz)
        self.device = device
        self.x = self.random(self.edges.num_columns, 3)
        self.y = self.random(self.edges.num_rows, 3)
        self.values = self.random(matrix.nnz)

    def random(self, *shape):
        x = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        return x.to(self.device).requires_grad_()

    def dense(self, values):
        """The matrix that has a value at each edge."""
        empty = torch.zeros(
            self.edges.num_rows, self.edges.num_columns, dtype=values.dtype, device=self.device
        )
        return empty.index_put((self.row, self.column), values)

    def softmax(self):
        """Of each row of the dense matrix, taken at its edges."""
        filled = torch.full_like(self.dense(self.values), -torch.inf)
        filled = filled.index_put((self.row, self.column), self.values)
        return filled.softmax(-1)[self.row, self.column]

    def assert_equal(self, got, expected, *inputs):
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)
        # The gradient of a sum is one number repeated without memory of its own.
        for cotangent in (
            self.random(*got.shape).detach(),
            torch.ones_like(got[:1]).expand_as(got),
        ):
            ours, dense = (torch.autograd.grad(y, inputs, cotangent, True) for y in (got, expected))
            torch.testing.assert_close(ours, dense, atol=1e-12, rtol=1e-12)


@on_each_backend
@settings(max_examples=25, deadline=None)
@given(matrix=graphs(), index_dtype=st.sampled_from([torch.int64, torch.int32]))
def test_kernels_equal_the_dense_computation(name, device, direction, matrix, index_dtype):
    case = Case(matrix, direction, device, index_dtype)
    edges, x, y, values = case.edges, case.x, case.y, case.values
    with use_backend(name):
        case.assert_equal(spmm(edges, x), case.dense(edges.weights) @ x, x)
        case.assert_equal(spmm(edges, x, values), case.dense(values) @ x, x, values)
        dots = (y @ x.T)[case.row, case.column]
        case.assert_equal(sddmm(edges, y, x), dots, y, x)
        case.assert_equal(edge_softmax(edges, values), case.softmax(), values)


@on_each_backend
@pytest.mark.parametrize("index_dtype", [torch.int64, torch.int32])
def test_single_precision_reads_views_as_what_they_show(name, device, direction, index_dtype):
    # A CPU has a kernel for float32 alone, which chooses by how rows lie in memory.
    matrix = csr_array((np.random.default_rng(5).random((40, 30)) < 0.3).astype(float))
    case = Case(matrix, direction, device, index_dtype)
    wide = case.random(case.edges.num_columns, 40).detach().float()
    every_other = case.random(2 * matrix.nnz).detach().float()[::2]
    dense = case.dense(every_other)
    views = (wide, wide[:, 5:22], wide[:, ::3], wide.T.contiguous().T, wide[:, :1].expand(-1, 9))
    with use_backend(name):
        for x in views:
            torch.testing.assert_close(
                spmm(case.edges, x, every_other), dense @ x, atol=1e-5, rtol=1e-5
            )


@on_each_backend
@settings(max_examples=10, deadline=None)
@given(matrix=graphs())
def test_attention_as_a_whole_equals_the_dense_computation(name, device, direction, matrix):
    case = Case(matrix, direction, device)
    edges, x, y = case.edges, case.x, case.y
    with use_backend(name):
        got = spmm(edges, x, edge_softmax(edges, sddmm(edges, y, x)))
    case.values = (y @ x.T)[case.row, case.column]
    case.assert_equal(got, case.dense(case.softmax()) @ x, x, y)


@on_each_backend
def test_gradcheck_of_first_and_second_order(name, device, direction):
    rng = np.random.default_rng(0)
    case = Case(csr_array((rng.random((4, 5)) < 0.6).astype(float)), direction, device)
    with use_backend(name):
        for function, inputs in (
            (lambda x, w: spmm(case.edges, x, w), (case.x, case.values)),
            (lambda y, x: sddmm(case.edges, y, x), (case.y, case.x)),
            (lambda s: edge_softmax(case.edges, s), (case.values,)),
        ):
            assert torch.autograd.gradcheck(function, inputs)
            assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", BACKENDS)
def test_the_symmetric_product_equals_that_of_the_whole_adjacency(name, device):
    matrix = csr_array((np.random.default_rng(5).random((7, 6)) < 0.4).astype(float))
    case = Case(matrix, "to_users", device)
    users, items = case.random(7, 3), case.random(6, 3)
    r = torch.from_numpy(matrix.toarray()).to(device)
    adjacency = torch.zeros(13, 13, dtype=torch.float64, device=device)
    adjacency[:7, 7:], adjacency[7:, :7] = r, r.T
    degrees = 1 / (adjacency.sum(1) + 1e-7).sqrt()
    expected = (degrees[:, None] * adjacency * degrees) @ torch.cat([users, items])
    graph = Bipartite(matrix).double().to(device)
    # The weights were rounded when the graph was made in single precision.
    with use_backend(name):
        got = torch.cat(propagate(graph, users, items))
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)


@on_each_backend
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_is_computed_in_float32(name, device, direction, dtype):
    matrix = csr_array((np.random.default_rng(1).random((40, 30)) < 0.5).astype(float))
    case = Case(matrix, direction, device)
    edges = case.edges._replace(weights=case.edges.weights.float())
    x, y = (a.detach().to(dtype).requires_grad_() for a in (case.x, case.y))
    values = case.values.detach().to(dtype)
    with use_backend(name), torch.autocast(device, dtype=torch.bfloat16):
        got = (spmm(edges, x), spmm(edges, x, values), sddmm(edges, y, x))
        softmax = edge_softmax(edges, values)
    row, column = case.row, case.column
    exact = (
        case.dense(edges.weights) @ x.float(),
        case.dense(values.float()) @ x.float(),
        (y.float() @ x.float().T)[row, column],
    )
    for ours, expected in zip(got, exact, strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, expected.to(dtype), atol=1e-6, rtol=1e-6)
    assert softmax.dtype == dtype
    got[0].sum().backward()
    assert x.grad.dtype == dtype


@on_each_backend
def test_the_same_input_gives_the_same_bits(name, device, direction):
    if device == "cuda":
        pytest.skip("only promised on a CPU")
    matrix = csr_array((np.random.default_rng(2).random((300, 200)) < 0.05).astype(float))
    case = Case(matrix, direction, device)

    def run():
        x, y = case.x.detach().requires_grad_(), case.y.detach().requires_grad_()
        out = spmm(case.edges, x, edge_softmax(case.edges, sddmm(case.edges, y, x)))
        return out, *torch.autograd.grad(out.square().sum(), (x, y))

    with use_backend(name):
        first = run()
        for _ in range(3):
            assert all(map(torch.equal, first, run()))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_devices_without_csr_kernels_gather_in_chunks(monkeypatch, direction):
    monkeypatch.setattr(_kernels, "has_csr", lambda device_type: False)
    monkeypatch.setattr(_kernels, "GATHERED", 3 * 7)  # seven edges at a time
    rng = np.random.default_rng(3)
    for density in (0.0, 0.3, 1.0):
        matrix = csr_array((rng.random((6, 8)) < density).astype(float))
        case = Case(matrix, direction, "cpu")
        edges, x, y, values = case.edges, case.x, case.y, case.values
        with use_backend("torch"):
            case.assert_equal(spmm(edges, x, values), case.dense(values) @ x, x, values)
            dots = (y @ x.T)[case.row, case.column]
            case.assert_equal(sddmm(edges, y, x), dots, y, x)


def test_a_build_without_a_kernel_is_noticed(monkeypatch):
    assert _kernels.has_csr("cpu")

    def missing(*args, beta):
        raise RuntimeError("not in this build")

    monkeypatch.setattr("torch.sparse.sampled_addmm", missing)
    _kernels.has_csr.cache_clear()
    try:
        assert not _kernels.has_csr("cpu")
    finally:
        _kernels.has_csr.cache_clear()


# opcheck's own, with torch 2.15, of tensors that it made itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@on_each_backend
def test_operators_are_well_formed(name, device, direction):
    matrix = csr_array((np.random.default_rng(4).random((5, 6)) < 0.5).astype(float))
    case = Case(matrix, direction, device)
    edges = list(case.edges[:6])
    for op, inputs in (
        ("spmm", (edges, case.values, case.x, name)),
        ("sddmm", (edges, case.y, case.x, name)),
        ("edge_softmax", (edges, case.values, name)),
        ("edge_sum", (edges, case.values, name)),
    ):
        torch.library.opcheck(getattr(torch.ops.sgfd, op).default, inputs)


@on_each_backend
def test_the_compiler_takes_them_in_one_graph(name, device, direction, monkeypatch):
    monkeypatch.setenv("SGFD_BACKEND", name)
    matrix = csr_array((np.random.default_rng(6).random((9, 7)) < 0.5).astype(float))
    case = Case(matrix, direction, device)

    def attention(edges, x, y):
        return spmm(edges, x, edge_softmax(edges, sddmm(edges, y, x))) + spmm(edges, x)

    torch.compiler.reset()
    compiled = torch.compile(attention, fullgraph=True, backend="aot_eager")
    expected = attention(case.edges, case.x, case.y)
    case.assert_equal(compiled(case.edges, case.x, case.y), expected, case.x, case.y)


def test_dropped_edges_are_dropped_alike_in_both_directions_and_scaled():
    graph = Bipartite(csr_array(np.ones((40, 50))))
    torch.manual_seed(0)
    kept = dropout_edges(graph.to_users, 0.25)
    torch.manual_seed(0)
    assert torch.equal(dropout_edges(graph.to_items, 0.25), kept)
    assert set(kept.tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs((kept > 0).double().mean().item() - 0.75) < 0.05
    assert torch.equal(dropout_edges(graph.to_users, 0.25, training=False), torch.ones(2000))
    ones = torch.ones(50, 1)
    users = spmm(graph.to_users, ones, kept).squeeze()
    torch.testing.assert_close(users, kept.view(40, 50).sum(1))
    with pytest.raises(ValueError, match="p must be at least 0 and below 1; got 1"):
        dropout_edges(graph.to_users, 1)


@pytest.mark.parametrize("index_dtype", [torch.int64, torch.int32])
def test_masked_edges_are_those_of_the_pairs_in_either_direction(index_dtype):
    matrix = np.random.default_rng(7).random((9, 6)) < 0.4
    graph = Bipartite(csr_array(matrix.astype(float)), index_dtype=index_dtype)
    # Twice the same, one that is no edge, the last edge and beyond it.
    pairs = {tuple(pair) for pair in np.argwhere(matrix)[[0, 3, 3, 8, -1]].tolist()}
    none = {tuple(pair) for pair in np.argwhere(~matrix)[[0, -1]].tolist()}
    users, items = torch.tensor([*pairs, *pairs, *none, (8, 5)]).to(index_dtype).T
    want = torch.tensor(
        [float(tuple(pair) not in pairs | {(8, 5)}) for pair in np.argwhere(matrix)]
    )
    assert 0 < want.sum() < len(want)
    assert torch.equal(mask_edges(graph.to_users, users, items), want)
    assert torch.equal(mask_edges(graph.to_items, items, users), want)

    nobody = Bipartite(csr_array((9, 6)))
    assert len(mask_edges(nobody.to_users, users, items)) == 0
    with pytest.raises(ValueError, match=r"of the same pairs; got shapes \(9,\) and \(8,\)"):
        mask_edges(graph.to_users, users[:9], items[:8])
    with pytest.raises(ValueError, match=r"columns must be in 0\.\.5"):
        mask_edges(graph.to_users, users, items + 1)


def test_pairs_of_many_users_and_items_are_found_by_small_indices():
    last = 69_999  # last * last is beyond int32
    where = torch.tensor([0, last]).numpy()
    graph = Bipartite(csr_array((np.ones(2), (where, where)), shape=(last + 1, last + 1)))
    pair = torch.tensor([last], dtype=torch.int32)
    assert mask_edges(graph.to_users, pair, pair).tolist() == [1, 0]


def test_wrong_shapes_are_named():
    graph = Bipartite(csr_array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]))
    x = torch.ones(3, 2)
    with pytest.raises(ValueError, match=r"x must be \(3, D\), one row per node; got .*\(2, 2\)"):
        spmm(graph.to_users, x[:2])
    with pytest.raises(ValueError, match=r"weights must be \(3,\), one per edge .* \(2,\)"):
        spmm(graph.to_users, x, torch.ones(2))
    with pytest.raises(ValueError, match=r"y must be \(3, D\)"):
        sddmm(graph.to_users, torch.ones(2, 2), torch.ones(2, 2))
    with pytest.raises(ValueError, match="equally wide; got 2 and 4"):
        sddmm(graph.to_users, torch.ones(2, 2), torch.ones(3, 4))
    with pytest.raises(TypeError, match=r"x must be floating, .* got torch.int64"):
        spmm(graph.to_users, torch.ones(3, 2, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"graph.to_users or graph.to_items, .* got Bipartite"):
        spmm(graph, x)
    with pytest.raises(ValueError, match=r"scores must be \(3,\)"):
        edge_softmax(graph.to_users, torch.ones(4))
    with pytest.raises(ValueError, match="index_dtype must be .* got torch.int16 for 3 edges"):
        Bipartite(csr_array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), index_dtype=torch.int16)
