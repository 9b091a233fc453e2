"""Yardsticks: features alone; without features EASE, and torch_geometric's LightGCN and BPR-MF."""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import block_array
from torch import Tensor, nn
from torch_geometric.nn import LightGCN
from torch_geometric.nn.models.lightgcn import BPRLoss

from sgfd import evaluation
from sgfd._seed import seeded
from sgfd.backbones import Batch
from sgfd.data import Dataset

from .grid import DIM, Params

Scorer = Callable[[Tensor], Tensor]


def popularity(data: Dataset, _: str, __: Params, ___: int) -> Scorer:
    return evaluation.popularity(data.train)


def content(data: Dataset, _: str, __: Params, ___: int) -> Scorer:
    return evaluation.content_profile(data.train, data.features)


def item_knn(data: Dataset, _: str, params: Params, __: int) -> Scorer:
    return evaluation.item_knn(data.train, **params)


def ease(data: Dataset, _: str, params: Params, __: int) -> Scorer:
    """EASE (Steck, WWW 2019): P = (X'X + l2 I)^-1, B = I - P / diag(P), scores X B."""
    x = data.train.astype(np.float64)
    gram = (x.T @ x).toarray()
    gram[np.diag_indices_from(gram)] += params["l2"]
    inverse = cho_solve(cho_factor(gram, overwrite_a=True), np.eye(len(gram)), overwrite_b=True)
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return lambda users: torch.from_numpy(x[users.cpu().numpy()] @ weights)


class GraphFactors(nn.Module):
    """torch_geometric's LightGCN and BPR loss; without layers it is BPR matrix factorization."""

    def __init__(self, data: Dataset, *, num_layers: int, reg_weight: float, seed: int) -> None:
        super().__init__()
        self.num_users, self.num_items = data.train.shape
        with seeded(seed):
            # Normalized beforehand: LGConv would do it anew in every layer of every step.
            self.network = LightGCN(
                self.num_users + self.num_items, DIM, num_layers, normalize=False
            )
        self.loss = BPRLoss(reg_weight)
        self.register_buffer("adjacency", _adjacency(data), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        nodes = self.network.get_embedding(self.adjacency)
        users, items, negatives = batch[0], batch[1], batch[2][:, 0]
        u, i, j = nodes[users], nodes[self.num_users + items], nodes[self.num_users + negatives]
        read = torch.cat([users, self.num_users + items, self.num_users + negatives])
        loss: Tensor = self.loss(
            (u * i).sum(-1), (u * j).sum(-1), self.network.embedding.weight[read]
        )
        return loss

    @torch.no_grad()
    def scorer(self) -> Scorer:
        nodes = self.network.get_embedding(self.adjacency)
        return lambda users: nodes[users.to(nodes.device)] @ nodes[self.num_users :].T

    def scores(self, users: Tensor) -> Tensor:
        return self.scorer()(users)


def bpr_mf(data: Dataset, _: str, params: Params, seed: int) -> nn.Module:
    return GraphFactors(data, num_layers=0, reg_weight=params["reg_weight"], seed=seed)


def light_gcn(data: Dataset, _: str, params: Params, seed: int) -> nn.Module:
    layers = params["num_layers"]
    return GraphFactors(data, num_layers=layers, reg_weight=params["reg_weight"], seed=seed)


def _adjacency(data: Dataset) -> Tensor:
    both = block_array([[None, data.train], [data.train.T, None]], format="csr")
    root = 1 / np.sqrt(np.maximum(both.sum(axis=1), 1))
    both = both.multiply(root[:, None]).multiply(root[None]).tocsr()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(both.indptr).long(),
            torch.from_numpy(both.indices).long(),
            torch.from_numpy(both.data).float(),
            both.shape,
            check_invariants=False,
        )
