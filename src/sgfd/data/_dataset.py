"""Interactions, features and labels of one catalog."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from sgfd._checks import check_path
from sgfd.data._assemble import Source, assemble
from sgfd.data._checks import Labels, check_shapes
from sgfd.data._interactions import Interactions
from sgfd.data._pandas import Columns, index_frame
from sgfd.data._readers import read_folder
from sgfd.data._summary import describe, summarize

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Interactions split in three, item features by modality, and item labels.

    Made by ``load``, ``from_arrays`` or ``from_pandas``, which check what they are given.

    Attributes:
        train: (num_users, num_items) CSR of ones, float32, what is learned from.
        valid: likewise, what epochs and settings are chosen on.
        test: likewise, what is reported. The three share no pair.
        features: per modality, (num_items, F) float32; rows of NaN where an item lacks it.
        labels: int64, (num_items,) or multi-hot (num_items, C), -1 where unknown; or None.
        label_names: the name of label 0, 1, ...; empty without labels.
        user_ids: the id of each user, where ids were mapped, otherwise None.
        item_ids: likewise, of each item.
        name: a name for tables.
        notes: every repair, carve and count that a reader of results should know.
    """

    train: csr_array
    valid: csr_array
    test: csr_array
    features: dict[str, npt.NDArray[np.float32]]
    labels: npt.NDArray[np.int64] | None = None
    label_names: tuple[str, ...] = ()
    user_ids: tuple[Hashable, ...] | None = None
    item_ids: tuple[Hashable, ...] | None = None
    name: str = ""
    notes: tuple[str, ...] = ()

    @property
    def num_users(self) -> int:
        """Users, those of all parts together."""
        return int(self.train.shape[0])

    @property
    def num_items(self) -> int:
        """Items, the rows of the features."""
        return int(self.train.shape[1])

    @property
    def num_classes(self) -> int:
        """Label classes, those without an item counted; 0 without labels."""
        return len(self.label_names)

    @property
    def widths(self) -> dict[str, int]:
        """Feature width by modality, what a teacher takes as ``in_features``."""
        return {name: array.shape[1] for name, array in self.features.items()}

    @property
    def seen(self) -> csr_array:
        """Train and validation together: what ranking for the test leaves out."""
        return csr_array(self.train + self.valid)

    def __post_init__(self) -> None:
        check_shapes(self)

    def __repr__(self) -> str:
        return describe(self)

    def summary(self) -> str:
        """Sizes, modalities, labels and notes, as text to print.

        Example:
            >>> from sgfd.data import synthetic_catalog
            >>> print(synthetic_catalog().summary().splitlines()[0])
            synthetic: 1,500 users, 800 items
        """
        return summarize(self)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        modalities: Sequence[str] | None = None,
        labels: Labels | None = None,
        valid_fraction: float = 0.1,
        seed: int = 0,
    ) -> "Dataset":
        r"""Reads a folder in the SGFD or the MMRec layout.

        The SGFD layout is ``train.csv``, ``test.csv`` and perhaps ``valid.csv`` with a header
        that names ``itemID`` and ``userID`` in any order; ``Feature<Name>_normal.npy`` per
        modality; perhaps ``MetaData_normal.npy``, integer labels, and ``label_names.json``, the
        list of their names. The MMRec layout is one ``*.inter``, separated by tabs, with columns
        ``userID``, ``itemID`` and ``x_label`` (0 train, 1 valid, 2 test), others ignored; and
        ``<name>_feat.npy`` per modality. Nothing is ever unpickled.

        Args:
            path: the folder; its name becomes the dataset's.
            modalities: which to read, in the order wanted; None reads all, by name.
            labels: as in ``from_arrays``, in place of the folder's.
            valid_fraction: as in ``from_arrays``.
            seed: as in ``from_arrays``.

        Raises:
            FileNotFoundError: if the folder, its test part or its features are missing.
            ValueError: for an unclear layout or file, or what ``from_arrays`` refuses.

        Example:
            >>> import tempfile
            >>> from pathlib import Path
            >>> import numpy as np
            >>> from sgfd.data import Dataset
            >>> folder = Path(tempfile.mkdtemp())
            >>> _ = (folder / "train.csv").write_text("itemID,userID\n0,0\n1,0\n2,1\n")
            >>> _ = (folder / "test.csv").write_text("itemID,userID\n2,0\n")
            >>> np.save(folder / "FeatureImage_normal.npy", np.eye(3, dtype=np.float16))
            >>> data = Dataset.load(folder, labels=["pen", "ink", None])
            >>> data.num_users, data.num_items, data.widths, data.label_names
            (2, 3, {'Image': 3}, ('ink', 'pen'))
        """
        folder = check_path("path", path)
        source = read_folder(folder, modalities)
        if labels is not None:
            source = source._replace(labels=labels, label_names=None)
        name = folder.resolve().name
        return cls(*assemble(source, valid_fraction=valid_fraction, seed=seed, name=name))

    @classmethod
    def from_arrays(
        cls,
        train: Interactions,
        test: Interactions,
        *,
        valid: Interactions | None = None,
        features: Mapping[str, Any],
        labels: Labels | None = None,
        label_names: Sequence[str] | None = None,
        user_ids: Sequence[Hashable] | None = None,
        item_ids: Sequence[Hashable] | None = None,
        valid_fraction: float = 0.1,
        seed: int = 0,
        name: str = "",
    ) -> "Dataset":
        """Checks arrays and makes a dataset of them.

        A validation part that is None or empty is carved from the training part: of each user's
        n pairs, ``min(floor(valid_fraction * n + 1/2), n - 1)`` at random (``hold_out``).
        Duplicate pairs within a part are merged. Both are reported in ``notes``.

        Args:
            train: (n, 2) integers of (user, item), indices from 0, or SciPy sparse (num_users,
                num_items) whose nonzero entries are the pairs.
            test: likewise. It may be empty.
            valid: likewise, or None.
            features: per modality, (num_items, F) of any floating dtype, finite but for rows of
                NaN where an item lacks it. float32 arrays are shared, not copied.
            labels: (num_items,) integers, -1 where unknown, or strings, None where unknown; or
                multi-hot, (num_items, C) of 0 and 1, rows of -1 where unknown.
            label_names: the names of integer or multi-hot labels; None: "0", "1", ...
            user_ids: the id of each user; None for the indices, as many as all parts name.
            item_ids: likewise, for items.
            valid_fraction: the share to carve, 0 <= valid_fraction < 1; 0 carves nothing.
            seed: seed of the carve.
            name: a name for tables.

        Raises:
            ValueError: if anything does not fit: row counts, NaN or infinity, indices negative,
                not integer or beyond the features' rows, a pair in two parts, an empty train.

        Example:
            >>> import numpy as np
            >>> from sgfd.data import Dataset
            >>> train = [(0, 0), (0, 1), (0, 1), (1, 2)]
            >>> data = Dataset.from_arrays(train, [(1, 0)], features={"text": np.eye(3)})
            >>> data
            Dataset(2 users, 3 items, 3 + 0 + 1 pairs, text 3, no labels)
            >>> data.notes[0]
            'train: duplicate pairs merged: 1'
        """
        source = Source(train, valid, test, features, labels, label_names, user_ids, item_ids)
        return cls(*assemble(source, valid_fraction=valid_fraction, seed=seed, name=name))

    @classmethod
    def from_pandas(
        cls,
        frame: "pd.DataFrame",
        *,
        features: Mapping[str, Any],
        labels: Any = None,
        items: Sequence[Hashable] | None = None,
        user: str = "userID",
        item: str = "itemID",
        part: str | None = None,
        test_fraction: float = 0.2,
        valid_fraction: float = 0.1,
        seed: int = 0,
        name: str = "",
    ) -> "Dataset":
        """Makes a dataset of a data frame whose ids may be anything hashable.

        Users are numbered as they first occur; items in the order of ``items``, or else of the
        first data frame in ``features``. ``user_ids`` and ``item_ids`` keep the mapping.

        Args:
            frame: one row per interaction; duplicates are merged.
            features: per modality, a data frame by item id, in any order, an item without a row
                lacking the modality (NaN, see ``notes``); or an array in ``items``' order.
            labels: by item id, missing where unknown, a Series or mapping or, multi-hot, a data
                frame with a column per class; or as in ``from_arrays``, in ``items``' order.
            items: the ids of the items; needed where features or labels come without ids.
            user: the column of user ids.
            item: the column of item ids.
            part: the column that says 'train', 'valid' or 'test' (or 0, 1, 2).
            test_fraction: of each user's pairs, held out by ``hold_out`` if ``part`` is None.
            valid_fraction: as in ``from_arrays``.
            seed: seed of both carves.
            name: a name for tables.

        Raises:
            ValueError: for missing columns, ids or features, or what ``from_arrays`` refuses.

        Example:
            >>> import pandas as pd
            >>> from sgfd.data import Dataset
            >>> frame = pd.DataFrame({"userID": ["ann", "ann", "bob"], "itemID": [7, 5, 7]})
            >>> text = pd.DataFrame([[0.1], [0.2]], index=[5, 7])
            >>> data = Dataset.from_pandas(frame, features={"text": text}, labels={7: "pen"})
            >>> data.user_ids, data.item_ids, data.labels.tolist()
            (('ann', 'bob'), (5, 7), [-1, 0])
        """
        columns = Columns(user, item, part)
        source = index_frame(frame, columns, features, labels, items, test_fraction, seed)
        return cls(*assemble(source, valid_fraction=valid_fraction, seed=seed, name=name))
