"""A training step: forward, backward and Adam."""

import copy
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sgfd import Distilled
from sgfd.backbones import Batch, Recommender
from sgfd.data import PairSampler
from sgfd.graph import use_backend

from . import yardsticks
from .cases import KINDS, Sizes, catalog, distilled, plain
from .subject import Case, Subject


class _Made(NamedTuple):
    model: nn.Module
    features: dict[str, Tensor]
    structure: Tensor | None


def step(case: Case, sizes: Sizes) -> Subject:
    """One step of ours and of the yardstick, from the same parameters."""
    data = catalog(sizes)
    make = plain if case.arm == "plain" else distilled
    model = make(case.backbone, data, sizes, case.mathematics)
    kind = KINDS[case.backbone]
    sampler = PairSampler(
        data.train, batch_size=kind.batch_size, num_negatives=kind.negatives, seed=0
    )
    batches = [b for b in sampler.epoch(0) if len(b.users) == kind.batch_size]
    batches = batches or list(sampler.epoch(0))  # of a tiny catalog
    structure = yardsticks.structure(case.backbone, data.train, _backbone(model))
    made = _Made(model, data.features, structure)
    # As ``fit`` makes it, and as torch makes it where nothing is said.
    fused, torchs = (torch.optim.Adam(model.parameters(), lr=1e-4, fused=f) for f in (True, None))

    def stepper(way: str, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
        loss_of, numbers = _losses(made)[way], count()

        def call() -> None:
            with use_backend(case.kernels if way == "ours" else "torch"):
                optimizer.zero_grad()
                loss_of(batches[next(numbers) % len(batches)]).backward()
                optimizer.step()

        return call

    def check() -> None:
        with use_backend(case.kernels):
            _check_equal(made, Batch(*(x[:128] for x in batches[0])))

    ways = {"ours": stepper("ours", fused), "straightforward": stepper("straightforward", torchs)}
    return Subject(**ways, check=check)


def _losses(made: _Made) -> dict[str, Callable[[Batch], Tensor]]:
    """Ours, and the yardstick on the same parameters."""
    model = made.model
    backbone = _backbone(model)
    own = yardsticks.LOSSES[type(backbone)]

    def straightforward(batch: Batch) -> Tensor:
        read = yardsticks.project(model, made.features)
        features = {m: forward for m, (forward, _) in read.items()}
        loss = own(backbone, batch, features, made.structure)
        if not isinstance(model, Distilled):
            return loss
        embeddings = {m: embed for m, (_, embed) in read.items()}
        items = backbone.items_of(batch)
        return loss + yardsticks.distillation_loss(model, items, made.features, embeddings)

    return {"ours": model, "straightforward": straightforward}


def _check_equal(made: _Made, batch: Batch) -> None:
    """Both ways give the same loss and the same gradients, in double precision."""
    structure = made.structure
    if structure is not None and structure.is_floating_point():
        structure = structure.double()
    features = {m: x.double() for m, x in made.features.items()}
    double = _Made(copy.deepcopy(made.model).double(), features, structure)
    found = []
    for loss_of in _losses(double).values():
        double.model.zero_grad()
        loss = loss_of(batch)
        loss.backward()
        # A part that a loss does not read has no gradient, or one of zeros.
        gradients = [
            torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for p in double.model.parameters()
        ]
        found.append((loss.detach(), gradients))
    (loss, gradients), (expected, others) = found
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    for ours, other in zip(gradients, others, strict=True):
        scale = float(other.abs().max())
        torch.testing.assert_close(ours, other, rtol=1e-6, atol=1e-7 * scale)


def _backbone(model: nn.Module) -> Recommender:
    found = model.backbone if isinstance(model, Distilled) else model
    assert isinstance(found, Recommender)
    return found
