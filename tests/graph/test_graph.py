import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array, csr_array

from sgfd.graph import Bipartite, backend, propagate, use_backend


def interactions(users, items, density, seed):
    rng = np.random.default_rng(seed)
    return csr_array((rng.random((users, items)) < density).astype(float))


def test_stored_zeros_and_values_are_no_weights():
    plain = Bipartite(csr_array(np.array([[1, 0, 1], [0, 1, 0]])))
    odd = csr_array(
        (np.array([5.0, 0.0, 3.0, 2.0]), (np.array([0, 0, 0, 1]), np.array([0, 1, 2, 1]))), (2, 3)
    )
    weighted = Bipartite(odd)
    assert weighted.num_edges == 3
    assert torch.equal(weighted.weights, plain.weights)
    assert torch.equal(weighted.item_users, plain.item_users)


def test_duplicate_edges_are_an_error():
    twice = csr_array((np.ones(2), np.array([1, 1]), np.array([0, 2, 2])), shape=(2, 3))
    for form in (twice, coo_array((np.ones(2), ([1, 1], [2, 2])), shape=(2, 3))):
        with pytest.raises(ValueError, match=r"\(user, item\) once; 1 of 2 entries repeat one"):
            Bipartite(form)
    with pytest.raises(TypeError, match="must be a SciPy sparse .* got ndarray"):
        Bipartite(np.eye(3))


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
import warnings
from sgfd.graph import backend, use_backend
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert [backend().name for _ in range(2)] == ["torch", "torch"]
print(*[w.message for w in caught])
with use_backend("torch-sparse"):
    backend()
"""


def test_kernels_built_for_another_torch_are_warned_of_once_and_forcing_them_is_an_error():
    environment = {k: v for k, v in os.environ.items() if k != "SGFD_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], capture_output=True, text=True, env=environment
    )
    trouble = "importing torch_sparse failed (OSError: undefined symbol)"
    assert done.stdout.count(f"torch-sparse is installed, but {trouble}; plain torch is used") == 1
    assert f"The torch-sparse backend is forced by use_backend(), but {trouble}" in done.stderr
    for said in (done.stdout, done.stderr):
        assert "pip install torch-sparse torch-scatter -f https://" in said
