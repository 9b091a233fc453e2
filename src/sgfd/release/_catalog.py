"""The paper's three datasets as the authors publish them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sgfd.data import Dataset


class Catalog(NamedTuple):
    """What a dataset of the paper holds.

    Attributes:
        num_users: users.
        num_items: items, the rows of the features.
        num_pairs: interactions, train and test together.
        num_classes: labels.
        widths: of the features by modality, as the files name them.
    """

    num_users: int
    num_items: int
    num_pairs: int
    num_classes: int
    widths: Mapping[str, int] = {"Image": 4096, "Text": 1024}

    def files(self, modalities: Sequence[str] = ("Image", "Text")) -> dict[str, str]:
        """The files of the dataset's folder, and what is in each.

        Args:
            modalities: the features that are wanted.

        Example:
            >>> from sgfd.release import catalog
            >>> catalog("Office").files()["FeatureImage_normal.npy"]
            'floating (2406, 4096)'
        """
        if isinstance(modalities, str):
            raise TypeError(f"modalities must be a list of names; got {modalities!r}.")
        n = self.num_items
        files = dict.fromkeys(("train.csv", "test.csv"), "columns itemID,userID, a line per pair")
        for m in modalities:
            files[f"Feature{m}_normal.npy"] = f"floating ({n}, {self.widths.get(m, 'any width')})"
        return files | {"MetaData_normal.npy": f"integers ({n},), labels 0..{self.num_classes - 1}"}

    def differences(self, data: Dataset) -> list[str]:
        """What a dataset has otherwise than the paper's, as lines to print; empty if nothing.

        Equal sizes are no proof of equal contents.

        Args:
            data: the dataset.

        Example:
            >>> from sgfd.data import synthetic_catalog
            >>> from sgfd.release import catalog
            >>> catalog("Office").differences(synthetic_catalog())[0]
            'users: 1500 here, 4874 in the paper'
        """
        if not isinstance(data, Dataset):
            raise TypeError(f"data must be a Dataset; got {type(data).__qualname__}.")
        names = ("users", "items", "interactions", "labels", "feature widths")
        pairs = data.train.nnz + data.valid.nnz + data.test.nnz
        here = (data.num_users, data.num_items, pairs, data.num_classes, data.widths)
        return [
            f"{name}: {ours} here, {theirs} in the paper"
            for name, ours, theirs in zip(names, here, self, strict=True)
            if ours != theirs
        ]


_CATALOGS = {
    "Office": Catalog(4_874, 2_406, 52_957, 54),
    "Clothing": Catalog(18_209, 17_318, 150_889, 26),
    "ToysGames": Catalog(18_748, 11_673, 161_653, 19),
}


def catalog(dataset: str) -> Catalog:
    """What a dataset of the paper holds, by the release's README.

    The items of Office and Toys & Games are those that the files have: the README adds users to
    items for the one (7,279) and counts one too few for the other (11,672). The feature widths
    are known of Office and taken to be the same for the others.

    Args:
        dataset: "Office", "Clothing" or "ToysGames".

    Raises:
        ValueError: for any other.

    Example:
        >>> from sgfd.release import catalog
        >>> catalog("ToysGames").num_items
        11673
    """
    if not isinstance(dataset, str) or dataset not in _CATALOGS:
        raise ValueError(f"catalog takes one of {', '.join(_CATALOGS)}; got {dataset!r}.")
    return _CATALOGS[dataset]
