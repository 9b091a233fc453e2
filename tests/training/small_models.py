"""Small models and data for the tests of training."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning import Callback
from torch import Tensor, nn

from sgfd.backbones import Batch, Recommender
from sgfd.data import Dataset, synthetic_catalog
from sgfd.training import FitResult, fit


class NoisyMF(Recommender):
    """Matrix factorization with BPR whose loss draws from every global generator."""

    def __init__(self, num_users: int, num_items: int, *, dim: int = 8, seed: int = 0) -> None:
        super().__init__()
        self.num_users, self.num_items = num_users, num_items
        generator = torch.Generator().manual_seed(seed)
        self.users = nn.Parameter(torch.randn(num_users, dim, generator=generator) / 4)
        self.items = nn.Parameter(torch.randn(num_items, dim, generator=generator) / 4)

    def forward(self, batch: Batch) -> Tensor:
        users = F.dropout(self.users[batch.users], 0.3, self.training)
        noise = random.random() + np.random.standard_normal()  # noqa: NPY002
        positive = (users * self.items[batch.items]).sum(-1, keepdim=True)
        negative = (users[:, None] * self.items[batch.negatives]).sum(-1)
        return F.softplus(negative - positive + noise / 10).mean()

    @torch.no_grad()
    def scores(self, users: Tensor) -> Tensor:
        return F.dropout(self.users[users], 0.3, self.training) @ self.items.T

    def items_of(self, batch: Batch) -> Tensor:
        return torch.cat([batch.items[:, None], batch.negatives], dim=1).flatten()


class Scripted(Recommender):
    """After its n-th epoch, ranks the validation item first for ``script[n]`` of ten users."""

    def __init__(self, dataset: Dataset, script: Sequence[int], steps_per_epoch: int) -> None:
        super().__init__()
        self.num_users, self.num_items = dataset.num_users, dataset.num_items
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._script, self._per_epoch = script, steps_per_epoch
        self._valid = torch.from_numpy(dataset.valid.toarray())

    def forward(self, batch: Batch) -> Tensor:  # noqa: ARG002
        self.steps += 1
        return (self.weight - self.steps).square()

    @torch.no_grad()
    def scores(self, users: Tensor) -> Tensor:
        good = self._script[int(self.steps) // self._per_epoch - 1]
        signs = torch.where(users < good, 1.0, -1.0)
        return self._valid[users] * signs[:, None]

    def items_of(self, batch: Batch) -> Tensor:
        return batch.items


def small_catalog(*, seed: int = 3) -> Dataset:
    return synthetic_catalog(
        num_users=50, num_items=40, num_classes=4, interactions_per_user=8, seed=seed
    )


def quiet_fit(model: nn.Module, dataset: Dataset, **settings: Any) -> FitResult:
    """``fit`` on the CPU, without a progress bar."""
    return fit(model, dataset, **{"accelerator": "cpu", "progress": False} | settings)


class StopAfter(Callback):
    """Raises InterruptedError after a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self._step:
            raise InterruptedError
