"""A teacher trained by itself, and students of a teacher that stays as it is."""

import copy

import numpy as np
import pytest
import strangers
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from sklearn.metrics import accuracy_score
from torch import nn

from sgfd import SemanticTeacher, SGFDLoss, distill, hierarchy, pretrain_teacher
from sgfd._lessons import accuracy
from sgfd.backbones import VBPR

N, WIDTHS = 240, {"image": 7, "text": 5}


def separable(num_classes=4, *, noise=0.1, unknown=True):
    """Features around a corner per class and modality; the first column of images is the item."""
    rng = np.random.default_rng(3)
    labels = rng.integers(num_classes, size=N)
    features = {
        m: torch.from_numpy(
            3 * np.eye(num_classes, width)[labels] + noise * rng.standard_normal((N, width))
        ).float()
        for m, width in WIDTHS.items()
    }
    features["image"] = torch.cat([torch.arange(N)[:, None] / N, features["image"]], dim=1)
    labels = torch.from_numpy(labels)
    if unknown:
        labels[::6] = -1
    return features, labels


class Recorder(SemanticTeacher):
    """Keeps what it was asked, in training and in evaluation mode."""

    def __init__(self, num_classes=4, *, seed=0, **options):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            widths = {"image": WIDTHS["image"] + 1, "text": WIDTHS["text"]}
            super().__init__(widths, 6, num_classes, **options)
        self.asked = {True: [], False: []}

    def forward(self, features, present=None):
        said = super().forward(features, present)
        self.asked[self.training].append((self.items(features["image"]), said))
        return said

    @staticmethod
    def items(images):
        return (images[:, 0] * N).round().long()

    @property
    def held_out(self):
        items = torch.cat([items for items, _ in self.asked[False]])
        return items.unique()


def train(teacher, features, labels, **options):
    settings = {"epochs": 12, "batch_size": 32, "learning_rate": 0.01, "seed": 5}
    return pretrain_teacher(teacher, features, labels, **settings | options)


def same(a, b):
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_classes_that_lines_separate_are_learned():
    features, labels = separable()
    history = train(Recorder(), features, labels)
    best = history.best_epoch
    assert history.fused_accuracy[best] == 1
    assert all(values[best] > 0.95 for values in history.accuracy.values())
    assert history.loss[-1] < 0.3 * history.loss[0]


def test_accuracies_are_those_of_scikit_learn():
    features, labels = separable(noise=2.0)
    teacher = Recorder()
    history = train(teacher, features, labels, validation_fraction=0.25, batch_size=32)
    asked = teacher.asked[False]
    per_epoch = len(asked) // len(history.loss)
    assert per_epoch == 2  # 50 items, 32 at a time
    for epoch, fused in enumerate(history.fused_accuracy):
        parts = asked[epoch * per_epoch : (epoch + 1) * per_epoch]
        truth = labels[torch.cat([items for items, _ in parts])]

        def share(read, parts=parts, truth=truth):
            return accuracy_score(truth, torch.cat([read(said) for _, said in parts]).argmax(1))

        assert fused == pytest.approx(share(lambda said: said.fused_logits))
        for m in WIDTHS:
            assert history.accuracy[m][epoch] == pytest.approx(share(lambda s, m=m: s.logits[m]))
    assert len(set(history.fused_accuracy)) > 3


def test_held_out_items_are_labeled_and_never_learned_from():
    features, labels = separable()
    teacher = Recorder()
    train(teacher, features, labels, epochs=2, validation_fraction=0.3)
    learned = torch.cat([items for items, _ in teacher.asked[True]])
    per_epoch = learned.view(2, -1)
    assert torch.equal(per_epoch[0].sort().values, per_epoch[1].sort().values)
    assert not torch.equal(*per_epoch)
    both = torch.cat([teacher.held_out, per_epoch[0]])
    assert torch.equal(both.sort().values, (labels >= 0).nonzero().flatten())
    assert len(teacher.held_out) == round(0.3 * int((labels >= 0).sum()))


def test_epochs_are_what_a_plain_loop_does():
    features, labels = separable(noise=1.0)
    teacher, looped = Recorder(), Recorder()
    options = {"learning_rate": 0.02, "weight_decay": 0.003, "patience": None}
    history = train(teacher, features, labels, epochs=3, **options)
    assert history.best_epoch == 2  # so that the last parameters are there to compare
    adam = torch.optim.Adam(looped.parameters(), lr=0.02, weight_decay=0.003)
    losses = []
    for items, _ in teacher.asked[True]:
        said = looped({m: x[items] for m, x in features.items()})
        loss = F.cross_entropy(said.fused_logits, labels[items])
        for m in WIDTHS:
            loss = loss + F.cross_entropy(said.logits[m], labels[items]) / len(WIDTHS)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append((epoch_of(losses), len(items), loss.item()))
    for name, x in teacher.state_dict().items():
        torch.testing.assert_close(x, looped.state_dict()[name], rtol=1e-4, atol=1e-5)
    for epoch, mean in enumerate(history.loss):
        counted = [(n, loss) for e, n, loss in losses if e == epoch]
        expected = sum(n * loss for n, loss in counted) / sum(n for n, _ in counted)
        assert mean == pytest.approx(expected, rel=1e-4)


def epoch_of(losses):
    return len(losses) // 6  # 180 items to learn from, 32 at a time


def test_the_best_epoch_comes_back():
    features, labels = separable(noise=2.0)
    teacher = Recorder()
    history = train(teacher, features, labels, epochs=60, patience=7, learning_rate=0.05)
    merits = [
        (fused, -loss)
        for fused, loss in zip(history.fused_accuracy, history.held_out_loss, strict=True)
    ]
    assert history.best_epoch == merits.index(max(merits))
    assert len(history.loss) == history.best_epoch + 1 + 7 < 60
    items = teacher.held_out
    said = teacher({m: x[items] for m, x in features.items()})
    now = accuracy_score(labels[items], said.fused_logits.argmax(1))
    assert now == pytest.approx(history.fused_accuracy[history.best_epoch])
    classified = sum(F.cross_entropy(z, labels[items]) for z in said.logits.values()) / 2
    expected = classified + F.cross_entropy(said.fused_logits, labels[items])
    assert history.held_out_loss[history.best_epoch] == pytest.approx(expected.item(), rel=1e-5)


def test_without_fusion_the_mean_over_modalities_chooses():
    features, labels = separable(noise=2.0)
    teacher = Recorder(fusion=False)
    history = train(teacher, features, labels, epochs=20, patience=None)
    assert history.fused_accuracy == ()
    means = np.mean(list(history.accuracy.values()), axis=0)
    merits = list(zip(means, (-loss for loss in history.held_out_loss), strict=True))
    assert history.best_epoch == merits.index(max(merits))


def test_the_same_seed_gives_the_same_teacher_in_any_order_of_modalities():
    features, labels = separable(noise=1.0)
    backwards = dict(reversed(features.items()))
    teachers = [Recorder() for _ in range(3)]
    histories = [
        train(teacher, given, labels, seed=seed)
        for teacher, given, seed in zip(
            teachers, (features, backwards, features), (8, 8, 9), strict=True
        )
    ]
    assert histories[0] == histories[1] != histories[2]
    assert same(teachers[0], teachers[1])
    assert not same(teachers[0], teachers[2])


def test_generators_modes_and_gradients_are_left_as_they_were():
    features, labels = separable()
    for mode in (True, False):
        teacher = Recorder().train(mode)
        before = torch.get_rng_state()
        with torch.no_grad():
            train(teacher, features, labels, epochs=1)
            assert not torch.is_grad_enabled()
        assert torch.equal(torch.get_rng_state(), before)
        assert {part.training for part in teacher.modules()} == {mode}
        assert all(p.grad is None and p.requires_grad for p in teacher.parameters())


def test_a_part_that_is_frozen_stays():
    features, labels = separable()
    teacher, before = Recorder(), Recorder()
    teacher.extractors["image"].requires_grad_(False)
    train(teacher, features, labels, epochs=2, weight_decay=0.1)
    assert same(teacher.extractors["image"], before.extractors["image"])
    assert not teacher.extractors["image"][0].weight.requires_grad
    assert not same(teacher.extractors["text"], before.extractors["text"])


def test_an_error_leaves_the_best_parameters_until_then():
    features, labels = separable()
    teacher = Recorder().eval()
    with pytest.raises(FloatingPointError, match=r"must be finite; in epoch \d+ it is .*lower"):
        train(teacher, features, labels, learning_rate=1e30)
    assert all(p.isfinite().all() for p in teacher.parameters())
    assert not teacher.training

    class Interrupted(Recorder):
        def forward(self, features, present=None):
            if len(self.asked[False]) == 2:
                raise KeyboardInterrupt
            return super().forward(features, present)

    teacher, two_epochs = Interrupted(), Recorder()
    with pytest.raises(KeyboardInterrupt):
        train(teacher, features, labels)
    assert train(two_epochs, features, labels, epochs=2).best_epoch == 1
    assert same(teacher, two_epochs)


def test_features_are_tensors_arrays_or_memory_maps(tmp_path):
    features, labels = separable()
    arrays = {m: x.numpy() for m, x in features.items()}
    maps = {}
    for m, x in arrays.items():
        np.save(tmp_path / f"{m}.npy", x)
        maps[m] = np.load(tmp_path / f"{m}.npy", mmap_mode="r")
    doubles = {m: x.astype(np.float64) for m, x in arrays.items()}
    histories = [train(Recorder(), x, labels) for x in (features, arrays, maps, doubles)]
    assert histories[0] == histories[1] == histories[2] == histories[3]


def test_an_item_that_lacks_a_modality_takes_no_part_in_it():
    features, labels = separable(noise=1.0)
    gone = torch.zeros(N, dtype=torch.bool)
    gone[3::4] = True
    by_nan = {**features, "text": features["text"].masked_fill(gone[:, None], torch.nan)}
    otherwise = {**features, "text": features["text"].masked_fill(gone[:, None], 77.0)}
    a, b, whole = Recorder(), Recorder(), Recorder()
    histories = [train(a, by_nan, labels), train(b, otherwise, labels, missing={"text": gone})]
    assert histories[0] == histories[1]
    assert same(a, b)
    assert histories[0] != train(whole, features, labels)
    items = a.held_out[~gone[a.held_out]]
    assert 0 < len(items) < len(a.held_out)
    said = a({m: x[items] for m, x in features.items()})
    expected = accuracy_score(labels[items], said.logits["text"].argmax(1))
    assert histories[0].accuracy["text"][histories[0].best_epoch] == pytest.approx(expected)


def test_held_out_items_without_any_features_are_an_error():
    features, labels = separable()
    gone = torch.ones(N, dtype=torch.bool)
    gone[:2] = False  # item 0 has no label
    with pytest.raises(ValueError, match="Held-out items must have features to choose the epoch"):
        train(Recorder(), features, labels, missing=dict.fromkeys(features, gone))


def test_multi_hot_labels_are_chosen_by_loss_and_right_as_a_whole():
    features, y = separable(noise=1.0)
    labels = F.one_hot(y.clamp(min=0), 4)
    labels[:, 3] |= labels[:, 0]
    labels[y < 0] = -1
    teacher = Recorder()
    history = train(teacher, features, labels, epochs=40, patience=None)
    best = history.best_epoch
    assert best == int(np.argmin(history.held_out_loss))
    items = teacher.held_out
    said = teacher({m: x[items] for m, x in features.items()})
    shares = {m: accuracy_score(labels[items], (z > 0).long()) for m, z in said.logits.items()}
    assert {m: values[best] for m, values in history.accuracy.items()} == pytest.approx(shares)
    fused = accuracy_score(labels[items], (said.fused_logits > 0).long())
    assert history.fused_accuracy[best] == pytest.approx(fused)
    assert fused > 0.8
    terms = [
        F.binary_cross_entropy_with_logits(z, labels[items].float(), reduction="sum") / len(items)
        for z in (*said.logits.values(), said.fused_logits)
    ]
    expected = (terms[0] + terms[1]) / 2 + terms[2]
    assert history.held_out_loss[best] == pytest.approx(expected.item(), rel=1e-5)


def test_a_hierarchy_is_judged_on_all_its_levels():
    features, fine = separable(noise=1.0)
    coarse = torch.where(fine >= 0, fine // 2, fine)
    coarse[1] = -1
    teacher = Recorder(6)
    levels = {"coarse": coarse, "fine": fine}
    history = train(teacher, features, levels, epochs=40, patience=None)
    best = history.best_epoch
    assert best == int(np.argmin(history.held_out_loss))
    items = teacher.held_out
    said = teacher({m: x[items] for m, x in features.items()})
    z = said.fused_logits
    told = torch.cat([z[:, :2].argmax(1), z[:, 2:].argmax(1)])
    truth = torch.cat([coarse[items], fine[items]])
    expected = accuracy_score(truth[truth >= 0], told[truth >= 0])
    assert history.fused_accuracy[best] == pytest.approx(expected)
    assert expected > 0.8


def test_accuracy_counts_known_labels_of_items_that_are_there():
    rng = torch.Generator().manual_seed(4)
    z, there = torch.randn(60, 5, generator=rng), torch.rand(60, generator=rng) > 0.3
    y = torch.randint(-1, 5, (60,), generator=rng)
    counted = there & (y >= 0)
    expected = accuracy_score(y[counted], z[counted].argmax(1))
    assert accuracy(z, y, (5,), there) == pytest.approx(expected)
    # Of a class that is unknown for one item only, that item is judged by the others.
    hot = (z > 0).long()
    hot[:9, 1] = 1 - hot[:9, 1]
    hot[4, 1] = -1
    assert accuracy(z, hot, (5,), torch.ones(60, dtype=torch.bool)) == pytest.approx(52 / 60)
    assert np.isnan(accuracy(z, y, (5,), torch.zeros(60, dtype=torch.bool)))


def test_the_functions_of_a_loss_count_and_its_weights_do_not():
    features, labels = separable(noise=1.0)
    default, weighted, doubled = Recorder(), Recorder(), Recorder()
    a = train(default, features, labels)
    b = train(weighted, features, labels, loss=SGFDLoss(ce_weight=0.0, kd_weight=3.0))
    assert a == b
    assert same(default, weighted)

    def twice(logits, y):
        return 2 * F.cross_entropy(logits, y, reduction="none", ignore_index=-1)

    c = train(doubled, features, labels, loss=SGFDLoss(classification=twice, fusion=twice))
    assert c.loss[0] == pytest.approx(2 * a.loss[0], rel=0.01)


def test_progress_is_shown_on_request_only(capfd):
    features, labels = separable()
    train(Recorder(), features, labels, epochs=2)
    assert capfd.readouterr() == ("", "")
    train(Recorder(), features, labels, epochs=2, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "2/2" in err
    assert "best in epoch 2" in err


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"epochs": 0}, "epochs must be an integer of at least 1; got 0"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0"),
        ({"patience": 0}, "patience must be an integer of at least 1; got 0"),
        ({"validation_fraction": 0.0}, r"validation_fraction must be above 0 .* got 0\.0"),
        ({"validation_fraction": 1.0}, r"validation_fraction must be above 0 .* got 1\.0"),
        ({"labels": None}, "SGFD teaches labels"),
        ({"labels": torch.tensor([1] + [-1] * (N - 1))}, "two items at least.*got 1"),
        ({"labels": torch.full((N,), 4)}, "labels must be below num_classes=4; got 4"),
        ({"labels": torch.arange(9) % 4}, r"features\['image'\] must have one row per item \(9\)"),
        (
            {"labels": {"a": torch.arange(N) % 2, "b": torch.arange(N) % 3}},
            r"num_classes must be the teacher's \(4\); got 2 \+ 3",
        ),
        ({"labels": torch.eye(4).long().repeat(60, 1)[:, :3]}, "must be their width 3; got 4"),
        ({"features": {"image": torch.ones(N, 8)}}, r"modalities \['image', 'text'\]; got \['im"),
        (
            {"features": {"image": torch.ones(N, 8), "text": torch.ones(N, 4)}},
            r"features\['text'\] must have width 5, .* got shape",
        ),
        (
            {"features": {"image": torch.ones(N, 8), "text": torch.full((N, 5), torch.inf)}},
            r"features\['text'\] must be finite",
        ),
        ({"missing": {"audio": torch.ones(N).bool()}}, r"without features: \['audio'\]"),
        (
            {"loss": SGFDLoss(classification=hierarchy((2, 2)).classification)},
            r"The classification= of the loss does not fit the labels, which are one per item",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_the_teacher_alone(change, text):
    features, labels = separable()
    teacher = Recorder()
    given = {"features": features, "labels": labels} | change
    with pytest.raises(ValueError, match=text):
        train(teacher, given.pop("features"), given.pop("labels"), **given)
    assert same(teacher, Recorder())


def test_a_frozen_teacher_and_one_that_is_none_are_refused():
    features, labels = separable()
    with pytest.raises(ValueError, match=r"all are frozen: teacher\.requires_grad_\(True\)"):
        train(Recorder().requires_grad_(False), features, labels)
    with pytest.raises(TypeError, match=r"must be a SemanticTeacher; got Linear.*model\.teacher"):
        train(nn.Linear(2, 3), features, labels)


def test_arguments_of_other_types_are_refused_by_name():
    features, labels = separable()
    with pytest.raises(TypeError, match="loss must be an SGFDLoss; got MSELoss"):
        train(Recorder(), features, labels, loss=nn.MSELoss())
    with pytest.raises(TypeError, match=r"features must be \{modality: \.\.\.\}; got list"):
        train(Recorder(), list(features), labels)
    with pytest.raises(TypeError, match=r"missing must be \{modality: \.\.\.\}; got list"):
        train(Recorder(), features, labels, missing=[True])


# Distilling with a teacher that has been trained before.


def taught(*, frozen=True):
    """A distilled VBPR, the teacher trained before; and a batch."""
    x, labels = strangers.features(), strangers.labels()
    vbpr = VBPR(csr_array(np.eye(11, strangers.ITEMS)), x, dim=strangers.DIM)
    model = distill(vbpr, x, labels, loss=SGFDLoss(ce_weight=0.3, kd_weight=2.0), seed=1)
    pretrain_teacher(model.teacher, x, labels, epochs=30, learning_rate=0.01)
    if frozen:
        model.teacher.requires_grad_(False)
    users, items, negatives = strangers.batch()
    return model, (users, items, negatives[:, None])


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "joint"])
def test_a_frozen_teacher_stays_to_the_bit_while_its_students_follow(frozen):
    model, batch = taught(frozen=frozen)
    teacher, student = copy.deepcopy(model.teacher), copy.deepcopy(model.student("image"))
    adam = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1)
    terms = []
    for _ in range(60):  # past the losses after which a teacher that stands still is reported
        adam.zero_grad()
        loss, now = model.loss_and_terms(batch)
        loss.backward()
        adam.step()
        terms.append(now)
    assert same(model.teacher, teacher) == frozen
    assert all((p.grad is None) == frozen for p in model.teacher.parameters())
    assert not torch.equal(model.student("image").weight, student.weight)
    assert (terms[0].classification == terms[-1].classification) == frozen
    for name in ("total", "response", "feature"):
        assert getattr(terms[-1], name) < 0.9 * getattr(terms[0], name)


def test_students_learn_through_the_frozen_classifiers():
    model, _ = taught()
    terms = model.distillation_terms(torch.arange(strangers.ITEMS))
    assert not terms.classification.requires_grad
    assert not terms.fusion.requires_grad
    assert [p for p in model.teacher.parameters() if p.requires_grad] == []
    terms.response.backward()
    for m in model.student_paths:
        assert model.student(m).weight.grad.abs().sum() > 0


def test_a_teacher_trained_elsewhere_can_be_given():
    x, labels = strangers.features(), strangers.labels()
    teacher = SemanticTeacher({m: v.shape[1] for m, v in x.items()}, strangers.DIM, 3)
    pretrain_teacher(teacher, x, labels, epochs=3)
    model = distill(strangers.SeparateBuffers(), x, labels, teacher=teacher.requires_grad_(False))
    assert model.teacher is teacher
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == [
        f"teacher.{name}" for name, _ in teacher.named_parameters()
    ]


@pytest.mark.usefixtures("process_group")
def test_ddp_needs_nothing_for_a_frozen_teacher():
    model, batch = taught()
    outside = nn.parallel.DistributedDataParallel(model)
    for _ in range(3):  # an unused parameter would be reported in the second
        outside(batch).backward()
    assert all(p.grad is not None for p in model.backbone.parameters())
    assert all(p.grad is None for p in model.teacher.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_teacher_is_trained_where_it_is_told_and_comes_back():
    features, labels = separable()
    teacher, there = Recorder(), Recorder().cuda()
    histories = [
        train(teacher, features, labels, device="cuda"),
        train(there, {m: x.cuda() for m, x in features.items()}, labels.cuda()),
        train(Recorder(), features, labels),
    ]
    assert {p.device.type for p in teacher.parameters()} == {"cpu"}
    assert {p.device.type for p in there.parameters()} == {"cuda"}
    for history in histories:
        assert history.loss == pytest.approx(histories[0].loss, rel=1e-3)


def test_under_an_autocast_it_learns_from_the_parameters_of_each_step():
    x, y = separable()
    teacher, precise = Recorder(), Recorder()
    with torch.autocast("cpu", torch.bfloat16):  # which keeps what it cast, while it lasts
        before = teacher(x).fused_logits
        history = pretrain_teacher(teacher, x, y, epochs=30, learning_rate=1e-2)
        assert torch.is_autocast_cache_enabled()
        after = teacher(x).fused_logits
    exact = pretrain_teacher(precise, x, y, epochs=30, learning_rate=1e-2)
    assert history.loss == pytest.approx(exact.loss, rel=0.05)
    assert history.loss[-1] < 0.9 * history.loss[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(teacher(x).fused_logits, after)
    assert not torch.equal(after, before)


def test_nothing_but_the_label_losses_is_computed():
    def refuse(*_):
        raise AssertionError

    x, y = separable()
    loss = SGFDLoss(feature=refuse)
    teacher, other = Recorder(), Recorder()
    found = pretrain_teacher(teacher, x, y, loss=loss, epochs=2)
    assert found == pretrain_teacher(other, x, y, epochs=2)
