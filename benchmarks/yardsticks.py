"""The same training losses the straightforward way, as the release and MMRec write them.

Each computes what a backbone of ours computes, plain or distilled, from the very same parameters,
with none of the savings: the teacher reads every row of the batch, repeats and all; every step
projects the whole catalog; chains of linear layers stay chains; messages are (edges, width)
tensors that are gathered and scattered.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor, nn

from sgfd import Distilled, Semantics
from sgfd.backbones import BM3, GRCN, MAML, VBPR, Batch, Recommender, covariance_penalty


def unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def project(model: nn.Module, features: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """What a backbone and what the distillation loss reads of the catalog, by one product."""
    read = {}
    for m, table in features.items():
        if not isinstance(model, Distilled):
            layer = model.projections[m]
            y = F.linear(table, layer.weight, layer.bias)
            read[m] = (y, y)
            continue
        student = model.student(m)
        y = F.linear(table, student.weight, student.bias)
        forward = y if student.activation is None else student.activation(y)
        embed = y if student.embed_activation is None else student.embed_activation(y)
        read[m] = (
            unit(forward) if student.normalize else forward,
            unit(embed) if student.embed_normalize else embed,
        )
    return read


def distillation_loss(
    model: Distilled, items: Tensor, features: dict[str, Tensor], catalog: dict[str, Tensor]
) -> Tensor:
    """Teacher on every row of the batch; students' embeddings of the catalog, the rows taken."""
    teacher, embeddings = model.teacher, {}
    for m, table in features.items():
        x = table[items]
        layers = list(teacher.extractors[m])
        for layer in layers[:-1]:
            x = layer(x)
            x = x if teacher.inner_activation is None else teacher.inner_activation(x)
        x = layers[-1](x)
        x = x if teacher.activation is None else teacher.activation(x)
        embeddings[m] = unit(x) if teacher.normalize else x
    taught = Semantics(
        embeddings,
        {m: teacher.classifiers[m](x) for m, x in embeddings.items()},
        teacher.fuse(embeddings),
    )
    students = {m: x[items] for m, x in catalog.items()}
    learned = Semantics(students, {m: teacher.classifiers[m](x) for m, x in students.items()}, None)
    return model.sgfd_loss(taught, learned, model._labels[items])


def bm3(model: BM3, batch: Batch, read: dict[str, Tensor], adjacency: Tensor) -> Tensor:
    """Propagation by a COO product, the whole catalog through the predictor."""
    n = model.num_users
    x = torch.cat([model.user_embedding.weight, model.item_embedding.weight])
    layers = [x]
    for _ in range(model.num_layers):
        layers.append(torch.sparse.mm(adjacency, layers[-1]))
    mean = torch.stack(layers).mean(0)
    users, items = mean[:n], mean[n:] + model.item_embedding.weight
    u_online, i_online = model.predictor(users), model.predictor(items)
    u_target, i_target = users.detach(), items.detach()

    def distance(online: Tensor, target: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(online, target, dim=-1).mean()

    u, i = batch[0], batch[1]
    loss = distance(u_online[u], i_target[i]) + distance(i_online[i], u_target[u])
    for f in read.values():
        online, target = model.predictor(f), f.detach()
        pull = distance(online[i], i_target[i]) + distance(online[i], target[i])
        loss = loss + model.cl_weight * pull
    return loss + model.reg_weight * (users.norm() + items.norm()) / model.num_items


def grcn(model: GRCN, batch: Batch, read: dict[str, Tensor], edges: Tensor) -> Tensor:
    """Messages as (edges, width) tensors, in both directions, gathered and scattered."""
    n = model.num_users
    source, target = torch.cat([edges, edges.flip(0)], dim=1)  # users to items, items to users
    nodes = n + model.num_items

    def scatter(values: Tensor, index: Tensor) -> Tensor:
        out = torch.zeros(nodes, *values.shape[1:], dtype=values.dtype)
        at = index.view(-1, *[1] * (values.ndim - 1)).expand_as(values)
        return out.scatter_add(0, at, values)

    def softmax(scores: Tensor, index: Tensor) -> Tensor:
        largest = torch.full((nodes,), -torch.inf, dtype=scores.dtype).scatter_reduce(
            0, index, scores, "amax"
        )
        shares = (scores - largest[index]).exp()
        return shares / scatter(shares, index)[index]

    def attend(x: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        messages = x[source]
        attention = softmax((x[target] * messages).sum(-1), target)
        return scatter(attention[:, None] * messages, target), attention

    parts, weights = [], []
    for m, f in read.items():
        items = unit(F.leaky_relu(f))
        users = unit(model.preferences[m].weight)
        back = slice(edges.shape[1], None)  # items to users
        for _ in range(model.num_routings):
            gathered, _ = attend(torch.cat([users, items]), source[back], target[back])
            users = unit(users + gathered[:n])
        x = torch.cat([users, items])
        gathered, attention = attend(x, source, target)
        parts.append(x + gathered)
        weights.append(attention)
    confidence = torch.cat([model.user_confidence, model.item_confidence])[source]
    weight = model.pool(torch.stack(weights, -1) * confidence, -1)
    weight = weight.relu() if model.prune else weight
    x = unit(torch.cat([model.user_embedding.weight, model.item_embedding.weight]))
    total = x
    for _ in range(model.num_layers):
        x = scatter(weight[:, None] * x[source], target)
        total = total + x
    result = torch.cat([total, *parts], dim=-1)
    rows = model.items_of(batch)
    u, i = result[batch[0]], result[n + rows].view(len(batch[0]), -1, result.shape[1])
    scores = (u[:, None] * i).sum(-1)
    loss = F.softplus(scores[:, 1:] - scores[:, :1]).mean()
    read = [model.user_embedding(batch[0]), model.item_embedding(rows)]
    read += [preference(batch[0]) for preference in model.preferences.values()]
    return loss + model.reg_weight * sum(x.square().mean() for x in read)


def vbpr(model: VBPR, batch: Batch, read: dict[str, Tensor], _: None) -> Tensor:
    """BPR on the batch's rows of what was projected."""
    rows = model.items_of(batch)
    factors, bias = [model.item_embedding(rows)], model.item_bias(rows).squeeze(-1)
    factors += [f[rows] for f in read.values()]
    i = torch.cat(factors, -1).view(len(batch[0]), -1, sum(f.shape[-1] for f in factors))
    u = model.user_factors(batch[0])
    scores = (u[:, None] * i).sum(-1) + bias.view(i.shape[:2])
    loss = F.softplus(scores[:, 1:] - scores[:, :1]).mean()
    norms = u.square().sum(-1).mean() + i.square().sum(-1).mean()
    return loss + model.reg_weight * norms


def maml(model: MAML, batch: Batch, read: dict[str, Tensor], _: None) -> Tensor:
    """The whole catalog through the feature layers, attention on every pair as it comes."""
    x = unit(torch.cat(list(read.values()), -1))
    first, second, third, last = model.feature_layers
    x = last(third(unit(second(unit(first(x).relu())).relu())).relu())
    x = x / x.norm(dim=-1, keepdim=True).clamp(min=1)
    rows = model.items_of(batch).view(len(batch[0]), -1)
    u = model.user_embedding(batch[0])[:, None].expand(*rows.shape, -1)
    i, f = model.item_embedding(rows), x[rows]
    hidden, output = model.attention.hidden, model.attention.output
    a = unit(torch.tanh(hidden(unit(torch.cat([u, i, f], -1)))))
    a = u.shape[-1] * output(a).relu().softmax(-1)
    d = (a * u - a * i).square().sum(-1)
    gaps = d[:, :1] - d[:, 1:] + model.margin
    rank = model.num_items * (gaps > 0).to(d.dtype).mean(-1)
    hinge = gaps.amax(-1).relu() * rank.log1p()
    items, users = rows.unique(), batch[0].unique()
    of_items = model.item_embedding(items)
    loss = hinge.mean() + model.feature_weight * (of_items - x[items]).square().sum(-1).mean()
    read = torch.cat([model.user_embedding(users), of_items])
    loss = loss + model.covariance_weight * covariance_penalty(read)
    return loss + model.reg_weight * (a - 1).square().mean()


LOSSES: dict[type[nn.Module], Callable[..., Tensor]] = {
    BM3: bm3,
    GRCN: grcn,
    MAML: maml,
    VBPR: vbpr,
}


def structure(backbone: str, train: csr_array, model: Recommender) -> Tensor | None:
    """What a loss reads of the graph: GRCN's edges (2, E), BM3's adjacency as COO."""
    users, items = (torch.from_numpy(x).long() for x in train.nonzero())
    ends = torch.stack([users, items + model.num_users])
    if backbone == "grcn":
        return ends
    if backbone != "bm3":
        return None
    assert isinstance(model, BM3)
    nodes = model.num_users + model.num_items
    both, weights = torch.cat([ends, ends.flip(0)], 1), model.graph.weights.repeat(2)
    return torch.sparse_coo_tensor(both, weights, (nodes, nodes), check_invariants=True).coalesce()
