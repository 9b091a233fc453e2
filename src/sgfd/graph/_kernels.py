"""The arithmetic of each backend, without gradients, on plain index tensors.

A CPU sums rows as it sums bags of embeddings: of plain torch's products that is the fastest in
float32 (FBGEMM's kernel), several times over, and gave the same bits as ``torch.sparse.mm`` where
it was measured. CUDA multiplies CSR by dense, with cuSPARSE. Devices without CSR kernels get
gathers, some edges at a time.
"""

import warnings
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Numbers held at a time where edges are gathered: 16 MiB in float32.
GATHERED = 1 << 22


def product(ptr: Tensor, column: Tensor, weights: Tensor, x: Tensor, backend: str) -> Tensor:
    """Each row's weighted sum of its columns' rows of x, (num_rows, D)."""
    # Detached: kernels with gradients of their own would make the indices that those need.
    weights, x = weights.detach(), x.detach()
    if backend == "torch-sparse":
        out: Tensor = torch.ops.torch_sparse.spmm_sum(
            None, ptr.long(), column.long(), weights.contiguous(), None, None, x.contiguous()
        )
        return out
    if not has_csr(x.device.type):
        return gathered_product(ptr, column, weights, x)
    if x.device.type == "cpu":
        return F.embedding_bag(
            column, x, ptr, mode="sum", per_sample_weights=weights, include_last_offset=True
        )
    multiplied: Tensor = _csr(ptr, column, weights, len(x)) @ x
    return multiplied


def sampled_product(ptr: Tensor, column: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The inner product of each edge's rows of x and y, (E,), by row; torch-sparse has none."""
    if not has_csr(x.device.type):
        return gathered_sampled_product(ptr, column, x, y)
    pattern = _csr(ptr, column, torch.zeros(len(column), dtype=x.dtype, device=x.device), len(y))
    sampled: Tensor = torch.sparse.sampled_addmm(pattern, x, y.T, beta=0.0).values()
    # As they are, the values are a view of a sparse tensor, at which torch 2.4's compiler fails.
    return sampled.clone()


def row_reduce(values: Tensor, ptr: Tensor, reduce: str, backend: str) -> Tensor:
    """The "max" or "sum" of each row's edges, (num_rows,), of values by row."""
    if backend == "torch-sparse":
        pick = torch.ops.torch_scatter
        kernel = pick.segment_sum_csr if reduce == "sum" else pick.segment_max_csr
        found = kernel(values, ptr.long(), None)
        reduced: Tensor = found if reduce == "sum" else found[0]
        return reduced
    return torch.segment_reduce(values, reduce, offsets=ptr.long(), unsafe=True)


def gathered_product(ptr: Tensor, column: Tensor, weights: Tensor, x: Tensor) -> Tensor:
    """``product`` by gathering and adding, some edges at a time."""
    out = torch.zeros(len(ptr) - 1, x.shape[1], dtype=x.dtype, device=x.device)
    for rows, some in _chunks(ptr, x.shape[1]):
        out.index_add_(0, rows, x[column[some]] * weights[some, None])
    return out


def gathered_sampled_product(ptr: Tensor, column: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """``sampled_product`` by gathering, some edges at a time."""
    out = torch.empty(len(column), dtype=x.dtype, device=x.device)
    for rows, some in _chunks(ptr, x.shape[1]):
        out[some] = (x[rows] * y[column[some]]).sum(-1)
    return out


@cache
def has_csr(device_type: str) -> bool:
    """Whether this build of torch has the CSR kernels for a kind of device."""
    one = torch.ones(1, 1, device=device_type)
    ptr, column = torch.tensor([0, 1], device=device_type), torch.tensor([0], device=device_type)
    try:
        with warnings.catch_warnings():
            # Said once per process, of the first CSR tensor: that these kernels are in beta. What
            # is used of them is held by tests.
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            matrix = _csr(ptr, column, one[0], 1)
        torch.sparse.sampled_addmm(matrix, one, one, beta=0.0)
        if device_type != "cpu":
            matrix @ one
    except (RuntimeError, NotImplementedError):  # what torch raises where a kernel is missing
        return False
    return True


def _csr(ptr: Tensor, column: Tensor, values: Tensor, columns: int) -> Tensor:
    size = (len(ptr) - 1, columns)
    return torch.sparse_csr_tensor(ptr, column, values, size, check_invariants=False)


def _chunks(ptr: Tensor, width: int) -> "list[tuple[Tensor, slice]]":
    """The row of each edge, and which edges, in chunks of bounded size."""
    edges = int(ptr[-1])
    rows = torch.arange(len(ptr) - 1, device=ptr.device)
    rows = rows.repeat_interleave(ptr.diff(), output_size=edges)
    step = max(1, GATHERED // max(1, width))
    starts = range(0, edges, step)
    return [(rows[s : s + step], slice(s, min(s + step, edges))) for s in starts]
