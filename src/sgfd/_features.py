"""Raw item features, gathered by row."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from sgfd._functional import same_memory
from sgfd._mapped import gather, mapping_of
from sgfd._rows import SAMPLED_ROWS, KeptRows, Rows, mean_row, missing_rows
from sgfd._tensor_checks import check_held

FeatureSource: TypeAlias = "Tensor | np.ndarray"


class FeatureTable(nn.Module):
    """A table of raw features that gives the rows asked for, on the module's device.

    A tensor (or an array in memory, which is copied only where rows are missing) is a buffer that
    checkpoints leave out: it is input, not something learned. A memory map stays on disk and only
    the rows asked for are read; float16 saves half of the disk, and is cast after that.

    A row of NaN throughout says that the item lacks the modality. It is read as the mean of rows
    that are there (of up to 1024, spread evenly over the table): zeros, which are far from every
    item where features are not centered, would be read as a strong opinion. Rows of a memory map
    are looked at when they are read, those of a tensor at once.

    Args:
        source: (N, F), floating: tensor, array or ``numpy.memmap``.
        name: of the argument it came by, for errors.
        num_rows: how many rows it must have; None for any.
        trainable: whether the features are parameters (then checkpoints hold them). Rows that
            are missing are not trained.

    Raises:
        ValueError: if it is not two-dimensional, floating or of ``num_rows`` rows, if a row is
            neither finite nor NaN throughout, or if all are NaN.
    """

    present: Tensor | None
    _mean: Tensor | None

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
        self.num_rows, self.width = checked_shape(source, name, num_rows)
        # What is computed from a map has its class, and is in memory all the same.
        self.mapped = (
            source if isinstance(source, np.memmap) and mapping_of(source) is not None else None
        )
        if self.mapped is not None:
            if trainable:
                raise ValueError(f"{name} is a memory map, which cannot be trained; load it first.")
            # No rows, only the device and dtype that .to() gives this module.
            values, missing = torch.empty(0, dtype=torch.float32), None
        else:
            values = as_tensor(source)
            missing = missing_rows(values, name)
        if missing is not None and missing.all():
            raise ValueError(
                f"{name} must be finite; {len(missing)} of the rows are NaN, which is all of them: "
                "no item has this modality. Leave it out."
            )
        present = None if missing is None else ~missing
        mean = None
        if present is not None:
            mean = mean_row(lambda rows: values[rows], len(values), present).to(values.device)
        self.register_buffer("present", present, persistent=False)
        self.register_buffer("_mean", mean, persistent=False)
        if trainable or present is not None:
            values = values.clone()
        if present is not None and mean is not None:
            values[~present] = mean.to(values)
        # Then rows that are missing are parameters, which nothing that is read is to move.
        self._trains_gaps = trainable and present is not None
        if trainable:
            self.values: Tensor = nn.Parameter(values)
        else:
            self.register_buffer("values", values.detach(), persistent=False)
        self._kept: KeptRows | None = None
        self._ahead: KeptRows | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "FeatureTable":
        """A table of its own that reads the same map, if it is one: nobody writes to it."""
        if self.mapped is not None:
            memo[id(self.mapped)] = self.mapped
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(deepcopy(self.__dict__, memo))
        return copied

    @property
    def dtype(self) -> torch.dtype:
        """Of the features as they are stored."""
        return self.values.dtype if self.mapped is None else as_tensor(self.mapped[:0]).dtype

    def forward(self, rows: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
        """Features of some items, or of all, the missing ones filled.

        Args:
            rows: (n,) int64 item indices; None for all.
            dtype: what they are cast to; None leaves them as they are stored.

        Returns:
            (n, F).

        Raises:
            ValueError: if rows read from a memory map hold infinity, or NaN in a part of a row
                (a tensor was checked as a whole when it came).
        """
        return self.read(rows, dtype).values

    def read(self, rows: Tensor | None = None, dtype: torch.dtype | None = None) -> Rows:
        """The same, with which of them are there."""
        dtype = dtype or self.dtype
        if torch.compiler.is_compiling():
            return self._read(rows, dtype)
        for kept in (self._kept, self._ahead):
            found = None if kept is None else kept.find(rows, self.values, dtype)
            if found is not None:
                return found
        read = self._read(rows, dtype)
        if self._kept is not None:
            self._kept.add(rows, self.values, read)
        return read

    def read_ahead(self, rows: Tensor) -> KeptRows:
        """Rows of the dtype of the module, to be handed to ``hold`` when their turn has come."""
        kept = KeptRows()
        kept.add(rows, self.values, self._read(rows, self.values.dtype))
        return kept

    def hold(self, ahead: KeptRows | None) -> None:
        """Takes rows that were read ahead in place of those held before; None for none."""
        self._ahead = ahead

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Within it, rows that were read are not gathered again."""
        self._kept = KeptRows()
        try:
            yield
        finally:
            self._kept = None

    def whole(self, dtype: torch.dtype) -> Tensor | None:
        """(N, F) what ``forward(None, dtype)`` gives, if that is at hand without any work."""
        if self.mapped is None and not self._trains_gaps and self.values.dtype == dtype:
            return self.values
        read = None if self._kept is None else self._kept.find(None, self.values, dtype)
        return None if read is None else read.values

    def _read(self, rows: Tensor | None, dtype: torch.dtype) -> Rows:
        if self.mapped is None:
            values = (self.values if rows is None else self.values[rows]).to(dtype)
            present = self.present if rows is None or self.present is None else self.present[rows]
        else:
            values = self._read_map(rows)
            if torch.promote_types(values.dtype, dtype) == dtype:
                values = values.to(dtype)  # looked through faster than in half precision
            missing = missing_rows(values, self.name)
            values, present = values.to(dtype), None if missing is None else ~missing
        if present is None or (self.mapped is None and not self._trains_gaps):
            return Rows(values, present)
        fill = self.fill().to(self.dtype).to(values)
        return Rows(torch.where(present.unsqueeze(-1), values, fill), present)

    def fill(self) -> Tensor:
        """(F,) what is read where an item lacks the modality."""
        if self._mean is None:
            if self.mapped is None:  # nothing is missing, and the values may be in training
                return mean_row(lambda rows: self.values[rows], self.num_rows, None)
            mean = mean_row(self._read_map, self.num_rows, None)
            if mean.isnan().any():
                raise ValueError(
                    f"{self.name} must have rows that are not NaN to fill those that are; none was "
                    f"found among {min(SAMPLED_ROWS, self.num_rows)} spread evenly over the map. "
                    "Leave the modality out, or fill it yourself and pass missing=."
                )
            self._mean = mean.to(self.values.device)
        return self._mean

    def _read_map(self, rows: Tensor | None) -> Tensor:
        assert self.mapped is not None
        picked = gather(self.mapped, None if rows is None else rows.cpu().numpy())
        return as_tensor(picked).to(self.values.device)

    def same_as(self, other: "FeatureTable") -> bool:
        """Whether both read the same memory, or the same map, or gaps were filled to the same."""
        if self.mapped is not None or other.mapped is not None:
            return self.mapped is other.mapped
        a, b = self.values, other.values
        if self.present is None or other.present is None or self._trains_gaps or other._trains_gaps:
            return same_memory(a, b)
        alike = (a.device, a.dtype, a.shape) == (b.device, b.dtype, b.shape)
        return alike and torch.equal(self.present, other.present) and torch.equal(a, b)

    def extra_repr(self) -> str:
        """The table's shape, and where it lies."""
        text = f"{self.num_rows}, {self.width}" + (", mapped" if self.mapped is not None else "")
        if self.present is None or self.present.is_meta:
            return text
        return f"{text}, {1 - float(self.present.float().mean()):.1%} missing"


def checked_shape(source: "FeatureSource", name: str, num_rows: int | None) -> tuple[int, int]:
    """(rows, width) of features, or an error."""
    if not isinstance(source, (Tensor, np.ndarray)):
        raise TypeError(f"{name} must be a tensor or an array; got {type(source).__qualname__}.")
    floating = (
        source.is_floating_point() and source.element_size() > 1  # nothing is computed in 8 bits
        if isinstance(source, Tensor)
        else np.issubdtype(source.dtype, np.floating)
    )
    if source.ndim != 2 or not floating or source.shape[1] == 0:
        raise ValueError(
            f"{name} must be (num_items, width) of a floating dtype of 16 bits or more; "
            f"got shape {tuple(source.shape)} of {source.dtype}."
        )
    check_held(name, source)
    if num_rows is not None and len(source) != num_rows:
        raise ValueError(f"{name} must have one row per item ({num_rows}); got {len(source)} rows.")
    return source.shape[0], source.shape[1]


def as_tensor(source: "FeatureSource") -> Tensor:
    """Features as a tensor, of the memory they have where torch can hold it."""
    if isinstance(source, Tensor):
        return source
    # torch takes only arrays in the machine's byte order, with positive strides, of a precision it
    # knows, and warns of those it must not write to: a copy is the only safe way to hold them.
    dtype = np.float64 if source.dtype.itemsize > 8 else source.dtype.newbyteorder("=")
    native = np.ascontiguousarray(source, dtype=dtype)
    return torch.from_numpy(native if native.flags.writeable else native.copy())
