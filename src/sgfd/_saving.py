"""Saving a distilled model, and loading it in another process."""

from collections.abc import Callable, Collection, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import Self

from sgfd._checks import check_path
from sgfd._described import describe
from sgfd._features import FeatureSource, FeatureTable
from sgfd._loss import SGFDLoss
from sgfd._restore import restore
from sgfd._saved import write_folder
from sgfd._student import FeatureStudent
from sgfd._substitute import MakeStudent, is_wrapped, student_at
from sgfd._teacher import SemanticTeacher


class Saving(nn.Module):
    """The two methods of ``Distilled`` by which it goes into a folder and comes out of it."""

    backbone: nn.Module
    teacher: SemanticTeacher
    sgfd_loss: SGFDLoss
    student_paths: dict[str, str]
    _labels: Tensor
    _missing: Tensor | None
    _tables: nn.ModuleDict
    _live: dict[str, str]
    _loss_method: str | None
    _unwrapped: dict[str, FeatureStudent]

    def save_pretrained(self, folder: "str | PathLike[str]", *, overwrite: bool = False) -> Path:
        """Write the model to a folder, for ``from_pretrained`` in another process.

        ``model.safetensors`` holds the state dict, the labels and what is missing, by their
        exact values; ``config.json`` says what teacher, students and loss are, what settings the
        backbone has, and hashes: of the features, of the graph and other tensors that the
        backbone was built from, and of both files. The features themselves are input and stay
        where they are. Nothing is pickled. With a memory map, all of it is read through once.

        It is a model to use, not the state of a run: the optimizer and the generators are in
        the checkpoints of ``sgfd.training.fit``.

        Args:
            folder: is made if need be.
            overwrite: whether a model that is there may be replaced, one file after the other;
                after a kill between the two, ``from_pretrained`` refuses the folder.

        Returns:
            The folder.

        Raises:
            ImportError: without safetensors (extra ``export``).
            FileExistsError: if a model is there.
            OSError: for a file where a folder is to be, or a folder where a file is to be.
            TypeError: if the folder is no path, or the state dict holds anything but tensors.
            ValueError: for tensors that are sparse, or on the meta device.

        Example:
            >>> import tempfile
            >>> import torch
            >>> from sgfd import Distilled, distill
            >>> from sgfd.backbones import VBPR
            >>> from sgfd.data import synthetic_catalog
            >>> data = synthetic_catalog()
            >>> model = distill(VBPR(data.train, data.features), data.features, data.labels)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     _ = model.save_pretrained(folder)
            ...     backbone = VBPR(data.train, data.features, seed=5)
            ...     loaded = Distilled.from_pretrained(folder, backbone, data.features)
            >>> users = torch.arange(4)
            >>> torch.equal(loaded.scores(users), model.scores(users))
            True
        """
        state = self.state_dict(keep_vars=True) | {"_labels": self._labels}
        if self._missing is not None:
            state["_missing"] = self._missing
        path = check_path("folder", folder)
        write_folder(path, state, lambda: _config(self), overwrite=overwrite)
        return path

    @classmethod
    def from_pretrained(
        cls,
        folder: "str | PathLike[str]",
        backbone: nn.Module,
        features: "Mapping[str, FeatureSource | str]",
        *,
        items: Callable[..., Tensor] | None = None,
        student: "MakeStudent | Mapping[str, MakeStudent] | None" = None,
        teacher: SemanticTeacher | None = None,
        loss: SGFDLoss | None = None,
        ignore: Collection[str] = (),
    ) -> Self:
        """The model that ``save_pretrained`` wrote, which scores the same to the bit.

        Teacher, students, loss and labels come from the folder. The recommender does not, since
        only its own code can make it, and that it is made as it was is checked: by the names,
        shapes, dtypes and order of its parameters, its public settings, and hashes of the
        features and of the other tensors that it keeps out of its state dict. Nothing is put
        into the backbone before all of that has been found to fit.

        Args:
            folder: what ``save_pretrained`` was given.
            backbone: the recommender, made anew from the interactions, features and arguments
                that it had; of the dtype that the model had (``backbone.double()``), on any device.
            features: as they were given to ``distill``.
            items: as they were given to ``distill``, to train on; None for one of ours, or for a
                model that is only to score. Its training loss is an error then.
            student: as it was given to ``distill``, if it has a function or class that is neither
                torch's nor sgfd's (``functools.partial`` of theirs is brought back).
            teacher: likewise.
            loss: likewise.
            ignore: names of what may differ, as the error about it lists them.

        Returns:
            The model, in evaluation mode: call ``train()`` to train on.

        Raises:
            ImportError: without safetensors (extra ``export``).
            FileNotFoundError: if there is no saved model.
            ValueError: for files that are damaged, cut short or of a newer version, and for a
                backbone, features or parts that are not those that the model was saved with.
            ProjectionError: if the backbone has no layer where its students were.
            TypeError: for arguments of other types.
        """
        if not isinstance(backbone, nn.Module):
            raise TypeError(
                "backbone must be the recommender, a torch.nn.Module; got "
                f"{type(backbone).__qualname__}."
            )
        if is_wrapped(backbone, Saving):
            raise ValueError(
                "from_pretrained() takes the recommender itself, as distill() does; got "
                f"{type(backbone).__qualname__}."
            )
        parts, state = restore(
            check_path("folder", folder),
            backbone,
            features,
            items=items,
            student=student,
            teacher=teacher,
            loss=loss,
            ignore=ignore,
        )
        model = cls(**parts)
        model.load_state_dict(state)
        return model.eval()


def _config(model: Saving) -> dict[str, Any]:
    import sgfd  # for its version alone

    backbone, paths = model.backbone, model.student_paths
    taken_back = model._unwrapped
    students = {m: student_at(backbone, path, taken_back.get(m)) for m, path in paths.items()}
    sources = {m: model._live.get(m) or model._tables[m] for m in paths}
    return {
        "sgfd": sgfd.__version__,
        "torch": str(torch.__version__),
        "backbone": type(backbone).__qualname__,
        "students": paths,
        "live_features": model._live,
        "order": list(backbone.state_dict()),
        "loss_method": model._loss_method,
        "model": describe(
            backbone,
            model.teacher,
            model.sgfd_loss,
            students,
            cast("dict[str, FeatureTable | str]", sources),
            {backbone.get_submodule(path) for path in paths.values()},
        ),
    }
