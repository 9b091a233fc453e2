"""A recommender with students in it."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from sgfd._adapt import add_to_loss, attribute, distinct_items, named_items, of_backbone
from sgfd._checks import check_mapping
from sgfd._features import FeatureSource, FeatureTable
from sgfd._loss import SGFDLoss, SGFDTerms
from sgfd._reuse import Product, kept
from sgfd._rows import Rows
from sgfd._saving import Saving
from sgfd._sources import in_chunks, live, mask_shares, new_rows, read_rows
from sgfd._student import FeatureStudent
from sgfd._substitute import student_at, take_back
from sgfd._teacher import SemanticTeacher
from sgfd._watch import Watch


class Distilled(Saving):
    """A recommender whose projections are students, with their teacher; made by ``distill``.

    It forwards every attribute it does not have to the recommender (``scores``, ``recommend``,
    ``full_sort_predict``, ...), so that trainers written for the recommender go on working. Only
    the training loss differs: the method that ``distill`` knows to be the loss (``forward`` of
    our backbones, ``loss_method=`` of others) adds the distillation loss to what it returns, to
    the first element of a tuple or list, or to ``"loss"`` of a dict. Where the recommender has an
    attribute of one of the names here, it is at ``model.backbone.<name>``.

    Attributes:
        backbone: the recommender; its state-dict keys are what they were.
        teacher: the SemanticTeacher, trained along.
        sgfd_loss: the SGFDLoss.
        student_paths: ``{modality: dotted path of the student in the backbone}``.
    """

    def __init__(
        self,
        backbone: nn.Module,
        teacher: SemanticTeacher,
        loss: SGFDLoss,
        *,
        projections: Mapping[str, str],
        sources: Mapping[str, FeatureTable | str],
        labels: Tensor,
        missing: Tensor | None,
        items: Callable[..., Tensor] | None,
        loss_method: str | None,
    ) -> None:
        super().__init__()
        # The backbone comes last: from then on its attributes are read and set where they are.
        self.teacher, self.sgfd_loss = teacher, loss
        self.student_paths = dict(projections)
        self.register_buffer("_labels", labels, persistent=False)
        self.register_buffer("_missing", missing, persistent=False)
        tables = {m: table for m, table in sources.items() if isinstance(table, FeatureTable)}
        self._tables = nn.ModuleDict(tables).to(labels.device)
        self._live = {m: path for m, path in sources.items() if isinstance(path, str)}
        self._items, self._loss_method = items, loss_method
        self._unwrapped: dict[str, FeatureStudent] = {}
        self._watch = Watch(backbone, teacher, self.student_paths, len(labels))
        students = {m: student_at(backbone, path) for m, path in projections.items()}
        # One for each student, and before the watches, which put a view in place of the output.
        products = {student: Product() for student in students.values()}
        self._products = {m: products[student] for m, student in students.items()}
        self._hooks: list[Any] = [s.register_forward_hook(p.after) for s, p in products.items()]
        self._hooks += [h for m, w in self._watch.students.items() for h in w.attach(students[m])]
        self.backbone = backbone

    def student(self, modality: str) -> FeatureStudent:
        """The student of a modality, where the recommender has it."""
        if modality not in self.student_paths:
            raise ValueError(f"modality must be of {list(self.student_paths)}; got {modality!r}.")
        path, taken_back = self.student_paths[modality], self._unwrapped.get(modality)
        return student_at(self.backbone, path, taken_back)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the backbone's forward returns, plus the distillation loss if it is the loss."""
        if self._loss_method == "forward":
            return self.loss_and_terms(*args, **kwargs)[0]
        self._watch.used()
        return self.backbone(*args, **kwargs)

    def loss_and_terms(self, *args: Any, **kwargs: Any) -> tuple[Any, SGFDTerms]:
        """The augmented training loss, and the terms of its distillation part for a log.

        Args:
            *args: of the backbone's loss, a batch.
            **kwargs: likewise.

        Raises:
            RuntimeError: if ``distill`` was not told what the training loss is.
        """
        if self._loss_method is None or self._items is None:
            raise RuntimeError(
                "distill() was not told the training loss: pass loss_method= and items=, or add "
                "distillation_loss(items) in your loop. A loaded one: items= at from_pretrained()."
            )
        # Before the backbone's loss: some models change the batch in place.
        items = named_items(self._items, self._loss_method, *args, **kwargs).clone()
        name, model = self._loss_method, self.backbone
        own = model if name == "forward" else getattr(model, name)
        self._watch.begin()
        with kept(self._products, self._tables):
            loss = own(*args, **kwargs)
            terms = self._terms(items, recommending=True)
        return add_to_loss(loss, terms.total), terms

    def distillation_loss(self, items: Tensor) -> Tensor:
        """``distillation_terms(items).total``, to be added to a loss of one's own.

        Args:
            items: item indices of the batch, any shape, repeats counted.
        """
        return self.distillation_terms(items).total

    def distillation_terms(self, items: Tensor) -> SGFDTerms:
        """The distillation loss of a batch and its parts; each distinct item is computed once.

        Args:
            items: int64 item indices of the batch, any shape, at least one, repeats counted.

        Raises:
            ValueError: if they are not item indices.
        """
        return self._terms(items, recommending=False)

    def _terms(self, items: Tensor, *, recommending: bool) -> SGFDTerms:
        rows, _, counts = distinct_items(items, self._labels, look=self._watch.looking)
        read = {m: self._rows(m, rows) for m in self.student_paths}
        features = {m: x for m, (x, _) in read.items()}
        present = {m: there for m, (_, there) in read.items() if there is not None}
        learned = self.teacher.judge({m: self._embed(m, x, rows) for m, x in features.items()})
        taught = self.teacher(features, present)
        labels = self._labels.index_select(0, rows).long()  # [rows] would take negative ones
        terms = self.sgfd_loss.terms(taught, learned, labels, counts, present)
        if self.training and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self._watch.trained += 1
            # Without a gradient (both weights 0: a control) there is nothing to watch over.
            if terms.total.requires_grad:
                self._watch.after_loss(self._rows, rows, recommending=recommending)
        return terms

    @torch.no_grad()
    def export(self, *, chunk_size: int = 1024) -> dict[str, Tensor]:
        """Every item's features as the recommender reads them, on the CPU.

        Those of an item that lacks a modality are what the student makes of what stands in for
        it; ``missing()`` says where.

        Args:
            chunk_size: how many items are computed at a time.

        Returns:
            ``{modality: (num_items, D)}``, contiguous, as ``safetensors.torch.save_file`` or
            ``numpy.save`` take them.
        """
        return self._gather(lambda m, x: self._watch.aside(m, x.values), chunk_size)

    def missing(self, *, chunk_size: int = 1024) -> dict[str, Tensor]:
        """Which items lack which modality, by rows of NaN or ``distill(missing=)``, on the CPU.

        Args:
            chunk_size: how many items are looked at at a time; a memory map is read through.

        Returns:
            ``{modality: (num_items,) bool}``; ``missing()["image"].float().mean()`` is the share.
        """
        return self._gather(lambda _, x: x.missing, chunk_size)

    @torch.no_grad()
    def encode(self, features: "Mapping[str, FeatureSource]") -> dict[str, Tensor]:
        """Features of items never seen, as the recommender would read them.

        Args:
            features: ``{modality: (n, F_m)}``, floating tensors or arrays, any of the modalities. A
                row of NaN (the item lacks it) is read as the mean of those that training had.

        Returns:
            ``{modality: (n, D)}``.

        Raises:
            ValueError: for a modality that there is none of, another width, or integers.
        """
        check_mapping("features", features)
        encoded = {}
        for m, x in features.items():
            weight, name = self.student(m).weight, f"features[{m!r}]"
            x = new_rows(self._source(m), name, x, weight.shape[1], missing=self._mask(m))
            encoded[m] = self._watch.aside(m, x.to(weight))
        return encoded

    def unwrap(self) -> nn.Module:
        """The recommender alone, with plain layers of the students' Parameters.

        A student that does more than a layer (``paper_student``, or one with hooks) stays. The rest
        of the model goes on working: ``export()`` and ``save_pretrained()``, say.
        """
        for hook in self._hooks:
            hook.remove()
        self._watch.ended = True
        self._unwrapped = {m: self.student(m) for m in self.student_paths}
        take_back(self.backbone, self._unwrapped.values())
        return self.backbone

    def extra_repr(self) -> str:
        """The shares that ``distill(missing=)`` named; those of rows of NaN are in the tables."""
        return mask_shares(self._missing, self.student_paths)

    def _rows(self, modality: str, rows: Tensor) -> Rows:
        like = self.student(modality).weight
        return read_rows(self._source(modality), rows, like, missing=self._mask(modality))

    def _mask(self, modality: str) -> Tensor | None:
        masks = self._missing
        return None if masks is None else masks[list(self.student_paths).index(modality)]

    def _embed(self, modality: str, x: Tensor, rows: Tensor) -> Tensor:
        student, source = self.student(modality), self._source(modality)
        return self._products[modality].embed(student, x, rows, source)

    def _source(self, modality: str) -> Tensor | FeatureTable:
        path = self._live.get(modality)
        return live(self.backbone, path) if path else cast("FeatureTable", self._tables[modality])

    def _gather(self, of: Callable[[str, Rows], Tensor], size: int) -> dict[str, Tensor]:
        every = in_chunks(len(self._labels), size, self._labels.device)
        names = self.student_paths
        return {m: torch.cat([of(m, self._rows(m, x)).cpu() for x in every]) for m in names}

    def __getattr__(self, name: str) -> Any:
        """The recommender's attributes, its loss method augmented."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            backbone = super().__getattr__("backbone")  # not there yet while copied or unpickled
        if name == self.__dict__.get("_loss_method"):
            return lambda *args, **kwargs: self.loss_and_terms(*args, **kwargs)[0]
        if name == "items_of" and not hasattr(backbone, name):
            return self._items  # what distill() was told, for ``prefetched``
        self._watch.used()
        return attribute(backbone, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets the recommender's attributes where they are read, as a trainer of its own may."""
        owner = self.backbone if of_backbone(self, name) else super()
        owner.__setattr__(name, value)
