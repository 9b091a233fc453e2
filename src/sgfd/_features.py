"""Raw item features, gathered by row."""

from operator import attrgetter
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

FeatureSource: TypeAlias = "Tensor | np.ndarray"


class FeatureTable(nn.Module):
    """A table of raw features that gives the rows asked for, on the module's device.

    A tensor (or an array in memory, which is not copied) is a buffer that checkpoints leave out:
    it is input, not something learned. A memory map stays on disk and only the rows asked for
    are read.

    Args:
        source: (N, F), floating: tensor, array or ``numpy.memmap``.
        name: of the argument it came by, for errors.
        num_rows: how many rows it must have; None for any.
        trainable: whether the features are parameters (then checkpoints hold them).

    Raises:
        ValueError: if it is not two-dimensional, floating, finite or of ``num_rows`` rows.
    """

    def __init__(
        self,
        source: "FeatureSource",
        *,
        name: str,
        num_rows: int | None = None,
        trainable: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.num_rows, self.width = _shape(source, name, num_rows)
        self.mapped = source if isinstance(source, np.memmap) else None
        if self.mapped is not None:
            if trainable:
                raise ValueError(f"{name} is a memory map, which cannot be trained; load it first.")
            # No rows, only the device and dtype that .to() gives this module.
            values = torch.empty(0, dtype=torch.float32)
        else:
            values = _tensor(source)
            _check_finite(values, name)
        if trainable:
            self.values: Tensor = nn.Parameter(values.clone())
        else:
            self.register_buffer("values", values.detach(), persistent=False)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Features of some items, or of all.

        Args:
            rows: (n,) int64 item indices; None for all.

        Returns:
            (n, F).

        Raises:
            ValueError: if rows read from a memory map hold NaN or infinity (a tensor was
                checked as a whole when it came).
        """
        if self.mapped is None:
            return self.values if rows is None else self.values[rows]
        picked = self.mapped if rows is None else self.mapped[rows.cpu().numpy()]
        values = torch.from_numpy(np.array(picked)).to(self.values.device)
        _check_finite(values, self.name)
        return values

    def same_as(self, other: "FeatureTable") -> bool:
        """Whether both read the same memory, or the same map."""
        if self.mapped is not None or other.mapped is not None:
            return self.mapped is other.mapped
        a, b = self.values, other.values
        alike = (a.device, a.dtype, a.shape) == (b.device, b.dtype, b.shape)
        return alike and a.data_ptr() == b.data_ptr()

    def extra_repr(self) -> str:
        """The table's shape, and where it lies."""
        return f"{self.num_rows}, {self.width}" + (", mapped" if self.mapped is not None else "")


def _shape(source: "FeatureSource", name: str, num_rows: int | None) -> tuple[int, int]:
    if not isinstance(source, (Tensor, np.ndarray)):
        raise TypeError(f"{name} must be a tensor or an array; got {type(source).__qualname__}.")
    floating = (
        source.is_floating_point()
        if isinstance(source, Tensor)
        else np.issubdtype(source.dtype, np.floating)
    )
    if source.ndim != 2 or not floating:
        raise ValueError(
            f"{name} must be (num_items, width) of a floating dtype; "
            f"got shape {tuple(source.shape)} of {source.dtype}."
        )
    if num_rows is not None and len(source) != num_rows:
        raise ValueError(f"{name} must have one row per item ({num_rows}); got {len(source)} rows.")
    return source.shape[0], source.shape[1]


def _tensor(source: "FeatureSource") -> Tensor:
    if isinstance(source, Tensor):
        return source
    # torch takes only arrays in the machine's byte order, with positive strides, of a precision it
    # knows, and warns of those it must not write to: a copy is the only safe way to hold them.
    dtype = np.float64 if source.dtype.itemsize > 8 else source.dtype.newbyteorder("=")
    native = np.ascontiguousarray(source, dtype=dtype)
    return torch.from_numpy(native if native.flags.writeable else native.copy())


def _check_finite(values: Tensor, name: str) -> None:
    finite = values.isfinite().all(dim=-1)
    if not finite.all():
        bad = (~finite).nonzero().flatten().tolist()
        raise ValueError(
            f"{name} must be finite; {len(bad)} of the rows read hold NaN or infinity, the first "
            f"at position {bad[0]}. Fill them in, or leave those items out."
        )


def live_rows(backbone: nn.Module, path: str, rows: Tensor) -> Tensor:
    """Rows of the tensor at a dotted path of the backbone (of an ``nn.Embedding``, its weight)."""
    value = _at(backbone, path)
    return value(rows) if isinstance(value, FeatureTable) else value[rows]


def live_shape(backbone: nn.Module, path: str) -> tuple[int, int]:
    """The shape of what ``live_rows`` reads, checked."""
    value = _at(backbone, path)
    if isinstance(value, FeatureTable):
        return value.num_rows, value.width
    return _shape(value, f"The tensor at {path!r}", None)


def _at(backbone: nn.Module, path: str) -> "Tensor | FeatureTable":
    try:
        value = attrgetter(path)(backbone)
    except AttributeError as error:
        raise ValueError(
            f"Features given as a string are the dotted path of a tensor of the backbone; {path!r} "
            f"is none: {error}."
        ) from None
    value = value.weight if isinstance(value, nn.Embedding) else value
    if not isinstance(value, (Tensor, FeatureTable)):
        raise TypeError(
            f"The path {path!r} must lead to a (num_items, width) tensor, nn.Parameter or "
            f"nn.Embedding of the backbone; got {type(value).__qualname__}."
        )
    return value
