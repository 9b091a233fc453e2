"""An accelerator that is none: tensors of a device "pretend", computed on the CPU.

As with a GPU, an operation on tensors of two devices is an error. What a GPU would have to be
waited for (values, and sizes that depend on values, that Python is told) is counted in ``waits``.
It lasts as long as the process. Run as a program it trains each backbone there, and prints what it
saw.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "pretend"
WAITING = ("_local_scalar_dense", "equal", "nonzero", "_unique2", "masked_select", "is_nonzero")
waits: Counter[str] = Counter()


class _Backend(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class Pretend(Tensor):
    """Looks as if it were on the device; ``raw`` is on the CPU."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> "Pretend":
        found: Pretend = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.shape,
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=torch.device(NAME, 0),
        )
        found.raw = raw
        return found

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # fmt: skip
        return _run(func, args, kwargs or {})


def _raw(x: Tensor) -> Tensor:
    return x.raw if isinstance(x, Pretend) else x


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    name = func._schema.name.removeprefix("aten::")
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    here = [x for x in tensors if isinstance(x, Pretend)]
    away = [x for x in tensors if not isinstance(x, Pretend) and x.ndim]
    device = kwargs.get("device")
    to_cpu = device is not None and torch.device(device).type == "cpu"
    if name in ("_to_copy", "copy_"):
        if here and (to_cpu or not isinstance(args[0], Pretend)):
            waits["to the CPU"] += 1
    elif here and away:
        shapes = [(tuple(x.shape), str(x.device)) for x in tensors]
        raise RuntimeError(f"{name} is given tensors of two devices: {shapes}")
    if here and name in WAITING:
        waits[name] += 1
    if name.startswith("index") and any(x.dtype in (torch.bool, torch.uint8) for x in here[1:]):
        waits["index by a mask"] += 1
    made_here = bool(here) if device is None else not to_cpu
    given = {**kwargs, "device": torch.device("cpu")} if device is not None else kwargs
    out = func(*tree_map_only(Tensor, _raw, args), **tree_map_only(Tensor, _raw, given))
    if not made_here:
        return out
    # What was changed in place is the very tensor that was given.
    known = {id(_raw(x)): x for x in tensors}
    return tree_map_only(Tensor, lambda x: known[id(x)] if id(x) in known else Pretend(x), out)


def _kernel(op: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: _run(op, args, kwargs)


_setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
_FALLBACK = torch.library.Library("_", "IMPL")
_FALLBACK.fallback(lambda op, *args, **kwargs: _run(op, args, kwargs), "PrivateUse1")
_ATEN = torch.library.Library("aten", "IMPL")
for _overload in ("default", "start", "start_step"):  # they would resize what they fill
    _op = getattr(torch.ops.aten.arange, _overload)
    _ATEN.impl(f"arange.{_overload}".removesuffix(".default"), _kernel(_op), "PrivateUse1")


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """What is waited for within."""
    waits.clear()
    found: dict[str, int] = {}
    yield found
    found.update(waits)


def main() -> None:
    """One line of JSON per case: whether it equals the CPU, and what a late step waits for."""
    from gpu.steps import CASES, gradients, make, pairs

    from sgfd.graph import _kernels

    # There are none of the kernels that CUDA has: edges are gathered, on both devices.
    _kernels.has_csr = lambda device: False  # type: ignore[assignment]
    for case in CASES:
        model = make(case)
        batch = pairs()
        loss, wanted = gradients(model, batch)
        model, batch = model.to(NAME), type(batch)(*(x.to(NAME) for x in batch))
        there, found = gradients(model, batch)
        same = all(torch.equal(x.cpu(), wanted[name]) for name, x in found.items())
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(60):
            with counted() as waited:
                optimizer.zero_grad()
                model(batch).backward()
                optimizer.step()
        equal = same and torch.equal(there.cpu(), loss)
        print(json.dumps({"case": str(case), "equal": equal, "waits": waited}))
    try:
        torch.ones(2, device=NAME) + torch.ones(2)
    except RuntimeError as error:
        print(json.dumps({"case": "two devices", "error": str(error)}))
    with counted() as waited:
        x = torch.arange(3, device=NAME)
        assert x.max() == 2
        assert x[x > 0].cpu().tolist() == [1, 2]
    print(json.dumps({"case": "waiting", "waits": waited}))


if __name__ == "__main__":
    sys.exit(main())
