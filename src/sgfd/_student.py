"""The shallow layer that a recommender keeps."""

import torch.nn.functional as F
from torch import Tensor, nn

from sgfd._checks import check_activations, check_integer
from sgfd._functional import Activation, activate, describe, take
from sgfd._tensor_checks import check_rows


class FeatureStudent(nn.Linear):
    r"""One linear layer, an activation and row normalization: the layer a recommender reads.

    .. math:: \text{embed}(x) = \frac{a(Wx + b)}{\lVert a(Wx + b)\rVert_2}

    (Liu et al., MM 2023). It *is* an ``nn.Linear``, so parameter names, optimizers
    and ``isinstance`` checks of the recommender around it go on working.

    What the recommender reads (``forward``) and what the distillation losses read (``embed``) are
    set apart, since a recommender that was tuned for a plain linear layer may lose more by the
    change of its input than it gains by distillation.

    Args:
        in_features: width F of the raw features, any.
        out_features: width D of the recommender's features.
        bias: whether the layer has a bias.
        activation: of ``forward``; None for none. LeakyReLU with slope 0.01, as in the paper.
        normalize: whether ``forward`` has unit rows. True, as in the paper.
        embed_activation: the same for ``embed``; must be what the teacher has.
        embed_normalize: the same for ``embed``; must be what the teacher has.
        device: of the parameters.
        dtype: of the parameters.

    Example:
        >>> import torch
        >>> from sgfd import FeatureStudent
        >>> student = FeatureStudent(384, 64)
        >>> student(torch.randn(5, 384)).shape
        torch.Size([5, 64])
        >>> isinstance(student, torch.nn.Linear)
        True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        activation: Activation | None = F.leaky_relu,
        normalize: bool = True,
        embed_activation: Activation | None = F.leaky_relu,
        embed_normalize: bool = True,
        device: object = None,
        dtype: object = None,
    ) -> None:
        check_integer("in_features", in_features, at_least=1)
        check_integer("out_features", out_features, at_least=1)
        check_activations(activation=activation, embed_activation=embed_activation)
        super().__init__(in_features, out_features, bias, device, dtype)
        self.activation = activation
        self.normalize = normalize
        self.embed_activation = embed_activation
        self.embed_normalize = embed_normalize

    @classmethod
    def adopt(
        cls,
        linear: nn.Linear,
        *,
        activation: Activation | None = None,
        normalize: bool = False,
        embed_activation: Activation | None = F.leaky_relu,
        embed_normalize: bool = True,
    ) -> "FeatureStudent":
        """A student that takes over an existing layer and shares its very Parameters.

        By default ``forward`` stays the function it was, to the bit, and only ``embed`` is new:
        the recommender around it is the one that its authors tuned.

        Args:
            linear: the layer; its weight and bias become the student's, not copies of them.
            activation: of ``forward``.
            normalize: of ``forward``.
            embed_activation: of ``embed``.
            embed_normalize: of ``embed``.

        Raises:
            TypeError: if ``linear`` is not exactly an ``nn.Linear``: a subclass may compute
                something else, which the student would drop.
            ValueError: if it has hooks or a parametrization, which the student would drop.

        Example:
            >>> import torch
            >>> from sgfd import FeatureStudent
            >>> linear = torch.nn.Linear(8, 4)
            >>> student = FeatureStudent.adopt(linear)
            >>> student.weight is linear.weight
            True
            >>> x = torch.randn(3, 8)
            >>> torch.equal(student(x), linear(x))
            True
        """
        check_adoptable(linear, "The layer of FeatureStudent.adopt")
        student = cls(
            linear.in_features,
            linear.out_features,
            linear.bias is not None,
            activation=activation,
            normalize=normalize,
            embed_activation=embed_activation,
            embed_normalize=embed_normalize,
            device="meta",  # no memory and no random numbers for what is replaced at once
        )
        student.weight, student.bias = linear.weight, linear.bias
        return student.train(linear.training)

    def forward(self, input: Tensor) -> Tensor:
        """What the recommender reads.

        Args:
            input: (..., F) raw features.

        Returns:
            (..., D).
        """
        return activate(super().forward(input), self.activation, self.normalize)

    def embed(self, x: Tensor) -> Tensor:
        """What the distillation losses read: always comparable with the teacher's embeddings.

        Args:
            x: (..., F) raw features.

        Returns:
            (..., D).

        Raises:
            TypeError: for what is no tensor.
            ValueError: for another width.
        """
        check_rows("x", x, self.in_features, self.weight)
        return activate(super().forward(x), self.embed_activation, self.embed_normalize)

    def embed_output(self, output: Tensor, rows: Tensor | None = None) -> Tensor | None:
        """``embed`` of the input that ``forward`` made an output of, without the product again.

        Args:
            output: (N, D), what ``forward`` gave.
            rows: (n,) int64, the rows wanted; None for all.

        Returns:
            (n, D), or None where the output does not tell: where ``forward`` has an activation or
            normalization that ``embed`` has not.
        """
        forward = (self.activation, self.normalize)
        embed = (self.embed_activation, self.embed_normalize)
        if type(self) is not FeatureStudent or forward not in ((None, False), embed):
            return None
        if forward == embed:
            return output if rows is None else take(output, rows)
        # A copy either way: the activation may be one that works in place.
        return activate(output.clone() if rows is None else take(output, rows), *embed)

    def extra_repr(self) -> str:
        """The layer's sizes, and what follows it."""
        return (
            f"{super().extra_repr()}, activation={describe(self.activation)}, "
            f"normalize={self.normalize}"
        )


def hooks_of(layer: nn.Module) -> list[str]:
    """The kinds of hooks that are registered on a layer."""
    return [name for name, value in vars(layer).items() if name.endswith("_hooks") and value]


def check_adoptable(layer: nn.Module, where: str) -> None:
    """Raises TypeError or ValueError if a student would lose something that the layer does."""
    if not isinstance(layer, nn.Module):
        raise TypeError(f"{where} must be an nn.Linear; got {type(layer).__qualname__}.")
    # Parametrization gives the layer a class of its own, so it must be looked for first.
    if nn.utils.parametrize.is_parametrized(layer):
        raise ValueError(
            f"{where} is parametrized, which the student would lose: remove the parametrization "
            "(torch.nn.utils.parametrize.remove_parametrizations) first."
        )
    if type(layer) is not nn.Linear:
        raise TypeError(
            f"{where} must be exactly an nn.Linear, since a subclass may compute something else; "
            f"got {type(layer).__module__}.{type(layer).__qualname__}."
        )
    if hooks := hooks_of(layer):
        raise ValueError(
            f"{where} has hooks ({', '.join(hooks)}), which the student would lose: remove them, "
            "distil, and register them on the student."
        )


def paper_student(linear: nn.Linear) -> FeatureStudent:
    """The paper's student in place of a layer: LeakyReLU and unit rows in ``forward`` too.

    This changes what the recommender reads, which may help or hurt it by itself: compare with
    ``distill(..., student=paper_student, loss=SGFDLoss(ce_weight=0, kd_weight=0))``. Unit rows
    cannot be turned down by training, so they cost where features say little of what people like;
    LeakyReLU without them cost VBPR and BM3 7 to 8 % and MAML 4 % on the one dataset where it was
    tried (docs/study.md). A recommender that does either by itself, as GRCN does both, does it
    twice then.

    Args:
        linear: the layer; its weight and bias become the student's.

    Raises:
        TypeError: as ``FeatureStudent.adopt``.
        ValueError: as ``FeatureStudent.adopt``.

    Example:
        >>> import torch
        >>> from sgfd import paper_student
        >>> student = paper_student(torch.nn.Linear(8, 4))
        >>> torch.allclose(student(torch.randn(3, 8)).norm(dim=1), torch.ones(3))
        True
    """
    return FeatureStudent.adopt(linear, activation=F.leaky_relu, normalize=True)
