"""A product that the recommender took is not taken again by the distillation loss."""

from functools import partial

import numpy as np
import pytest
import strangers
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from strangers import ITEMS, USERS, batch, batch_items, features, labels
from torch.utils._python_dispatch import TorchDispatchMode

from sgfd import FeatureStudent, distill, paper_student
from sgfd.backbones import BM3, GRCN, MAML, VBPR, Batch

WIDTH = strangers.WIDTHS["image"]


class Products(TorchDispatchMode):
    """Counts how often rows of images are multiplied by a student's weight."""

    def __init__(self, model):
        super().__init__()
        self.weight = model.student("image").weight.data_ptr()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten.addmm.default, torch.ops.aten.mm.default):
            self.count += any(x.data_ptr() == self.weight for x in args)
        return function(*args, **(kwargs or {}))


def of_ours(kind, *, table=None, **options):
    interactions = csr_array(np.arange(USERS * ITEMS).reshape(USERS, ITEMS) % 3 == 0, dtype=float)
    given = {m: x.double() for m, x in (features() if table is None else table).items()}
    model = distill(kind(interactions, given, dim=4).double(), given, labels(), **options)
    users, items, negatives = batch()
    return model, lambda: model(Batch(users, items, negatives[:, None]))


def of_stranger(kind, given=None, **options):
    torch.manual_seed(3)
    backbone = kind()
    model = distill(
        backbone.double(),
        {"image": "image_feat", "text": "text_feat"} if given is None else given,
        labels(),
        loss_method="calculate_loss",
        items=batch_items,
        **options,
    )
    return model, lambda: model.calculate_loss(batch())


def taken(model, loss):
    with Products(model) as products:
        value = loss()
    model.zero_grad()
    value.backward()
    assert all(product._made is None for product in model._products.values())
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return products.count, value.detach(), gradients


def check(model, loss, monkeypatch, *, products, without=2, rtol=1e-9):
    """The same loss and gradients with reuse and without, by so many products."""
    with monkeypatch.context() as patch:
        patch.setattr(
            "sgfd._reuse.Product.embed", lambda self, student, x, rows, source: student.embed(x)
        )
        count, expected, others = taken(model, loss)
        assert count == without
    count, found, gradients = taken(model, loss)
    assert count == products
    torch.testing.assert_close(found, expected, rtol=rtol, atol=0)
    torch.testing.assert_close(gradients, others, rtol=rtol, atol=1e-5 * rtol)


MIXED = {"image": lambda layer: FeatureStudent.adopt(layer, activation=F.leaky_relu)}


@pytest.mark.parametrize(
    ("student", "products"),
    [(FeatureStudent.adopt, 1), (paper_student, 1), (MIXED, 2)],
    ids=["linear", "paper", "an activation that embed has, unit rows only there"],
)
@pytest.mark.parametrize("kind", [BM3, GRCN, VBPR])
def test_ours_take_one_product(kind, student, products, monkeypatch):
    model, loss = of_ours(kind, student=student)
    model.backbone.dropout = 0.0
    check(model, loss, monkeypatch, products=products)


def test_maml_too(monkeypatch):
    model, loss = of_ours(MAML)
    model.backbone.dropout = 0.0
    check(model, loss, monkeypatch, products=1)


@pytest.mark.parametrize("age", [0, 1], ids=["all items", "the batch's"])
@pytest.mark.parametrize("student", [FeatureStudent.adopt, paper_student])
def test_and_grcn_where_it_projects_all_items_now_and_then(age, student, monkeypatch):
    model, loss = of_ours(partial(GRCN, refresh_every=2), student=student)
    loss()

    def of_age():
        model.backbone.cache.age.fill_(age)
        return loss()

    check(model, of_age, monkeypatch, products=1)


@pytest.mark.parametrize("kind", [BM3, GRCN])
def test_items_that_lack_a_modality_are_read_once_too(kind, monkeypatch):
    table = features()
    table["image"][[2, 7]] = torch.nan
    model, loss = of_ours(kind, table=table)
    model.backbone.dropout = 0.0
    check(model, loss, monkeypatch, products=1)


def test_a_catalog_that_a_stranger_reads_whole(monkeypatch):
    check(*of_stranger(strangers.SeparateBuffers), monkeypatch, products=1)
    live = {"image": "image_embedding", "text": "text_feat"}
    check(*of_stranger(strangers.TrainableEmbedding, live), monkeypatch, products=1)


def test_a_table_of_ones_own_is_another(monkeypatch):
    given = {m: x.double() for m, x in features().items()}
    check(*of_stranger(strangers.SeparateBuffers, given), monkeypatch, products=2)


def test_an_output_changed_in_place_is_not_used(monkeypatch):
    class InPlace(strangers.SeparateBuffers):
        def item_features(self):
            return F.leaky_relu_(self.image_trs(self.image_feat), 0.3) + self.text_trs(
                self.text_feat
            )

    check(*of_stranger(InPlace), monkeypatch, products=2)


def test_nor_one_of_other_rows_without_a_gradient_or_of_another_precision(monkeypatch):
    class Noisy(strangers.SeparateBuffers):
        def item_features(self):
            return self.image_trs(self.image_feat * 1.0) + self.text_trs(self.text_feat)

    class Half(strangers.SeparateBuffers):
        def item_features(self):
            with torch.autocast("cpu", torch.bfloat16):
                read = self.image_trs(self.image_feat)
            return read.float() + self.text_trs(self.text_feat)

    class Unread(strangers.SeparateBuffers):
        def item_features(self):
            with torch.no_grad():
                read = self.image_trs(self.image_feat)
            return read + self.text_trs(self.text_feat)

    for kind in (Noisy, Unread):
        check(*of_stranger(kind), monkeypatch, products=2)
    model, loss = of_stranger(Half)
    model.float()
    # The recommender multiplies a half-precision copy of the weight, which is not counted.
    check(model, loss, monkeypatch, products=1, without=1, rtol=1e-3)


def test_nor_one_by_other_parameters_or_of_a_weight_that_changed(monkeypatch):
    class Perturbed(strangers.SeparateBuffers):
        def item_features(self):
            moved = {name: p + 0.1 for name, p in self.image_trs.named_parameters()}
            read = torch.func.functional_call(self.image_trs, moved, (self.image_feat,))
            return read + self.text_trs(self.text_feat)

    class Changed(strangers.SeparateBuffers):
        def item_features(self):
            read = self.image_trs(self.image_feat) + self.text_trs(self.text_feat)
            with torch.no_grad():
                self.image_trs.weight.mul_(-1.0)
            return read

    check(*of_stranger(Perturbed), monkeypatch, products=1, without=1)
    model, loss = of_stranger(Changed)
    # Twice, so that the weight is what it was.
    check(model, lambda: loss() + loss(), monkeypatch, products=4, without=4)


def test_nor_one_whose_graph_the_recommender_has_freed(monkeypatch):
    class Adversarial(strangers.SeparateBuffers):
        def calculate_loss(self, interaction):
            super().calculate_loss(interaction).backward()
            return self.users.weight.square().sum()

    check(*of_stranger(Adversarial), monkeypatch, products=2)


def test_rows_that_the_recommender_changes_in_place_are_gathered_again(monkeypatch):
    class Masking(VBPR):
        def _joined(self, ids, bias, features):
            for x in features.values():
                x.mul_(0.0)
            return super()._joined(ids, bias, features)

    model, loss = of_ours(Masking)
    model._watch.ended = True  # it would say that the recommender reads other rows, and rightly
    check(model, loss, monkeypatch, products=2)
    model, _ = of_ours(VBPR)
    table, rows = model.backbone.features["image"], torch.tensor([3, 1])
    with table.keeping():
        assert table(rows) is table(rows.clone())
        table(rows).zero_()
        assert torch.equal(table(rows), table.values[[3, 1]])
        rows.add_(1)
        assert torch.equal(table(rows), table.values[[4, 2]])


def test_an_activation_that_works_in_place_spares_what_the_recommender_reads(monkeypatch):
    def student(layer):
        return FeatureStudent.adopt(layer, embed_activation=torch.nn.LeakyReLU(inplace=True))

    model, loss = of_ours(BM3, student=student)
    model.backbone.dropout = 0.0
    check(model, loss, monkeypatch, products=1)


def test_in_inference_mode_the_loss_is_the_same():
    for model, loss in (of_ours(VBPR), of_stranger(strangers.SeparateBuffers)):
        model.eval()
        expected = loss()
        with torch.inference_mode():
            assert torch.equal(loss(), expected)


def test_a_student_of_two_modalities_is_kept_once():
    """And the distillation loss does not count as the recommender's where it is watched."""

    class One(strangers.SeparateBuffers):
        def __init__(self):
            super().__init__()
            self.text_trs = self.image_trs

        def item_features(self):
            return 0.0 * self.image_trs(self.image_feat)

    model, loss = of_stranger(
        One,
        {"image": "image_feat", "text": "image_feat"},
        projections={"image": "image_trs", "text": "image_trs"},
    )
    assert model._products["image"] is model._products["text"]
    with Products(model) as products:
        value = loss()
    assert products.count == 1
    value.backward()
    assert not any(watch.reached for watch in model._watch.students.values())


def test_nothing_is_kept_of_a_loss_that_failed():
    class Fails(strangers.SeparateBuffers):
        def calculate_loss(self, interaction):
            super().calculate_loss(interaction)
            raise ArithmeticError

    model, loss = of_stranger(Fails)
    with pytest.raises(ArithmeticError):
        loss()
    for product in model._products.values():
        assert product._made is None
        assert not product.kept
    model, _ = of_ours(VBPR)
    with pytest.raises(ValueError, match="negatives"):
        model(Batch(*(torch.zeros(2, dtype=torch.long),) * 2, torch.empty(2, 0, dtype=torch.long)))
    assert all(table._kept is None for table in model._tables.values())
