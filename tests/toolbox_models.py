"""More stand-ins: how the models of a published toolbox hold and read features. Our own code."""

import strangers
import torch
import torch.nn.functional as F
from strangers import DIM, ITEMS, USERS, WIDTHS, features
from torch import Tensor, nn


class KeptConcatenation(strangers.Stranger):
    """Text and image side by side in a plain attribute, before one layer."""

    def __init__(self):
        super().__init__()
        self.raw = torch.cat([features()["text"], features()["image"]], dim=1)
        self.joint = nn.Linear(self.raw.shape[1], DIM)

    def item_features(self):
        return self.joint(self.raw)


class Tower(nn.Module):
    """A modality's own module: it keeps the features, and has two layers."""

    def __init__(self, x: Tensor):
        super().__init__()
        self.features = x
        self.first, self.second = nn.Linear(x.shape[1], 2 * DIM), nn.Linear(2 * DIM, DIM)

    def forward(self):
        return self.second(F.leaky_relu(self.first(self.features)))


class Towers(strangers.Stranger):
    def __init__(self):
        super().__init__()
        self.v_tower, self.t_tower = (Tower(x) for x in features().values())

    def item_features(self):
        return self.v_tower() + self.t_tower()


class FrozenEmbeddings(strangers.SeparateBuffers):
    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleDict(
            {m: nn.Embedding.from_pretrained(x, freeze=True) for m, x in features().items()}
        )

    def item_features(self):
        return self.image_trs(self.tables["image"].weight) + self.text_trs(
            self.tables["text"].weight
        )


class TrainableEmbeddings(FrozenEmbeddings):
    def __init__(self):
        super().__init__()
        self.tables.requires_grad_(True)


class NormalizedAtOnce(strangers.Stranger):
    """Replaces its features by rows of unit length when it is made."""

    def __init__(self):
        super().__init__()
        self.v_feat, self.t_feat = (F.normalize(x) for x in features().values())
        self.v_dense, self.t_dense = (nn.Linear(f, DIM) for f in WIDTHS.values())

    def item_features(self):
        return self.v_dense(self.v_feat) + self.t_dense(self.t_feat)


class Listed(strangers.Stranger):
    """Features in a Python list, layers in a ModuleList."""

    def __init__(self):
        super().__init__()
        self.feats = list(features().values())
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Dropout(0.0), nn.Linear(f, DIM)) for f in WIDTHS.values()
        )

    def item_features(self):
        return sum(layer(x) for layer, x in zip(self.layers, self.feats, strict=True))


class DeadTwins(Towers):
    """Layers of both widths beside those that are called, with the better names."""

    def __init__(self):
        super().__init__()
        self.image_trs, self.text_trs = (nn.Linear(f, DIM) for f in WIDTHS.values())


class NothingCalled(strangers.SeparateBuffers):
    """Features serve for neighbors when it is made; its layers are never called."""

    def __init__(self):
        super().__init__()
        x = F.normalize(self.image_feat)
        self.neighbors = (x @ x.T).topk(3).indices

    def item_features(self):
        return self.ids(self.neighbors).mean(1)


class UsersBesideItems(strangers.SeparateBuffers):
    """Text is read with users' rows above it, all normalized; the image has its own layer."""

    def __init__(self):
        super().__init__()
        self.preference = nn.Parameter(torch.randn(USERS, WIDTHS["text"]))

    def item_features(self):
        x = F.normalize(torch.cat([self.preference, self.text_feat]))
        return self.image_trs(self.image_feat) + self.text_trs(x)[USERS:]


class OncePerEpoch(strangers.SeparateBuffers):
    """Features make a graph in the first loss of an epoch; the others use it without gradient."""

    fresh = True

    def pre_epoch_processing(self):
        self.fresh = True

    def item_features(self):
        x = self.image_trs(self.image_feat) + self.text_trs(self.text_feat)
        if self.fresh:
            self.graph = torch.softmax(x @ x.T, dim=1)
        elif self.training:
            self.graph = self.graph.detach()
        self.fresh = False
        return self.graph @ self.ids.weight


class AuxiliaryTerm(strangers.SeparateBuffers):
    """Features have a term of their own in the loss, and none in the scores."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = weight

    def item_features(self):
        return torch.zeros_like(self.ids.weight)

    def calculate_loss(self, interaction):
        x = self.image_trs(self.image_feat) + self.text_trs(self.text_feat)
        u = self.users(interaction[0])
        own = -F.logsigmoid((u * (x[interaction[1]] - x[interaction[2]])).sum(1)).mean()
        return super().calculate_loss(interaction) + self.weight * own


class OneElementLoss(strangers.SeparateBuffers):
    def calculate_loss(self, interaction):
        return super().calculate_loss(interaction) + torch.zeros(1)


class RenumbersOneTensor(strangers.SeparateBuffers):
    """A batch is one tensor; its rows of items are numbered after users, in place and first."""

    def calculate_loss(self, interaction):
        users, positives, negatives = interaction
        positives += USERS
        negatives += USERS
        nodes = torch.cat([self.users.weight, self.ids.weight + self.item_features()])
        u = nodes[users]
        return -F.logsigmoid((u * (nodes[positives] - nodes[negatives])).sum(1)).mean()


class RegistersWhileTraining(strangers.SeparateBuffers):
    """An attribute that is None until the first loss, and a parameter registered anew then."""

    def __init__(self):
        super().__init__()
        self.seen = None

    def calculate_loss(self, interaction):
        self.seen = self.ids.weight
        return super().calculate_loss(interaction)


class NoTraining(nn.Module):
    """Neighbors by features, and nothing to learn."""

    def __init__(self, given: dict[str, Tensor] | None = None):
        super().__init__()
        self.dummy = nn.Parameter(torch.zeros(2))
        x = F.normalize(torch.cat(list((given or features()).values()), dim=1))
        seen = torch.zeros(USERS, ITEMS)
        seen[torch.arange(ITEMS) % USERS, torch.arange(ITEMS)] = 1
        self.all_scores = seen @ (x @ x.T)

    def calculate_loss(self, _):
        return torch.tensor(0.0)

    def full_sort_predict(self, users):
        return self.all_scores[users]
