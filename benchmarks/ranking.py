"""Ranking every item for the users of a test part."""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sgfd.backbones import MAML
from sgfd.evaluation import Evaluation, evaluate

from .cases import Sizes, catalog, plain
from .subject import Case, Subject
from .yardsticks import project, unit

KS = (5, 10, 20, 50)  # the cut-offs of MMRec
BATCH = 1024
# MAML's attention is computed for every pair: only some users, and the seconds scaled.
MAML_USERS = {"ours": 512, "straightforward": 8}


def rank(case: Case, sizes: Sizes) -> Subject:
    """``evaluate``, and a loop over users in Python. A distilled model ranks as a plain one."""
    data = catalog(sizes)
    model = plain(case.backbone, data, sizes, case.mathematics).eval()
    users = np.flatnonzero(np.diff(data.test.indptr))
    some = {"ours": users, "straightforward": users}
    if isinstance(model, MAML):
        some = {way: users[:number] for way, number in MAML_USERS.items()}

    def ours(chosen: np.ndarray = some["ours"]) -> Evaluation:
        return evaluate(
            model.scorer(), data.test, seen=data.train, ks=KS, users=chosen, batch_size=BATCH
        )

    def straightforward() -> dict[str, list[float]]:
        scores, batch = model.scorer(), BATCH
        if isinstance(model, MAML):
            scores, batch = _through_the_network(model, data.features), 1
        return _one_by_one(scores, data.test, data.train, some["straightforward"], batch)

    def check() -> None:
        expected = straightforward()
        found = ours(some["straightforward"]).per_user
        assert found.keys() == expected.keys()
        for name, values in found.items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-12, err_msg=name)

    times = {f"{way}_times": len(users) / len(chosen) for way, chosen in some.items()}
    return Subject(ours, straightforward, check, **times)


def _one_by_one(
    scores: Callable[[Tensor], Tensor],
    test: csr_array,
    train: csr_array,
    users: np.ndarray,
    batch_size: int,
) -> dict[str, list[float]]:
    """Scores batch by batch; what a user has seen, and each metric, user by user in Python.

    An item is looked for in the array of the user's items, as MMRec does it; in a set it would take
    a tenth of the time.
    """
    relevant = {u: test.indices[test.indptr[u] : test.indptr[u + 1]] for u in users}
    seen = {u: train.indices[train.indptr[u] : train.indptr[u + 1]].tolist() for u in users}
    found: dict[str, list[float]] = {
        f"{name}@{k}": []
        for name in ("recall", "ndcg", "precision", "map", "hit_rate", "mrr")
        for k in KS
    }
    for start in range(0, len(users), batch_size):
        batch = users[start : start + batch_size]
        matrix = scores(torch.from_numpy(batch))
        for row, user in enumerate(batch):
            matrix[row, seen[user]] = -torch.inf
        best = matrix.topk(max(KS), dim=1).indices.tolist()
        for row, user in enumerate(batch):
            hits = [item in relevant[user] for item in best[row]]
            for k in KS:
                for name, value in _metrics(hits[:k], len(relevant[user])).items():
                    found[f"{name}@{k}"].append(value)
    return found


def _metrics(ranked: list[bool], n: int) -> dict[str, float]:
    k, hits, gain, precisions, first = len(ranked), 0, 0.0, 0.0, 0
    for rank, hit in enumerate(ranked, start=1):
        if hit:
            hits += 1
            gain += 1 / math.log2(rank + 1)
            precisions += hits / rank
            first = first or rank
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, n) + 1))
    return {
        "recall": hits / n,
        "ndcg": gain / ideal,
        "precision": hits / k,
        "map": precisions / min(k, n),
        "hit_rate": float(hits > 0),
        "mrr": 1 / first if first else 0.0,
    }


def _through_the_network(model: MAML, features: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    """One user and every item through the whole network, from raw features on."""

    @torch.no_grad()
    def scores(user: Tensor) -> Tensor:
        x = unit(torch.cat([forward for forward, _ in project(model, features).values()], -1))
        first, second, third, last = model.feature_layers
        f = last(third(unit(second(unit(first(x).relu())).relu())).relu())
        i, u = model.item_embedding.weight, model.user_embedding(user)
        f, i, u = (v / v.norm(dim=-1, keepdim=True).clamp(min=1) for v in (f, i, u))
        u = u.expand_as(i)
        a = unit(torch.tanh(model.attention.hidden(unit(torch.cat([u, i, f], -1)))))
        a = u.shape[-1] * model.attention.output(a).relu().softmax(-1)
        return -(a * u - a * i).square().sum(-1)[None]

    return scores
