"""Small models of every kind, and a training step of each."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from sgfd import distill
from sgfd.backbones import BM3, GRCN, MAML, VBPR, Batch

USERS, ITEMS, CLASSES = 30, 20, 4
KINDS = {kind.__name__: kind for kind in (VBPR, BM3, GRCN, MAML)}


class Case(NamedTuple):
    """A model."""

    kind: str
    distilled: bool
    gaps: bool = False  # some items lack a modality

    def __str__(self) -> str:
        return f"{self.kind}{' distilled' * self.distilled}{' with gaps' * self.gaps}"


CASES = [Case(kind, distilled) for kind in KINDS for distilled in (False, True)]
CASES += [Case("VBPR", True, gaps=True)]


def make(case: Case) -> nn.Module:
    """In double precision; random numbers (dropout) would differ between devices."""
    generator = torch.Generator().manual_seed(1)
    features = {
        m: torch.randn(ITEMS, width, generator=generator) for m, width in (("a", 12), ("b", 9))
    }
    if case.gaps:
        features["a"][3] = torch.nan
    labels = torch.randint(0, CLASSES, (ITEMS,), generator=generator)
    matrix = np.random.default_rng(0).random((USERS, ITEMS)) < 0.3
    options = {"dropout": 0.0} if case.kind in ("BM3", "MAML") else {}
    model = KINDS[case.kind](csr_array(matrix.astype(float)), features, dim=8, **options)
    if case.distilled:
        model = distill(model, features, labels, num_classes=CLASSES)
    return model.double()


def pairs() -> Batch:
    """With repeats of users and items."""
    generator = torch.Generator().manual_seed(2)
    users = torch.randint(0, USERS, (16,), generator=generator)
    items = torch.randint(0, ITEMS, (16, 3), generator=generator)
    return Batch(users, items[:, 0].clone(), items[:, 1:].clone())


def gradients(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss, and the gradient of every parameter that gets one."""
    model.zero_grad()
    loss = model(batch)
    loss.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return loss.detach(), found
