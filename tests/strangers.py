"""Small recommenders that consume features in the ways published models do; none knows sgfd."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

USERS, ITEMS = 11, 13
WIDTHS = {"image": 10, "text": 6}
DIM = 4


def features() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return {m: torch.randn(ITEMS, f, generator=generator) for m, f in WIDTHS.items()}


def labels() -> Tensor:
    y = torch.arange(ITEMS) % 3
    y[5] = -1
    return y


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(8)
    users = torch.randint(0, USERS, (9,), generator=generator)
    items = torch.randint(0, ITEMS, (2, 9), generator=generator)
    return users, items[0], items[1]


def batch_items(interaction) -> Tensor:
    return torch.cat([interaction[1], interaction[2]])


class Stranger(nn.Module):
    """Scores users against the sum of an id embedding and whatever ``item_features`` gives."""

    def __init__(self):
        super().__init__()
        self.users = nn.Embedding(USERS, DIM)
        self.ids = nn.Embedding(ITEMS, DIM)

    def item_features(self) -> Tensor:
        raise AssertionError

    def calculate_loss(self, interaction) -> Tensor:
        users, positives, negatives = interaction
        items = self.ids.weight + self.item_features()
        u = self.users(users)
        return -F.logsigmoid((u * (items[positives] - items[negatives])).sum(1)).mean()

    def full_sort_predict(self, users: Tensor) -> Tensor:
        return self.users(users) @ (self.ids.weight + self.item_features()).T


class SeparateBuffers(Stranger):
    def __init__(self):
        super().__init__()
        for m, x in features().items():
            self.register_buffer(f"{m}_feat", x)
        self.image_trs, self.text_trs = (nn.Linear(f, DIM) for f in WIDTHS.values())

    def item_features(self):
        return self.image_trs(self.image_feat) + self.text_trs(self.text_feat)


class TrainableEmbedding(SeparateBuffers):
    def __init__(self):
        super().__init__()
        self.image_embedding = nn.Embedding.from_pretrained(features()["image"], freeze=False)

    def item_features(self):
        return self.image_trs(self.image_embedding.weight) + self.text_trs(self.text_feat)


class Nested(Stranger):
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(f, DIM), nn.Tanh()) for m, f in WIDTHS.items()}
        )

    def item_features(self):
        return sum(self.encoder[m](x) for m, x in features().items())


class Concatenated(Stranger):
    def __init__(self):
        super().__init__()
        self.joint = nn.Linear(sum(WIDTHS.values()), DIM)

    def item_features(self):
        return self.joint(torch.cat(list(features().values()), dim=1))


class DeadTwin(SeparateBuffers):
    def __init__(self):
        super().__init__()
        self.image_old = nn.Linear(WIDTHS["image"], DIM)


class SeesUsers(SeparateBuffers):
    def __init__(self):
        super().__init__()
        self.tastes = nn.Parameter(torch.randn(USERS, WIDTHS["image"]))

    def item_features(self):
        both = self.image_trs(torch.cat([self.tastes, self.image_feat]))
        return both[USERS:] + both[:USERS].mean() + self.text_trs(self.text_feat)


class BareParameter(SeparateBuffers):
    def __init__(self):
        super().__init__()
        del self.image_trs
        self.image_weight = nn.Parameter(torch.randn(WIDTHS["image"], DIM))

    def item_features(self):
        return torch.mm(self.image_feat, self.image_weight) + self.text_trs(self.text_feat)


class NeverCalled(SeparateBuffers):
    def item_features(self):
        return self.text_trs(self.text_feat)


class TupleLoss(SeparateBuffers):
    def calculate_loss(self, interaction):
        loss = super().calculate_loss(interaction)
        return loss, self.users.weight.square().mean()


class ChangesTheBatch(SeparateBuffers):
    """Numbers items after users in place, as two published models do."""

    def calculate_loss(self, interaction):
        loss = super().calculate_loss(interaction)
        interaction[1].add_(USERS)
        interaction[2].add_(USERS)
        return loss


class TwoPaths(SeparateBuffers):
    def __init__(self):
        super().__init__()
        self.again = nn.ModuleList([self.image_trs])

    def item_features(self):
        return self.again[0](self.image_feat) + self.text_trs(self.text_feat)
