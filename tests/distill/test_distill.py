"""What distill() gives and what it refuses."""

import copy

import numpy as np
import pytest
import strangers
import torch
from scipy.sparse import csr_array
from strangers import DIM, ITEMS, batch_items, features, labels
from torch import nn

from sgfd import SemanticTeacher, SGFDLoss, distill, paper_student, release
from sgfd.backbones import VBPR


def wrap(model=None, given=None, y=None, **options):
    return distill(
        model or strangers.SeparateBuffers(),
        given or features(),
        labels() if y is None else y,
        **options,
    )


def test_each_distinct_item_counts_as_often_as_it_comes():
    wrapped = wrap().double()
    items = torch.tensor([[3, 3, 5], [7, 3, 5]])
    x = {m: v.double()[items.flatten()] for m, v in features().items()}
    learned = wrapped.teacher.judge({m: wrapped.student(m).embed(v) for m, v in x.items()})
    expected = SGFDLoss().terms(wrapped.teacher(x), learned, labels()[items.flatten()])
    torch.testing.assert_close(wrapped.distillation_terms(items), expected)


def test_export_gives_what_the_recommender_reads_in_chunks():
    wrapped = wrap()
    whole, chunked = wrapped.export(), wrapped.export(chunk_size=5)
    for m, x in features().items():
        assert whole[m].shape == (ITEMS, DIM)
        assert not whole[m].requires_grad
        torch.testing.assert_close(whole[m], wrapped.student(m)(x))
        torch.testing.assert_close(chunked[m], whole[m])


def test_encode_takes_items_never_seen():
    wrapped = wrap()
    new = torch.randn(4, 10)
    torch.testing.assert_close(
        wrapped.encode({"image": new})["image"], wrapped.student("image")(new)
    )
    assert wrapped.encode({"image": new.half()})["image"].dtype == torch.float32
    for dtype in (np.float32, ">f4", np.longdouble):  # arrays, as distill() takes them
        array = new.numpy().astype(dtype)
        torch.testing.assert_close(
            wrapped.encode({"image": array})["image"], wrapped.student("image")(new)
        )
    for integers in (new.long(), new.long().numpy()):
        with pytest.raises(
            ValueError, match=r"features\['image'\] must be of a floating dtype; got"
        ):
            wrapped.encode({"image": integers})
    with pytest.raises(TypeError, match=r"features must be \{modality: \.\.\.\}; got Tensor"):
        wrapped.encode(new)
    with pytest.raises(ValueError, match=r"must be of \['image', 'text'\]; got 'audio'"):
        wrapped.encode({"audio": new})
    for bad, text in (
        (new, r"Tensor of shape \(4, 10\)"),
        (np.ones((4, 5)), r"ndarray of shape \(4, 5\)"),
        (torch.full((4, 6), torch.inf), r"Tensor of shape \(4, 6\)"),
    ):
        with pytest.raises(
            ValueError, match=rf"must be a finite tensor of width 6, or an array; got {text}"
        ):
            wrapped.encode({"text": bad})
    for size in (0, 1.5):
        with pytest.raises(
            ValueError, match=f"chunk_size must be an integer.*at least 1; got {size}"
        ):
            wrapped.export(chunk_size=size)
    assert wrapped.export(chunk_size=np.int64(5)).keys() == wrapped.missing(chunk_size=5).keys()


def test_arguments_of_other_types_are_refused_by_name():
    for options, text in (
        ({"given": [features()]}, r"features must be \{modality: \.\.\.\}; got list"),
        ({"missing": torch.ones(ITEMS).bool()}, r"missing must be \{modality.*got Tensor"),
        ({"loss": nn.MSELoss()}, r"loss must be an SGFDLoss.*got MSELoss.*loss_method="),
        ({"teacher": nn.Linear(10, 4)}, "teacher must be a SemanticTeacher; got Linear"),
    ):
        model = strangers.SeparateBuffers()
        with pytest.raises(TypeError, match=text):
            wrap(model, **options)
        assert type(model.image_trs) is nn.Linear  # left as it was
    with pytest.raises(ValueError, match=r"must be of \['image', 'text'\]; got 'foo'"):
        wrap().student("foo")


def test_the_printed_model_has_the_shares_of_missing():
    mask = torch.arange(ITEMS) < 2
    text = str(wrap(missing={"text": mask}))
    assert "missing: text 15.4%" in text
    assert "image 0" not in text
    assert "missing" not in str(wrap())


def test_features_come_as_tensors_arrays_or_memory_maps(tmp_path):
    model = strangers.SeparateBuffers()
    expected = wrap(copy.deepcopy(model)).distillation_loss(torch.arange(ITEMS))
    arrays = {m: x.numpy() for m, x in features().items()}
    maps = {}
    for m, x in arrays.items():
        np.save(tmp_path / f"{m}.npy", x)
        maps[m] = np.load(tmp_path / f"{m}.npy", mmap_mode="r")
    for given in (arrays, maps):
        wrapped = wrap(copy.deepcopy(model), given)
        assert torch.equal(wrapped.distillation_loss(torch.arange(ITEMS)), expected)


def test_rows_of_a_memory_map_are_checked_when_they_are_read(tmp_path):
    x = features()["image"].numpy()
    x[4, 2] = np.nan
    np.save(tmp_path / "image.npy", x)
    wrapped = wrap(given={"image": np.load(tmp_path / "image.npy", mmap_mode="r")})
    wrapped.distillation_loss(torch.tensor([3, 5]))
    with pytest.raises(ValueError, match=r"features\['image'\] must be finite; 1 of the rows read"):
        wrapped.distillation_loss(torch.tensor([3, 4]))


def test_strings_are_labels():
    names = [None if y < 0 else "abc"[y] for y in labels().tolist()]
    by_name, by_index = wrap(y=names), wrap()
    assert torch.equal(by_name._labels, by_index._labels)
    assert wrap(y=labels().tolist()).teacher.num_classes == 3
    assert wrap(y=np.array(names, dtype=object)).teacher.num_classes == 3
    assert wrap(num_classes=9).teacher.num_classes == 9
    some = [5, None, *labels().tolist()[2:]]  # integers stay what they are
    assert wrap(y=some)._labels[:2].tolist() == [5, -1]
    with pytest.raises(ValueError, match="labels must be .* got None. SGFD teaches labels"):
        distill(strangers.SeparateBuffers(), features(), None)


def test_the_same_seed_gives_the_same_teacher():
    a, b, c = (wrap(seed=seed).teacher.state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not any(torch.equal(a[k], c[k]) for k in a)


def test_features_stay_out_of_checkpoints():
    wrapped = wrap(strangers.Nested())
    keys = list(wrapped.state_dict())
    assert all(k.startswith(("backbone.", "teacher.")) for k in keys)
    backbone_keys = [k.removeprefix("backbone.") for k in keys if k.startswith("backbone.")]
    assert backbone_keys == list(strangers.Nested().state_dict())


def test_to_moves_features_and_labels_along():
    wrapped = wrap().to("meta")
    assert {b.device.type for b in wrapped.buffers()} == {"meta"}


def test_attributes_are_those_of_the_backbone():
    model = strangers.SeparateBuffers()
    model.answer = 42
    wrapped = wrap(model)
    assert wrapped.answer == 42
    assert wrapped.users is model.users
    with pytest.raises(AttributeError, match="SeparateBuffers.*no_such_thing"):
        wrapped.no_such_thing  # noqa: B018


def test_other_students_are_made_by_a_function():
    wrapped = wrap(student=paper_student)
    x = features()["image"]
    torch.testing.assert_close(wrapped.student("image")(x).norm(dim=1), torch.ones(ITEMS))


def test_a_dict_of_losses_gains_it_under_loss():
    class DictLoss(strangers.SeparateBuffers):
        def calculate_loss(self, interaction):
            return {"loss": super().calculate_loss(interaction), "other": torch.tensor(7.0)}

    model = DictLoss()
    own = model.calculate_loss(strangers.batch())["loss"]
    wrapped = wrap(model, loss_method="calculate_loss", items=batch_items)
    got = wrapped.calculate_loss(strangers.batch())
    assert got["other"] == 7
    assert got["loss"] > own


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"y": torch.zeros(ITEMS, 2).long()}, r"labels must be \(num_items,\) class indices"),
        ({"y": torch.rand(ITEMS)}, "labels that are numbers must be whole, the indices of classes"),
        ({"y": torch.arange(ITEMS) - 2}, r"labels must be at least -1 \(unknown\); got -2"),
        ({"y": torch.full((ITEMS,), -1)}, "No label is known; pass num_classes="),
        ({"num_classes": 2}, "labels must be below num_classes=2; got 2"),
        ({"y": labels()[:9]}, r"one row of features for each item; got 9 labels, and .* 13 rows"),
        (
            {"given": {"image": torch.full((ITEMS, 10), torch.nan)}},
            "must be finite; 13 of the rows",
        ),
        (
            {"given": {"image": torch.ones(ITEMS, 10).long()}},
            "of a floating dtype of 16 bits or more; got shape",
        ),
        (
            {"given": {"image": "no.such"}},
            "path of a tensor of the backbone; 'no.such' is none",
        ),
        ({"given": {"image": "users"}}, r"must have one row per label \(13\); got 11 rows"),
        ({"loss_method": "calculate_loss"}, "loss_method= and items= go together"),
        (
            {"loss_method": "export", "items": batch_items},
            "'export' is not a method of the backbone",
        ),
        ({"loss_method": "no", "items": batch_items}, "'no' is not a method of the backbone"),
        ({"projections": {"audio": "x"}}, r"modalities without features: \['audio'\]"),
        ({"projections": {"image": "x"}}, "'x' is not a module of the backbone"),
        ({"projections": {"image": "text_trs"}}, "must be an nn.Linear with in_features 10"),
        (
            {"teacher": SemanticTeacher({"image": 10}, 4, 3)},
            "The teacher must read {'image': 10, 't",
        ),
        (
            {"teacher": SemanticTeacher({"image": 10, "text": 6}, 4, 3), "num_classes": 5},
            r"num_classes must be the teacher's \(3\); got 5",
        ),
        ({"teacher": SemanticTeacher({"image": 10, "text": 6}, 5, 3)}, "teacher must read"),
        (
            {"teacher": SemanticTeacher({"image": 10, "text": 6}, 4, 3, activation=None)},
            "the teacher has activation=False, the student of 'image' has embed_activation=True",
        ),
        (
            {"teacher": SemanticTeacher({"image": 10, "text": 6}, 4, 3, normalize=False)},
            "the teacher has normalize=False, the student of 'image' has embed_normalize=True",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_the_backbone_alone(options, text):
    model = strangers.SeparateBuffers()
    with pytest.raises(ValueError, match=text):
        wrap(model, **options)
    assert type(model.image_trs) is nn.Linear


def test_layers_that_a_student_cannot_take_over_are_refused():
    hooked = strangers.SeparateBuffers()
    hooked.image_trs.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"'image_trs'.*has hooks \(_forward_hooks\)"):
        wrap(hooked)
    parametrized = strangers.SeparateBuffers()
    nn.utils.parametrizations.weight_norm(parametrized.image_trs)
    with pytest.raises(ValueError, match="'image_trs'.*is parametrized"):
        wrap(parametrized)
    subclass = strangers.SeparateBuffers()
    subclass.image_trs = type("Scaled", (nn.Linear,), {})(10, DIM)
    with pytest.raises(TypeError, match=r"'image_trs'.*must be exactly an nn\.Linear.*Scaled"):
        wrap(subclass)


def test_distilling_twice_is_refused():
    wrapped = wrap()
    with pytest.raises(ValueError, match="got Distilled. Distil once"):
        wrap(wrapped)
    with pytest.raises(ValueError, match=r"'image_trs'.*is a student already.* after unwrap\(\)"):
        wrap(wrapped.backbone)
    with pytest.raises(ValueError, match=r"is a student already.*activation, unit rows or hooks"):
        wrap(wrap(student=paper_student).unwrap())
    with pytest.raises(ValueError, match=r"got DataParallel.*DistributedDataParallel\(distill"):
        wrap(nn.DataParallel(strangers.SeparateBuffers()))


@pytest.mark.usefixtures("process_group")
def test_a_ddp_wrapped_backbone_is_refused_and_ddp_goes_outside():
    ddp = nn.parallel.DistributedDataParallel
    with pytest.raises(ValueError, match=r"got DistributedDataParallel.*wrap the result"):
        wrap(ddp(strangers.SeparateBuffers()))
    x = features()
    inside = distill(VBPR(csr_array(np.eye(11, ITEMS)), x, dim=4), x, labels())
    users, items, negatives = strangers.batch()
    outside = ddp(inside)
    for _ in range(2):
        outside((users, items, negatives[:, None])).backward()
    assert all(p.grad is not None for p in inside.teacher.parameters())


def test_a_loss_method_that_the_wrapper_would_hide_is_refused():
    class Namesake(strangers.SeparateBuffers):
        def export(self, interaction):
            return self.calculate_loss(interaction)

    with pytest.raises(ValueError, match="'export' is also a method of Distilled"):
        wrap(Namesake(), loss_method="export", items=batch_items)


def test_the_teacher_has_the_students_dtype():
    wrapped = wrap(
        strangers.SeparateBuffers().double(), {m: x.double() for m, x in features().items()}
    )
    assert {p.dtype for p in wrapped.teacher.parameters()} == {torch.float64}
    assert wrapped.distillation_loss(torch.arange(ITEMS)).dtype == torch.float64


def test_nothing_is_watched_in_evaluation_mode():
    wrapped = wrap().eval()
    wrapped.distillation_loss(torch.arange(ITEMS))
    assert wrapped._watch.losses == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[::-1][::-1],
        lambda x: x.astype(">f4"),
        lambda x: x.astype(np.longdouble),
        lambda x: np.asfortranarray(x),
        lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    ],
    ids=["negative strides", "big-endian", "longdouble", "column order", "read-only"],
)
def test_arrays_of_any_layout_are_features(change):
    model = strangers.SeparateBuffers()
    expected = wrap(copy.deepcopy(model)).distillation_loss(torch.arange(ITEMS))
    given = {m: change(x.numpy()) for m, x in features().items()}
    wrapped = wrap(copy.deepcopy(model), given)
    torch.testing.assert_close(wrapped.distillation_loss(torch.arange(ITEMS)), expected)


def test_bad_items_are_named():
    wrapped = wrap()
    for bad, text in (
        (torch.tensor([0, ITEMS]), r"must be in 0\.\.12; got 0\.\.13.*subtract the users"),
        (torch.tensor([-1]), r"must be in 0\.\.12; got -1"),
        (torch.tensor([1.0]), r"at least one int64 .* got \(1,\) of torch.float32"),
        (torch.empty(0).long(), r"got \(0,\) of torch.int64"),
        ([1, 2], r"items must be a tensor .* got \[1, 2\]"),
    ):
        with pytest.raises(ValueError, match=text):
            wrapped.distillation_loss(bad)


def test_two_modalities_of_one_width_are_told_apart_by_name_or_by_hand():
    class Same(nn.Module):
        def __init__(self, names):
            super().__init__()
            self.layers = nn.ModuleDict({name: nn.Linear(5, 3) for name in names})

    given = {m: torch.randn(ITEMS, 5) for m in ("title", "desc")}
    found = distill(Same(["title", "desc"]), given, labels()).student_paths
    assert found == {"title": "layers.title", "desc": "layers.desc"}
    words = distill(Same(["title_trs", "Desc_proj"]), given, labels()).student_paths
    assert words == {"title": "layers.title_trs", "desc": "layers.Desc_proj"}
    with pytest.raises(ValueError, match="3 layers have that width"):  # one of them may be dead
        distill(Same(["title_trs", "desc_trs", "other"]), given, labels())
    by_hand = {"title": "layers.a", "desc": "layers.b"}
    assert distill(Same("ab"), given, labels(), projections=by_hand).student_paths == by_hand
    with pytest.raises(
        ValueError, match="is the only nn.Linear of a width that 'title' and 'desc'"
    ):
        distill(Same("a"), given, labels())
    shared = {"title": "layers.a", "desc": "layers.a"}
    wrapped = distill(Same("a"), given, labels(), projections=shared)
    assert wrapped.student("title") is wrapped.student("desc")


def test_the_release_preset_changes_every_setting():
    preset = release.settings(
        {"image": 10, "text": 6}, 3, out_features=DIM, weights=release.BM3_TOYS
    )
    wrapped = wrap(teacher=preset.teacher, student=preset.student, loss=preset.loss)
    assert (wrapped.sgfd_loss.ce_weight, wrapped.sgfd_loss.kd_weight) == (0.1, 0.01)
    assert wrapped.sgfd_loss.temperature == 5
    assert wrapped.teacher.inner_activation is None
    assert wrapped.student("text").normalize
