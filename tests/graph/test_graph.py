import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from sgfd.graph import Bipartite, backend, propagate, use_backend
from sgfd.graph._backend import torch_sparse_trouble

needs_kernels = pytest.mark.skipif(
    torch_sparse_trouble() is not None, reason=f"torch-sparse: {torch_sparse_trouble()}"
)
BACKENDS = ["torch", pytest.param("torch-sparse", marks=[pytest.mark.kernels, needs_kernels])]


def interactions(users, items, density, seed):
    rng = np.random.default_rng(seed)
    return csr_array((rng.random((users, items)) < density).astype(float))


def dense_adjacency(matrix):
    """D^-1/2 A D^-1/2 of the whole bipartite graph, with D = degree + 1e-7."""
    r = (matrix.toarray() != 0).astype(float)
    a = np.block([[np.zeros((r.shape[0],) * 2), r], [r.T, np.zeros((r.shape[1],) * 2)]])
    d = 1 / np.sqrt(a.sum(1) + 1e-7)
    return torch.from_numpy(d[:, None] * a * d[None, :])


@pytest.mark.parametrize("name", BACKENDS)
@settings(max_examples=30, deadline=None)
@given(
    users=st.integers(1, 12),
    items=st.integers(1, 12),
    density=st.floats(0, 1),
    width=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_each_backend_equals_the_dense_product_with_its_gradients(
    name, users, items, density, width, seed
):
    torch.set_default_dtype(torch.float64)
    try:
        matrix = interactions(users, items, density, seed)
        graph = Bipartite(matrix)
        generator = torch.Generator().manual_seed(seed)
        x, cotangent = (torch.randn(users + items, width, generator=generator) for _ in range(2))
        x.requires_grad_()
        expected = dense_adjacency(matrix) @ x
        with use_backend(name):
            got = torch.cat(propagate(graph, x[:users], x[users:]))
            (gradient,) = torch.autograd.grad((got * cotangent).sum(), x)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)
    (expected_gradient,) = torch.autograd.grad((expected * cotangent).sum(), x)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", BACKENDS)
def test_gradcheck(name):
    graph = Bipartite(interactions(5, 4, 0.5, 0)).double()
    inputs = [torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (5, 4)]
    with use_backend(name):
        assert torch.autograd.gradcheck(lambda u, i: propagate(graph, u, i), inputs)


@pytest.mark.parametrize("name", BACKENDS)
def test_the_same_input_gives_the_same_bits(name):
    graph = Bipartite(interactions(300, 200, 0.05, 1))
    users, items = torch.randn(300, 16), torch.randn(200, 16)
    with use_backend(name):
        first = propagate(graph, users, items)
        for _ in range(3):
            assert all(map(torch.equal, first, propagate(graph, users, items)))


def test_stored_zeros_and_values_are_no_weights():
    plain = Bipartite(csr_array(np.array([[1, 0, 1], [0, 1, 0]])))
    odd = csr_array(
        (np.array([5.0, 0.0, 3.0, 2.0]), (np.array([0, 0, 0, 1]), np.array([0, 1, 2, 1]))), (2, 3)
    )
    weighted = Bipartite(odd)
    assert weighted.num_edges == 3
    assert torch.equal(weighted.user_weights, plain.user_weights)
    assert torch.equal(weighted.item_users, plain.item_users)


def test_duplicate_edges_are_an_error():
    twice = csr_array((np.ones(2), np.array([1, 1]), np.array([0, 2, 2])), shape=(2, 3))
    with pytest.raises(ValueError, match=r"each \(user, item\) once; 1 of 2 entries repeat one"):
        Bipartite(twice)


def test_the_graph_moves_with_its_module_and_stays_out_of_checkpoints():
    graph = Bipartite(interactions(5, 4, 0.5, 0))
    assert graph.state_dict() == {}
    assert {b.device.type for b in graph.to("meta").buffers()} == {"meta"}


def test_wrong_sizes_are_named():
    graph = Bipartite(interactions(5, 4, 0.5, 0))
    with pytest.raises(ValueError, match=r"one row per node \(5 and 4\); got shapes \(4, 2\)"):
        propagate(graph, torch.ones(4, 2), torch.ones(5, 2))


def test_the_backend_is_chosen_by_context_then_variable_then_measurement(monkeypatch):
    monkeypatch.delenv("SGFD_BACKEND", raising=False)
    assert backend().name == "torch"
    assert backend().reason.startswith("auto")
    monkeypatch.setenv("SGFD_BACKEND", "torch")
    assert backend().reason == "forced by SGFD_BACKEND"
    with use_backend("auto"):
        assert backend().reason.startswith("auto")
    monkeypatch.setenv("SGFD_BACKEND", "numpy")
    with pytest.raises(ValueError, match="must be one of .*; got 'numpy'"):
        backend()


BROKEN = """
import sys, types
from importlib.machinery import ModuleSpec
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch_sparse", "torch_scatter"):
            return ModuleSpec(name, self)
    def create_module(self, spec): return None
    def exec_module(self, module): raise OSError("undefined symbol")
sys.meta_path.insert(0, Finder())
from sgfd.graph import backend, use_backend
assert backend().name == "torch"
with use_backend("torch-sparse"):
    backend()
"""


def test_forcing_kernels_built_for_another_torch_is_an_error_that_says_why():
    environment = {k: v for k, v in os.environ.items() if k != "SGFD_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], capture_output=True, text=True, env=environment
    )
    expected = "importing torch_sparse failed (OSError: undefined symbol)"
    assert f"The torch-sparse backend is forced by use_backend(), but {expected}" in done.stderr
    assert "python -m sgfd" in done.stderr
