"""Whether a recommender's scores are those of its parameters."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sgfd._checks import check_function, check_tensor
from sgfd._functional import cast_anew, copied_state, widen
from sgfd._problems import CachedScoresWarning

_NUDGE = 0.1  # of a parameter's size: far above what rounding hides
_TOLERANCE = 1e-4  # of the largest score: far above what sums in another order differ by


def check_scores(
    model: nn.Module, loss: Callable[[], object], scores: Callable[[], Tensor]
) -> None:
    """Warn if a recommender scores by something older than its parameters.

    Some recommenders keep what their last training step or their first prediction computed, and
    score by that: then validation judges parameters of a step ago, and a checkpoint does not
    score as it did. To see it, the parameters are moved a little, and the scores at the same
    parameters are compared before and after the training loss has been run once more.

    To be called once, before training. Parameters, persistent buffers, gradients, modes and
    torch's generators are left as they were; anything else that the loss changes by running
    (three times, without gradient), such as a counter of steps, is not.

    Args:
        model: the recommender, distilled or not.
        loss: runs its training loss on a batch, with all that goes before it in training. Where
            that changes the batch in place, on a copy (``model.calculate_loss(batch.clone())``).
        scores: scores of some users, of one shape whenever it is called.

    Raises:
        TypeError: for what is no model or no function, or scores that are no tensor.
        ValueError: if no parameter trains, or scores differ by themselves in evaluation mode.
        RuntimeError: if the loss runs once and fails when it is run again.

    Warns:
        CachedScoresWarning: if scores do not follow the parameters.

    Example:
        >>> import torch
        >>> from sgfd import check_scores, distill
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import PairSampler, synthetic_catalog
        >>> data = synthetic_catalog()
        >>> model = distill(VBPR(data.train, data.features), data.features, data.labels)
        >>> batch = next(PairSampler(data.train, batch_size=8, seed=0).epoch(0))
        >>> check_scores(model, lambda: model(batch), lambda: model.scores(torch.arange(4)))
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module; got {type(model).__qualname__}.")
    check_function("loss", loss)
    check_function("scores", scores)
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("model must have parameters that train; all are frozen.")
    modes = {module: module.training for module in model.modules()}
    start = copied_state(model)

    def run_loss() -> None:
        model.train()
        loss()

    def run_again() -> None:
        try:
            run_loss()
        except Exception as error:  # whatever a loss of the caller's own may raise
            raise RuntimeError(
                "loss ran once and failed when it was run again: "
                f"{type(error).__name__}: {error}. Where it changes its batch in place (MMRec's "
                "renumber items), let it have a copy each time: "
                "lambda: model.calculate_loss(batch.clone())."
            ) from error

    def score() -> Tensor:
        model.eval()
        given = scores()
        check_tensor("What scores() gives", given)
        return given.detach().clone()

    devices = {p.device for p in trained if p.device.type == "cuda"}
    with torch.no_grad(), cast_anew(), torch.random.fork_rng(devices=devices):
        try:
            run_loss()
            before = score()
            for p in trained:
                size = widen(p).square().mean().sqrt()
                p.add_(torch.randn_like(p) * (_NUDGE * torch.where(size > 0, size, 1)).to(p))
            moved = copied_state(model)
            kept, again = score(), score()
            run_again()
            model.load_state_dict(moved, strict=False)  # running statistics, say, are no cache
            fresh = score()
            model.load_state_dict(start, strict=False)
            run_again()  # what it keeps is of its own parameters again
        finally:
            model.load_state_dict(start, strict=False)
            for module, mode in modes.items():
                module.training = mode
    if len({x.shape for x in (before, kept, again, fresh)}) > 1 or _differ(kept, again):
        raise ValueError(
            "scores must give the same twice for the same parameters, in evaluation mode; it gave "
            "others. Seed what it draws, or leave it out."
        )
    if _differ(kept, fresh) or not _differ(before, kept):
        warnings.warn(
            "Scores do not follow the parameters: after all of them were changed, "
            + (
                "scores were others once the training loss had been run."
                if _differ(kept, fresh)
                else "scores were what they had been."
            )
            + " The recommender scores by something it keeps.",
            CachedScoresWarning,
            stacklevel=2,
        )


def _differ(a: Tensor, b: Tensor) -> bool:
    finite = a[a.isfinite()]  # scores of seen items may be minus infinity
    size = float(finite.abs().max()) if len(finite) else 0.0
    return not torch.allclose(a, b, rtol=0, atol=_TOLERANCE * size, equal_nan=True)
