"""What several pictures ask of their input, and names that fit into them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sgfd._checks import as_array, check_order


def checked_items(
    features: Tensor | npt.ArrayLike, labels: Tensor | npt.ArrayLike, *, name: str = "features"
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Features and labels as arrays with one row per item, or an error."""
    check_order(name, features)
    check_order("labels", labels)
    points, known = as_array(name, features), as_array("labels", labels)
    if points.ndim != 2 or points.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must be real (items, dimensions); got {points.shape} of {points.dtype}."
        )
    if known.shape != points.shape[:1]:
        raise ValueError(
            f"labels must have one entry per row of {name}, ({len(points)},); got {known.shape}."
        )
    if not np.issubdtype(known.dtype, np.integer):
        raise TypeError(f"labels must be integers, negative where unknown; got {known.dtype}.")
    real = points.astype(np.float32)
    if not np.isfinite(real).all():
        row = int(np.argmin(np.isfinite(real).all(axis=1)))
        raise ValueError(f"{name} must be finite numbers; row {row} holds NaN or infinity.")
    return real, known.astype(np.int64)


def check_label_names(largest: int, label_names: Sequence[str] | None) -> None:
    """Refuses names that leave a label out; ``largest`` is the largest label, -1 for none."""
    if isinstance(label_names, str) or not isinstance(label_names, (Sequence, type(None))):
        raise TypeError(f"label_names must be a sequence of names; got {label_names!r}.")
    if label_names is not None and largest >= len(label_names):
        raise ValueError(
            f"label_names must name every label; got {len(label_names)} names and label {largest}."
        )


def class_name(label: int, label_names: Sequence[str] | None, length: int = 28) -> str:
    """The name of a class, short enough for a legend."""
    if label < 0:
        return "unknown"
    return str(label) if label_names is None else cut(label_names[label], length)


def cut(text: str, length: int) -> str:
    """At most so many characters, with an ellipsis for what is left out, for matplotlib."""
    text = text if len(text) <= length else text[: length - 1].rstrip() + "…"
    return text.replace("$", r"\$")  # two dollars would make a formula of a price
