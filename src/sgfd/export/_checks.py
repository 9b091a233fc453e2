"""What can be written as item features."""

from collections.abc import Mapping

from torch import Tensor

from sgfd._features import FeatureSource, as_tensor, checked_shape


def checked_features(features: "Mapping[str, FeatureSource]") -> dict[str, Tensor]:
    """The features on the CPU, contiguous, of the dtypes they have (float64 of wider ones).

    Raises:
        TypeError: if they are no mapping of tensors or arrays.
        ValueError: if there are none, or they are not (items, width), floating, finite and of as
            many rows each.
    """
    if not isinstance(features, Mapping):
        raise TypeError(
            "features must be {modality: (num_items, D)}, as model.export() gives them; got "
            f"{type(features).__qualname__}."
        )
    if not features:
        raise ValueError("features must hold at least one modality; got none.")
    checked = {m: checked_rows(f"features[{m!r}]", values) for m, values in features.items()}
    rows = {m: len(values) for m, values in checked.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"All modalities must have one row per item; got rows {rows}.")
    return checked


def checked_rows(name: str, source: "FeatureSource") -> Tensor:
    """One table on the CPU, contiguous.

    Raises:
        TypeError: if it is no tensor or array.
        ValueError: if it is not (rows, width), floating and finite.
    """
    shape = checked_shape(source, name, None)
    if 0 in shape:
        raise ValueError(f"{name} must have items and a width; got shape {shape}.")
    values = as_tensor(source).detach().cpu().contiguous()
    if bad := int((~values.isfinite().all(dim=1)).sum()):
        raise ValueError(
            f"{name} must be finite; {bad:,} of {len(values):,} rows are not. A reader may not "
            "know what a row of NaN means: fill in, or leave such items out of its catalog."
        )
    return values
