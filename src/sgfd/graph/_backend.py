"""Which kernels multiply sparse by dense."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import torch

WHEELS = "https://data.pyg.org/whl"
COMPILE = "pip install --no-build-isolation torch-sparse torch-scatter"
VARIABLE = "SGFD_BACKEND"
CHOICES = ("auto", "torch", "torch-sparse")
_forced: ContextVar[str | None] = ContextVar("sgfd_backend", default=None)


class Backend(NamedTuple):
    """The kernels in use, and why."""

    name: str
    reason: str


def backend() -> Backend:
    """The kernels that the next product will use.

    What ``use_backend`` forces comes first, then the environment variable ``SGFD_BACKEND``
    (``auto``, ``torch`` or ``torch-sparse``), then plain torch, which measured the faster of the
    two on a CPU (``docs/benchmarks.md``); on a GPU neither has been measured. An installed
    torch-sparse that cannot be imported is warned of once, with the line that installs the right
    one.

    Raises:
        ValueError: for an unknown name.
        ImportError: if torch-sparse is forced and cannot be used.

    Example:
        >>> from sgfd.graph import backend, use_backend
        >>> with use_backend("torch"):
        ...     backend().name
        'torch'
    """
    forced, variable = _forced.get(), os.environ.get(VARIABLE)
    name = forced or variable or "auto"
    _check(name)
    if name == "auto":
        _warn_if_broken()
        return Backend("torch", "auto: measured faster on CPUs; not measured on GPUs")
    why = "forced by use_backend()" if forced else f"forced by {VARIABLE}"
    if name == "torch-sparse" and (trouble := torch_sparse_trouble()) is not None:
        raise ImportError(
            f"The torch-sparse backend is {why}, but {trouble}. Install it for this torch with\n"
            f"  {kernels_line()}"
        )
    return Backend(name, why)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Force the kernels within a ``with`` block.

    Args:
        name: ``"auto"``, ``"torch"`` or ``"torch-sparse"``.

    Raises:
        ValueError: for another name.

    Example:
        >>> from sgfd.graph import backend, use_backend
        >>> with use_backend("torch"):
        ...     backend().name
        'torch'
    """
    _check(name)
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


@cache
def torch_sparse_trouble() -> str | None:
    """Why torch-sparse cannot be used, or None if it can."""
    missing = [name for name in ("torch_sparse", "torch_scatter") if find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} is not installed"
    try:
        import torch_sparse  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:  # built for another torch or CUDA
        return f"importing torch_sparse failed ({type(error).__name__}: {error})"
    return None


@cache
def _warn_if_broken() -> None:
    if find_spec("torch_sparse") is not None and (trouble := torch_sparse_trouble()) is not None:
        warnings.warn(
            f"torch-sparse is installed, but {trouble}; plain torch is used. To install it for "
            f"this torch:\n  {kernels_line()}",
            RuntimeWarning,
            stacklevel=2,
        )


def kernels_line() -> str:
    """The command that installs torch-sparse and torch-scatter for this torch and CUDA."""
    if torch.version.hip is not None:
        return COMPILE  # the PyG project has no wheels for ROCm
    major_minor = ".".join(torch.__version__.split("+")[0].split(".")[:2])
    build = f"cu{torch.version.cuda.replace('.', '')}" if torch.version.cuda else "cpu"
    return f"pip install torch-sparse torch-scatter -f {WHEELS}/torch-{major_minor}.0+{build}.html"


def _check(name: str) -> None:
    if name not in CHOICES:
        raise ValueError(f"The kernel backend must be one of {CHOICES}; got {name!r}.")
