"""The kernels as operators that autograd and ``torch.compile`` know.

A direction of the graph comes as a list of six index tensors, ``Edges`` without its weights:
torch's compiler refuses sparse tensors, but takes an operator over plain ones.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sgfd.graph._backend import backend as current
from sgfd.graph._kernels import product, row_reduce, sampled_product


def _op(name: str, values: str) -> "Callable[[Callable[..., Tensor]], Any]":
    schema = f"(Tensor[] edges, {values}, str backend) -> Tensor"
    op: Callable[[Callable[..., Tensor]], Any] = torch.library.custom_op(
        f"sgfd::{name}", mutates_args=(), schema=schema
    )
    return op


@_op("spmm", "Tensor weights, Tensor x")
def spmm(edges: list[Tensor], weights: Tensor, x: Tensor, backend: str) -> Tensor:
    """Each row's weighted sum, (num_rows, D)."""
    ptr, column, edge, *_ = edges
    with torch.autocast(x.device.type, enabled=False):
        return product(ptr, column, _by_row(weights, edge), x, _name(backend))


@_op("sddmm", "Tensor x, Tensor y")
def sddmm(edges: list[Tensor], x: Tensor, y: Tensor, backend: str) -> Tensor:  # noqa: ARG001
    """The inner product of x at the row and y at the column of each edge, (E,)."""
    ptr, column, edge, back_ptr, back_column, _ = edges
    with torch.autocast(x.device.type, enabled=False):
        if len(edge) == 0:
            return sampled_product(ptr, column, x, y)
        # The direction whose order is that of values, so that nothing is put in order after.
        return sampled_product(back_ptr, back_column, y, x)


@_op("edge_softmax", "Tensor scores")
def edge_softmax(edges: list[Tensor], scores: Tensor, backend: str) -> Tensor:
    """The softmax of each row's scores, (E,)."""
    shares = (scores - _reduced(edges, scores, "max", backend)).exp_()
    return shares.div_(_reduced(edges, shares, "sum", backend))


@_op("edge_sum", "Tensor values")
def edge_sum(edges: list[Tensor], values: Tensor, backend: str) -> Tensor:
    """The sum of each row's values, at each of its edges, (E,)."""
    return _reduced(edges, values, "sum", backend)


def _reduced(edges: list[Tensor], values: Tensor, reduce: str, backend: str) -> Tensor:
    ptr, column, edge, _, back_column, _ = edges
    found = row_reduce(_by_row(values, edge), ptr, reduce, _name(backend))
    if len(edge):  # the order of values is that of the other direction, whose columns are the rows
        return found.index_select(0, back_column)
    return found.repeat_interleave(ptr.diff(), output_size=len(column))


def _back(edges: list[Tensor]) -> list[Tensor]:
    return [*edges[3:], *edges[:3]]


def _by_row(values: Tensor, edge: Tensor) -> Tensor:
    return values.index_select(0, edge) if len(edge) else values


def _name(backend: str) -> str:
    # "auto" where a compiler asked: it cannot look at the environment, and so the kernel does.
    return current().name if backend == "auto" else backend


def _rows(edges: list[Tensor], weights: Tensor, x: Tensor, backend: str) -> Tensor:  # noqa: ARG001
    return x.new_empty(edges[0].shape[0] - 1, x.shape[1])


def _values(edges: list[Tensor], x: Tensor, y: Tensor, backend: str) -> Tensor:  # noqa: ARG001
    return x.new_empty(edges[1].shape[0])


def _like(edges: list[Tensor], values: Tensor, backend: str) -> Tensor:  # noqa: ARG001
    return torch.empty_like(values)


spmm.register_fake(_rows)
sddmm.register_fake(_values)
edge_softmax.register_fake(_like)
edge_sum.register_fake(_like)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    edges, *values, ctx.backend = inputs
    ctx.save_for_backward(*edges, *values)


def _saved(ctx: Any) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    return list(ctx.saved_tensors[:6]), ctx.saved_tensors[6:]


def _spmm_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    edges, (weights, x) = _saved(ctx)
    _, to_weights, to_x, _ = ctx.needs_input_grad
    return (
        [None] * 6,
        sddmm(edges, grad, x, ctx.backend) if to_weights else None,
        spmm(_back(edges), weights, grad, ctx.backend) if to_x else None,
        None,
    )


def _sddmm_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    edges, (x, y) = _saved(ctx)
    _, to_x, to_y, _ = ctx.needs_input_grad
    return (
        [None] * 6,
        spmm(edges, grad, y, ctx.backend) if to_x else None,
        spmm(_back(edges), grad, x, ctx.backend) if to_y else None,
        None,
    )


def _save_shares(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    edges, _, ctx.backend = inputs
    ctx.save_for_backward(*edges, output)


def _softmax_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    edges, (shares,) = _saved(ctx)
    weighted = shares * grad
    return [None] * 6, weighted - shares * edge_sum(edges, weighted, ctx.backend), None


def _sum_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    edges, _ = _saved(ctx)
    return [None] * 6, edge_sum(edges, grad, ctx.backend), None


spmm.register_autograd(_spmm_backward, setup_context=_save)
sddmm.register_autograd(_sddmm_backward, setup_context=_save)
edge_softmax.register_autograd(_softmax_backward, setup_context=_save_shares)
edge_sum.register_autograd(_sum_backward, setup_context=_save)
