"""What a computation has to do, counted operator by operator."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from .ceilings import Ceilings

aten = torch.ops.aten
GATHERS = {aten.index, aten.index_select, aten.embedding, aten.gather}
PRODUCTS = {aten.mm, aten.addmm, aten._sparse_mm, aten._sparse_addmm}
UNTOUCHED = {aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty}


class Work(NamedTuple):
    """What was counted.

    Attributes:
        flop: of dense matrix products, by torch's own formulas; a multiplication and an addition
            are two.
        gathered: bytes of rows picked by index, read and written; of a sparse product, the row
            that each of its entries reads.
        moved: bytes of every tensor read or written by any other operator; a copy that reads and
            writes counts twice. Views, products' own operands and what NumPy does are not counted.
    """

    flop: float
    gathered: float
    moved: float

    def seconds_at(self, ceilings: Ceilings) -> float:
        """How long the three would take one after another, each as fast as the machine can."""
        return (
            self.flop / ceilings.product
            + self.gathered / ceilings.gather
            + self.moved / ceilings.copy
        )


def count(call: Callable[[], object]) -> Work:
    """Makes a call and counts."""
    with _Counter() as counter:
        call()
    return Work(counter.flop, counter.gathered, counter.moved)


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.flop = self.gathered = self.moved = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        operator = func._overloadpacket
        given, made = _tensors((args, kwargs)), _tensors(out)
        sparse = next((x for x in given if x.layout != torch.strided), None)
        if sparse is not None and operator in PRODUCTS:
            self.gathered += sparse._nnz() * _row_bytes(made)
            self.moved += _bytes(made)
        elif operator in flop_registry:
            self.flop += flop_registry[operator](*args, **kwargs, out_val=out)
        elif func.namespace == "sgfd":  # kernels of the graph: (edges, values, ...)
            self.gathered += len(args[0][1]) * _row_bytes(given)
            self.moved += _bytes(made)
        elif operator in GATHERS:
            self.gathered += 2 * _bytes(made)
        elif operator not in UNTOUCHED and not _is_view(func, given, made):
            self.moved += _bytes(given) + _bytes(made)
        return out


def _tensors(tree: object) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


def _bytes(tensors: list[Tensor]) -> int:
    return sum(x.numel() * x.element_size() for x in tensors if x.layout == torch.strided)


def _row_bytes(tensors: list[Tensor]) -> int:
    return sum(x.shape[1] * x.element_size() for x in tensors if x.ndim == 2)


def _is_view(func: Any, given: list[Tensor], made: list[Tensor]) -> bool:
    if func._schema.is_mutable or not made:
        return False
    memory = {x.untyped_storage().data_ptr() for x in given if x.layout == torch.strided}
    return all(x.layout == torch.strided and x.untyped_storage().data_ptr() in memory for x in made)
