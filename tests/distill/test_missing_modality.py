"""distill() where items lack modalities."""

import copy

import numpy as np
import pytest
import strangers
import torch
from scipy.sparse import csr_array
from strangers import ITEMS, USERS, batch, batch_items, features, labels

from sgfd import DistillationWarning, UnusedStudentWarning, distill
from sgfd.backbones import BM3, VBPR
from sgfd.data import PairSampler, synthetic_catalog

HOLES = {"image": [0, 4, 5], "text": [4, 7]}


def holed():
    x = features()
    for m, rows in HOLES.items():
        x[m][rows] = torch.nan
    return x


def masks():
    return {m: torch.isin(torch.arange(ITEMS), torch.tensor(rows)) for m, rows in HOLES.items()}


def wrap(model=None, given=None, **options):
    torch.manual_seed(0)
    options = {"loss_method": "calculate_loss", "items": batch_items} | options
    return distill(model or strangers.SeparateBuffers(), given or holed(), labels(), **options)


def written_out(wrapped, items):
    x, present = features(), {m: ~mask[items] for m, mask in masks().items()}
    learned = wrapped.teacher.judge({m: wrapped.student(m).embed(v[items]) for m, v in x.items()})
    taught = wrapped.teacher({m: v[items] for m, v in x.items()}, present)
    return wrapped.sgfd_loss.terms(taught, learned, labels()[items], None, present)


def test_rows_of_nan_and_masks_give_the_same_terms(tmp_path):
    items = torch.tensor([0, 4, 4, 7, 9, 2])
    maps = {}
    for m, x in holed().items():
        np.save(tmp_path / f"{m}.npy", x.numpy())
        maps[m] = np.load(tmp_path / f"{m}.npy", mmap_mode="r")
    for wrapped in (
        wrap(),
        wrap(given=maps),
        wrap(given={"image": "image_feat", "text": features()["text"]}, missing=masks()),
        wrap(given={"image": holed()["image"], "text": "text_feat"}, missing=masks()),
    ):
        torch.testing.assert_close(wrapped.distillation_terms(items), written_out(wrapped, items))
        assert {m: mask.tolist() for m, mask in wrapped.missing(chunk_size=5).items()} == {
            m: mask.tolist() for m, mask in masks().items()
        }


def test_nothing_is_missing_of_complete_features():
    wrapped = wrap(given=features())
    assert not any(mask.any() for mask in wrapped.missing().values())
    assert {mask.dtype for mask in wrapped.missing().values()} == {torch.bool}


def test_a_mask_without_a_gap_changes_no_bit():
    plain = wrap(given=features())
    nothing = {m: np.zeros(ITEMS, dtype=bool) for m in HOLES}
    masked = wrap(given=features(), missing=nothing)
    masked.teacher.load_state_dict(plain.teacher.state_dict())
    assert torch.equal(masked.calculate_loss(batch()), plain.calculate_loss(batch()))


def test_a_stranger_may_hold_anything_where_the_features_have_gaps():
    class Filler(strangers.SeparateBuffers):
        def __init__(self):
            super().__init__()
            self.image_feat[HOLES["image"]] = 7.0

    wrapped = wrap(Filler())
    assert wrapped.calculate_loss(batch()).isfinite()  # and no warning
    other = holed()
    other["text"] = other["text"] + 0.5
    with pytest.warns(DistillationWarning, match=r"'text_trs'.*largest difference 0\.5\)"):
        wrap(Filler(), other).calculate_loss(batch())


def test_items_that_lack_everything_take_part_in_nothing():
    wrapped = wrap()
    nothing = wrapped.distillation_terms(torch.tensor([4, 4]))
    assert [t.item() for t in nothing] == [0, 0, 0, 0, 0]
    nothing.total.backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in wrapped.parameters())


def test_export_and_encode_fill_what_is_missing_with_the_mean():
    wrapped = wrap()
    x, exported = features()["image"], wrapped.export()["image"]
    there = ~masks()["image"]
    expected = x.clone()
    expected[~there] = x[there].mean(0)
    torch.testing.assert_close(exported, wrapped.student("image")(expected))
    new = torch.stack([torch.full((10,), torch.nan), x[1]])
    encoded = wrapped.encode({"image": new})["image"]
    torch.testing.assert_close(encoded, exported[[0, 1]])
    new[0, 3] = 1.0
    with pytest.raises(ValueError, match=r"must be a finite tensor of width 10.*\(A row of NaN"):
        wrapped.encode({"image": new})


def test_encode_fills_from_features_that_are_read_live():
    model = strangers.TrainableEmbedding()
    wrapped = wrap(model, {"image": "image_embedding", "text": features()["text"]})
    got = wrapped.encode({"image": torch.full((1, 10), torch.nan)})["image"]
    mean = model.image_embedding.weight.mean(0, keepdim=True)
    torch.testing.assert_close(got, wrapped.student("image")(mean))


def test_gaps_follow_a_copy_and_stay_out_of_checkpoints():
    wrapped = wrap(missing={"text": masks()["image"]})
    other = copy.deepcopy(wrapped)
    assert torch.equal(other.calculate_loss(batch()), wrapped.calculate_loss(batch()))
    assert all(key.startswith(("backbone.", "teacher.")) for key in wrapped.state_dict())
    both = masks()["text"] | masks()["image"]
    assert torch.equal(wrapped.missing()["text"], both)
    assert {b.device.type for b in other.to("meta").buffers()} == {"meta"}


@pytest.mark.parametrize(
    ("given", "missing", "text"),
    [
        (
            {"image": torch.full((ITEMS, 10), torch.nan)},
            None,
            "13 of the rows are NaN, which is al",
        ),
        (features(), {"audio": torch.ones(ITEMS).bool()}, r"without features: \['audio'\]"),
        (
            features(),
            {"image": torch.zeros(3).bool()},
            r"must be \(13,\) bool.*got \(3,\) of torch",
        ),
        (features(), {"image": np.zeros(ITEMS)}, r"got \(13,\) of torch.float64, 0 True"),
        (features(), {"image": [True] * ITEMS}, "and not for all; got .* 13 True"),
    ],
)
def test_gaps_that_do_not_fit_are_named(given, missing, text):
    model = strangers.SeparateBuffers()
    with pytest.raises(ValueError, match=text):
        wrap(model, given, missing=missing)
    assert type(model.image_trs) is torch.nn.Linear


def test_nan_in_a_tensor_that_is_read_live_is_refused():
    model = strangers.SeparateBuffers()
    model.image_feat[3] = torch.nan
    with pytest.raises(ValueError, match="'image_feat' has rows of NaN.*say with missing="):
        wrap(model, {"image": "image_feat"})


def three_modalities(kind, **options):
    data = synthetic_catalog(
        num_users=80, num_items=60, num_classes=4, widths={"image": 20, "text": 12, "audio": 8}
    )
    rng = np.random.default_rng(5)
    x = {m: v.copy() for m, v in data.features.items()}
    for share, v in zip((0.5, 0.2, 0.3), x.values(), strict=True):
        v[rng.random(60) < share] = np.nan
    for v in x.values():
        v[11] = np.nan  # nothing at all
    return data, x, kind(data.train, x, dim=8, **options)


@pytest.mark.parametrize("kind", [BM3, VBPR])
def test_three_modalities_with_holes_of_their_own_are_trained(kind):
    data, x, backbone = three_modalities(kind)
    model = distill(backbone, x, data.labels)
    assert all(model._tables[m] is backbone.features[m] for m in x)  # held once
    assert model.missing()["image"].float().mean() > 0.3
    assert "missing" in repr(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    everything, losses = torch.arange(60), []
    before = model.distillation_terms(everything)
    for epoch in range(15):
        sampler = PairSampler(data.train, batch_size=128, num_negatives=1)
        for one in sampler.epoch(epoch):
            optimizer.zero_grad()
            loss = model(one)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    after = model.distillation_terms(everything)
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert after.classification < before.classification / 2
    assert after.fusion < before.fusion / 2
    assert all(f.isfinite().all() for f in model.export().values())
    assert model.scores(torch.arange(80)).isfinite().all()
    assert len(model.recommend(torch.arange(80), k=60).items[0].unique()) == 60


@pytest.mark.parametrize("kind", [BM3, VBPR])
def test_trained_features_are_read_live_with_their_gaps(kind):
    data, x, backbone = three_modalities(kind, train_features=True)
    model = distill(backbone, {m: f"features.{m}" for m in x}, data.labels)
    for m, v in x.items():
        assert torch.equal(model.missing()[m], torch.from_numpy(np.isnan(v[:, 0])))
    model.distillation_loss(torch.arange(60)).backward()
    for m, v in x.items():
        moved = backbone.features[m].values.grad.abs().sum(1) > 0
        assert torch.equal(moved, torch.from_numpy(~np.isnan(v[:, 0])))


@pytest.mark.parametrize("live", [False, True], ids=["given", "live"])
def test_encode_fills_with_the_mean_of_what_is_not_made_up(live):
    model, x = strangers.SeparateBuffers(), features()
    made_up = torch.arange(ITEMS) % 2 == 0
    x["image"][made_up] = 7.0
    model.image_feat.copy_(x["image"])
    x["text"][3] = torch.nan  # a table with gaps: the mean that training reads there
    model.text_feat.copy_(x["text"].nan_to_num())
    given = x | {"image": "image_feat"} if live else x
    lacking = {"image": made_up, "text": torch.arange(ITEMS) == 5}
    distilled = distill(model, given, labels(), missing=lacking)
    gap = {m: torch.full((1, f), torch.nan) for m, f in strangers.WIDTHS.items()}
    encoded = distilled.encode(gap)
    there = torch.ones(ITEMS, dtype=torch.bool)
    there[3] = False
    for m, known in {"image": ~made_up, "text": there}.items():
        expected = distilled.student(m)(x[m][known].mean(0, keepdim=True))
        torch.testing.assert_close(encoded[m], expected)


def test_encode_fills_a_modality_with_gaps_as_training_does_whatever_another_lacks():
    x = features()
    x["text"][[3, 7]] = torch.nan
    masks = {"image": torch.arange(ITEMS) == 2}
    distilled = distill(strangers.SeparateBuffers(), x, labels(), missing=masks)
    encoded = distilled.encode({"text": x["text"][3:4]})["text"]
    torch.testing.assert_close(encoded[0], distilled.export()["text"][3])


def test_a_path_to_the_values_of_a_table_knows_its_gaps():
    x = features()
    x["image"][4] = torch.nan
    backbone = VBPR(csr_array(np.eye(USERS, ITEMS)), x, dim=4)
    paths = {"image": "features.image.values", "text": "features.text"}
    distilled = distill(backbone, paths, labels())
    assert distilled.missing()["image"].nonzero().flatten().tolist() == [4]
    x["image"] = x["image"].nan_to_num()  # and where there are none it is as it was
    plain = VBPR(csr_array(np.eye(USERS, ITEMS)), x, dim=4)
    assert not distill(plain, paths, labels()).missing()["image"].any()


def test_export_looks_at_a_layer_that_two_read_without_calling_it_read():
    class Idle(strangers.SeparateBuffers):
        def __init__(self):
            super().__init__()
            self.text_trs = self.image_trs

        def item_features(self):
            return 0.5 * self.ids.weight

    x = {"image": features()["image"], "text": 2 + features()["image"]}
    shared = {"image": "image_trs", "text": "image_trs"}
    model = distill(
        Idle(), x, labels(), projections=shared, loss_method="calculate_loss", items=batch_items
    )
    model.export()
    with pytest.warns(UnusedStudentWarning) as caught:
        train(model)
    assert {w.category for w in caught} == {UnusedStudentWarning}


def train(model, steps=60):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model.calculate_loss(batch()).backward()
        optimizer.step()
