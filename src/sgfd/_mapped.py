"""Rows of a memory map, without the pages between them."""

import mmap
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt


def gather(mapped: "npt.NDArray[Any]", rows: "npt.NDArray[np.int64] | None") -> "npt.NDArray[Any]":
    """Rows of a map, or all of them, as an array of their own.

    Args:
        mapped: (N, F).
        rows: (n,) indices; None for all.

    Returns:
        (n, F).
    """
    if rows is None:
        return np.array(mapped)
    _announce(mapped, rows)
    return np.asarray(mapped)[rows]


def mapping_of(array: object) -> mmap.mmap | None:
    """The file's mapping behind an array; None for one in memory, of whatever class."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, mmap.mmap) else None


def spans(starts: "npt.NDArray[np.int64]", length: int) -> list[tuple[int, int]]:
    """What rows cover from the start of their first page, those that touch together.

    Args:
        starts: (n,) the rows' first bytes, at least one.
        length: of a row, in bytes.

    Returns:
        First byte and the one after the last, in order.
    """
    starts = np.sort(starts)
    ends = starts + length
    starts -= starts % mmap.PAGESIZE
    first = np.flatnonzero(np.append(True, starts[1:] > ends[:-1]))
    last = np.append(first[1:], starts.size) - 1
    return list(zip(starts[first].tolist(), ends[last].tolist(), strict=True))


def _announce(mapped: "npt.NDArray[Any]", rows: "npt.NDArray[np.int64]") -> None:
    """Tells the kernel which pages are about to be read.

    A page that is not in memory stops the reader, one after the other, and each makes the kernel
    read megabytes around it, as if a file were read from start to end. Told before, it fetches the
    pages of the rows, all at once, and no others.
    """
    source = mapping_of(mapped)
    step, within = mapped.strides
    by_row = within == mapped.itemsize and step > 0
    if source is None or not hasattr(mmap, "MADV_WILLNEED") or not by_row:
        return
    rows = rows[(rows >= 0) & (rows < len(mapped))]  # what is out of range, indexing refuses
    rows = rows.astype(np.int64)  # bytes do not fit in int32
    if rows.size:
        first = _address(mapped) - _address(np.frombuffer(source, np.uint8))
        for start, end in spans(first + rows * step, mapped.shape[1] * within):
            with suppress(OSError):  # a hint, which some file systems do not take
                source.madvise(mmap.MADV_WILLNEED, start, end - start)


def _address(array: "npt.NDArray[Any]") -> int:
    address: int = array.__array_interface__["data"][0]
    return address
