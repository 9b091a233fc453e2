"""The head of a NumPy file whose values are written one after the other."""

from typing import IO

import numpy as np
import numpy.typing as npt


def write_npy_header(file: IO[bytes], shape: tuple[int, int], dtype: npt.DTypeLike) -> None:
    """Writes what ``numpy.save`` writes before the values of an array in C order."""
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, header)
