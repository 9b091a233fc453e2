"""The deep network that learns what items are."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgfd._chain import fold, folding_pays, hidden_widths
from sgfd._checks import check_activations, check_integer, check_mapping
from sgfd._functional import Activation, activate, check_modalities, describe
from sgfd._tensor_checks import check_present, check_rows


class Semantics(NamedTuple):
    """What a teacher (or the teacher's classifiers, of a student) says about N items.

    Attributes:
        embeddings: ``{modality: (N, D)}``.
        logits: ``{modality: (N, C)}``, before any softmax.
        fused_logits: (N, C) from all modalities together, or None without fusion.
    """

    embeddings: dict[str, Tensor]
    logits: dict[str, Tensor]
    fused_logits: Tensor | None


class SemanticTeacher(nn.Module):
    r"""Deep extractors, one classifier per modality and one over all of them together.

    For a modality m with raw features x and hidden layers 1..k:

    .. math::
        t_m &= \text{norm}(a(W_k\, g(\dots g(W_1 x + b_1) \dots) + b_k)) \\
        z_m &= H_m t_m + h_m \\
        z   &= V\, a_f(U [t_1; \dots; t_M] + u) + v

    with inner activation g, activation a and unit rows (Liu et al., MM 2023).

    Args:
        in_features: ``{modality: F_m}``, raw widths, one modality or more. Their order is the
            order in which fusion concatenates.
        out_features: width D of the embeddings, one for all or ``{modality: D_m}``; must be the
            students'.
        num_classes: number C of classes, at least 2, those without items and those of all levels
            of a hierarchy counted.
        hidden_features: ``{modality: hidden widths}``; None derives them by ``hidden_widths``.
            An empty sequence gives a single linear layer.
        ratio: for ``hidden_widths``.
        inner_activation: between the layers. LeakyReLU by default: with None the "deep" network
            computes the same functions as one linear layer (which is what the release does, and
            then the layers are multiplied together before the data goes through, where cheaper).
        activation: after the last layer; must be what the students' ``embed`` has.
        normalize: whether embeddings have unit rows; must be what the students' ``embed`` has.
        fusion: whether there is a classifier over all modalities. None: with two or more.
        fusion_activation: in that classifier; None for none.

    Raises:
        TypeError: for what is no mapping, or no function, where one is due.
        ValueError: for no modality, unusable names, widths below 1 or fewer than two classes.

    Example:
        >>> import torch
        >>> from sgfd import SemanticTeacher
        >>> teacher = SemanticTeacher({"image": 1000, "text": 384}, 64, num_classes=10)
        >>> said = teacher({"image": torch.randn(5, 1000), "text": torch.randn(5, 384)})
        >>> said.embeddings["image"].shape, said.logits["text"].shape, said.fused_logits.shape
        (torch.Size([5, 64]), torch.Size([5, 10]), torch.Size([5, 10]))
    """

    def __init__(
        self,
        in_features: Mapping[str, int],
        out_features: int | Mapping[str, int],
        num_classes: int,
        *,
        hidden_features: Mapping[str, Sequence[int]] | None = None,
        ratio: int = 4,
        inner_activation: Activation | None = F.leaky_relu,
        activation: Activation | None = F.leaky_relu,
        normalize: bool = True,
        fusion: bool | None = None,
        fusion_activation: Activation | None = F.leaky_relu,
    ) -> None:
        super().__init__()
        check_mapping("in_features", in_features)
        check_activations(inner_activation=inner_activation, activation=activation)
        check_activations(fusion_activation=fusion_activation)
        modalities = tuple(in_features)
        if not isinstance(out_features, Mapping):
            out_features = dict.fromkeys(modalities, out_features)
        outs = dict(out_features)
        _check(in_features, outs, num_classes, hidden_features)
        self.in_features, self.out_features, self.num_classes = dict(in_features), outs, num_classes
        self.inner_activation, self.activation = inner_activation, activation
        self.normalize, self.fusion_activation = normalize, fusion_activation
        self.extractors = nn.ModuleDict()
        for m in modalities:
            hidden = (
                hidden_widths(in_features[m], outs[m], ratio)
                if hidden_features is None
                else tuple(hidden_features[m])
            )
            widths = (in_features[m], *hidden, outs[m])
            self.extractors[m] = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))
        self.classifiers = nn.ModuleDict({m: nn.Linear(outs[m], num_classes) for m in modalities})
        self.fusion_transfer: nn.Linear | None = None
        self.fusion_classifier: nn.Linear | None = None
        if len(modalities) > 1 if fusion is None else fusion:
            width = max(outs.values())
            self.fusion_transfer = nn.Linear(sum(outs.values()), width)
            self.fusion_classifier = nn.Linear(width, num_classes)

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None
    ) -> Semantics:
        """Embeddings and logits of items.

        Args:
            features: ``{modality: (N, F_m)}``, exactly the modalities of ``in_features``.
            present: ``{modality: (N,) bool}`` for modalities that some items lack. Where False,
                the row of features is not read (it may be NaN), and the embedding is zero, which
                is what fusion is given.

        Returns:
            Semantics, with ``fused_logits`` where there is fusion.

        Raises:
            TypeError: for what is no tensor.
            ValueError: for missing or further modalities, other widths, numbers of rows or dtypes.
        """
        self._check_widths("features", features, self.in_features)
        present = {} if present is None else present
        check_present(present, features, next(iter(features.values())).shape[:-1])
        embeddings = {}
        for m in self.in_features:
            if m not in present:
                embeddings[m] = self._extract(m, features[m])
            else:
                there = present[m].unsqueeze(-1)
                embeddings[m] = _where(there, self._extract(m, _where(there, features[m])))
        said = self.judge(embeddings)
        if self.fusion_transfer is None:
            return said
        return said._replace(fused_logits=self.fuse(embeddings))

    def judge(self, embeddings: Mapping[str, Tensor]) -> Semantics:
        """What the same classifiers say of a student's embeddings.

        Args:
            embeddings: ``{modality: (N, D)}``.

        Returns:
            Semantics without ``fused_logits``: students are not fused.
        """
        self._check_widths("embeddings", embeddings, self.out_features)
        logits = {m: self.classifiers[m](embeddings[m]) for m in self.in_features}
        return Semantics(dict(embeddings), logits, None)

    def fuse(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Logits from all modalities together.

        Args:
            embeddings: ``{modality: (N, D)}`` of the teacher.

        Returns:
            (N, C).

        Raises:
            RuntimeError: if the teacher was made without fusion.
            ValueError: for other modalities or shapes.
        """
        if self.fusion_transfer is None or self.fusion_classifier is None:
            raise RuntimeError("This SemanticTeacher has no fusion; make it with fusion=True.")
        self._check_widths("embeddings", embeddings, self.out_features)
        joint = torch.cat([embeddings[m] for m in self.in_features], dim=-1)
        joint = activate(self.fusion_transfer(joint), self.fusion_activation, normalize=False)
        logits: Tensor = self.fusion_classifier(joint)
        return logits

    def _extract(self, modality: str, x: Tensor) -> Tensor:
        layers = list(cast("Iterable[nn.Linear]", self.extractors[modality]))
        if self.inner_activation is None and folding_pays(layers, x.numel() // x.shape[-1]):
            x = F.linear(x, *fold(layers))
        else:
            for layer in layers[:-1]:
                x = activate(layer(x), self.inner_activation, normalize=False)
            x = layers[-1](x)
        return activate(x, self.activation, self.normalize)

    def _check_widths(self, name: str, got: Mapping[str, Tensor], widths: dict[str, int]) -> None:
        check_mapping(name, got)
        if got.keys() != widths.keys():
            raise ValueError(
                f"{name} must have exactly the modalities {list(widths)}; got {list(got)}."
            )
        for m, width in widths.items():
            like = cast("nn.Linear", self.classifiers[m]).weight
            check_rows(f"{name}[{m!r}]", got[m], width, like)
        rows = {m: tuple(got[m].shape[:-1]) for m in widths}
        if len(set(rows.values())) > 1:
            raise ValueError(f"{name} must have the same rows in each modality; got {rows}.")

    def extra_repr(self) -> str:
        """What happens between and after the layers."""
        return (
            f"inner_activation={describe(self.inner_activation)}, "
            f"activation={describe(self.activation)}, normalize={self.normalize}"
        )


def _where(there: Tensor, x: Tensor) -> Tensor:
    return torch.where(there, x, torch.zeros_like(x))


def _check(
    in_features: Mapping[str, int],
    out_features: Mapping[str, int],
    num_classes: int,
    hidden_features: Mapping[str, Sequence[int]] | None,
) -> None:
    if not in_features:
        raise ValueError("in_features must name at least one modality; got none.")
    check_modalities(in_features)
    for name, given in (("out_features", out_features), ("hidden_features", hidden_features)):
        if given is not None and given.keys() != in_features.keys():
            raise ValueError(
                f"{name} must have exactly the modalities {list(in_features)}; got {list(given)}."
            )
    for name, widths in (("in_features", in_features), ("out_features", out_features)):
        for m, width in widths.items():
            check_integer(f"{name}[{m!r}]", width, at_least=1)
    for m, hidden in (hidden_features or {}).items():
        if not isinstance(hidden, Sequence):
            raise TypeError(f"hidden_features[{m!r}] must be a sequence of widths; got {hidden!r}.")
        for width in hidden:
            check_integer(f"A width of hidden_features[{m!r}]", width, at_least=1)
    check_integer("num_classes", num_classes, at_least=2)
