"""Terms, teacher and feature tables where items lack modalities."""

import numpy as np
import pytest
import torch
from torch import nn

from sgfd import FeatureStudent, SemanticTeacher, SGFDLoss, classification_loss
from sgfd._features import FeatureTable

N = 14
WIDTHS = {"a": 9, "b": 5, "c": 7}


def setting():
    torch.manual_seed(3)
    teacher = SemanticTeacher(WIDTHS, 4, 6).double()
    students = {m: FeatureStudent(f, 4, dtype=torch.float64) for m, f in WIDTHS.items()}
    x = {m: torch.randn(N, f).double() for m, f in WIDTHS.items()}
    labels = torch.randint(0, 6, (N,))
    labels[::4] = -1
    present = {m: torch.ones(N, dtype=torch.bool) for m in "ab"}  # c is always there
    present["a"][[1, 2, 8]] = False
    present["b"][[2, 3, 4, 9]] = False
    return teacher, students, x, labels, present


def learned_of(teacher, students, x):
    return teacher.judge({m: students[m].embed(x[m]) for m in x})


@pytest.mark.parametrize("detach", [True, False])
def test_terms_equal_those_of_the_rows_that_are_there(detach):
    teacher, students, x, labels, present = setting()
    counts = torch.arange(1, N + 1)
    loss = SGFDLoss(ce_weight=0.3, kd_weight=0.7, temperature=5, detach_teacher=detach)
    terms = loss.terms(
        teacher(x, present), learned_of(teacher, students, x), labels, counts, present
    )
    alone = []
    for m in WIDTHS:
        there = present.get(m, torch.ones(N, dtype=torch.bool))
        # A teacher of this modality alone, on the rows that have it.
        single = SemanticTeacher({m: WIDTHS[m]}, 4, 6).double()
        single.extractors[m] = teacher.extractors[m]
        single.classifiers[m] = teacher.classifiers[m]
        picked = {m: x[m][there]}
        learned = learned_of(single, students, picked)
        alone.append(loss.terms(single(picked), learned, labels[there], counts[there]))
    for name in ("classification", "response", "feature"):
        expected = sum(getattr(t, name) for t in alone) / 3
        torch.testing.assert_close(getattr(terms, name), expected)


def test_fusion_reads_zeros_where_a_modality_is_missing():
    teacher, _, x, _, present = setting()
    said = teacher(x, present)
    embeddings = {m: e.clone() for m, e in teacher(x).embeddings.items()}
    for m, there in present.items():
        embeddings[m][~there] = 0
        assert (said.embeddings[m][~there] == 0).all()
    torch.testing.assert_close(said.fused_logits, teacher.fuse(embeddings))
    whole = torch.ones(N, dtype=torch.bool)
    for there in present.values():
        whole &= there
    torch.testing.assert_close(said.fused_logits[whole], teacher(x).fused_logits[whole])


def test_fusion_counts_items_that_have_a_modality_at_all():
    teacher, students, x, labels, present = setting()
    present["c"] = torch.arange(N) != 2  # item 2 has nothing, and a label
    assert labels[2] >= 0
    taught = teacher(x, present)
    terms = SGFDLoss().terms(taught, learned_of(teacher, students, x), labels, None, present)
    some = torch.arange(N) != 2
    expected = classification_loss(taught.fused_logits[some], labels[some])
    torch.testing.assert_close(terms.fusion, expected)


def test_what_is_missing_gives_no_gradient_whatsoever():
    teacher, students, x, labels, present = setting()
    present["c"] = torch.arange(N) != 2
    leaves = {m: v.clone().requires_grad_() for m, v in x.items()}
    loss = SGFDLoss(ce_weight=0.3, kd_weight=0.7, detach_teacher=False)
    taught, learned = teacher(leaves, present), learned_of(teacher, students, leaves)
    for said in (taught, learned):
        for z in said.logits.values():
            z.retain_grad()
    loss(taught, learned, labels, None, present).backward()
    for m, there in present.items():
        assert torch.equal(leaves[m].grad.abs().sum(1) > 0, there)
        for said in (taught, learned):
            assert (said.logits[m].grad[~there] == 0).all()
    gradients = [p.grad.clone() for p in teacher.parameters()]
    for p in teacher.parameters():
        p.grad = None
    other = {m: v.clone() for m, v in x.items()}
    for m, there in present.items():
        other[m][~there] = 100.0
    learned = learned_of(teacher, students, other)
    loss(teacher(other, present), learned, labels, None, present).backward()
    for p, gradient in zip(teacher.parameters(), gradients, strict=True):
        assert torch.equal(p.grad, gradient)


def test_masks_without_a_gap_change_no_bit():
    teacher, students, x, labels, _ = setting()
    everywhere = {m: torch.ones(N, dtype=torch.bool) for m in WIDTHS}
    counts, loss = torch.arange(1, N + 1), SGFDLoss()
    learned = learned_of(teacher, students, x)
    masked = loss.terms(teacher(x, everywhere), learned, labels, counts, everywhere)
    plain = loss.terms(teacher(x), learned, labels, counts)
    assert all(torch.equal(a, b) for a, b in zip(masked, plain, strict=True))


def test_a_batch_without_a_modality_has_terms_of_zero_for_it():
    teacher, students, x, labels, _ = setting()
    nobody = {m: torch.zeros(N, dtype=torch.bool) for m in WIDTHS}
    terms = SGFDLoss().terms(
        teacher(x, nobody), learned_of(teacher, students, x), labels, None, nobody
    )
    assert [t.item() for t in terms] == [0, 0, 0, 0, 0]
    terms.total.backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in teacher.parameters())


def test_a_teacher_does_not_read_rows_that_are_missing():
    teacher, _, x, _, present = setting()
    expected = teacher(x, present)
    x["a"][~present["a"]] = torch.nan
    said = teacher(x, present)
    assert torch.equal(said.fused_logits, expected.fused_logits)
    said.fused_logits.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in teacher.parameters())


def test_bad_masks_are_named():
    teacher, students, x, labels, present = setting()
    taught, learned = teacher(x), learned_of(teacher, students, x)
    for bad, text in (
        ({"d": present["a"]}, r"present may have \['a', 'b', 'c'\], each \(14,\) bool; got 'd'"),
        ({"a": present["a"][:3]}, r"got 'a': \(3,\) of torch.bool"),
        ({"a": present["a"].long()}, r"got 'a': \(14,\) of torch.int64"),
    ):
        with pytest.raises(ValueError, match=text):
            SGFDLoss().terms(taught, learned, labels, None, bad)
    with pytest.raises(
        ValueError, match=r"present may have \['a', 'b', 'c'\], each \(14,\) bool; got 'd'"
    ):
        teacher(x, {"d": present["a"]})


def holed(rows: int = 40):
    x = np.random.default_rng(0).normal(2, 1, size=(rows, 3)).astype(np.float32)
    x[[0, 7, 8]] = np.nan
    return x


def test_a_table_reads_missing_rows_as_the_mean_of_those_there(tmp_path):
    x = holed()
    there = ~np.isnan(x[:, 0])
    np.save(tmp_path / "x.npy", x)
    rows = torch.tensor([7, 1, 0])
    for source in (x, torch.from_numpy(x), np.load(tmp_path / "x.npy", mmap_mode="r")):
        table = FeatureTable(source, name="x")
        values, present = table.read(rows)
        assert present.tolist() == [False, True, False]
        mean = torch.from_numpy(x[there].mean(0))
        torch.testing.assert_close(values, torch.stack([mean, torch.from_numpy(x[1]), mean]))
        assert torch.equal(table(rows), values)
        assert torch.equal(table()[rows], values)
        assert table.read(torch.tensor([1, 2])).missing.tolist() == [False, False]
    assert np.isnan(x[7]).all()  # the source is not written to
    assert "7.5% missing" in repr(FeatureTable(x, name="x"))
    assert "missing" not in repr(FeatureTable(x[1:7], name="x"))


def test_a_long_table_and_its_map_take_the_mean_of_the_same_rows(tmp_path):
    x = np.random.default_rng(0).normal(2, 1, size=(5000, 3)).astype(np.float16)
    x[::3] = np.nan
    np.save(tmp_path / "x.npy", x)
    whole = FeatureTable(x, name="x")
    mapped = FeatureTable(np.load(tmp_path / "x.npy", mmap_mode="r"), name="x")
    assert torch.equal(whole.fill(), mapped.fill())
    assert torch.equal(whole(torch.arange(9)), mapped(torch.arange(9)))
    assert np.abs(whole.fill().numpy() - 2).max() < 0.1


def test_rows_that_are_missing_are_not_trained():
    table = FeatureTable(holed(), name="x", trainable=True)
    assert table.values.isfinite().all()
    table(torch.arange(10)).sum().backward()
    assert torch.equal(table.values.grad[:10].abs().sum(1) > 0, table.present[:10])


def test_rows_that_are_missing_are_filled_once_and_in_a_copy():
    given, other = torch.from_numpy(holed()), torch.from_numpy(holed())
    gaps = given.isnan().all(1)
    table, again = FeatureTable(given, name="x"), FeatureTable(other, name="x")
    assert torch.equal(given.isnan().all(1), gaps)
    assert table().data_ptr() == table.values.data_ptr()
    assert torch.equal(table()[gaps], table.fill().expand(int(gaps.sum()), -1))
    assert table.same_as(again)
    other[int((~gaps).nonzero()[0])] += 1
    assert not table.same_as(FeatureTable(other, name="x"))
    assert not table.same_as(FeatureTable(given, name="x", trainable=True))


def test_a_table_moves_and_stays_out_of_checkpoints_with_its_gaps():
    table = FeatureTable(holed(), name="x")
    assert list(table.state_dict()) == []
    half = nn.ModuleDict({"x": table}).half()["x"]
    assert half(torch.tensor([0])).dtype == torch.float16
    moved = nn.ModuleDict({"x": FeatureTable(holed(), name="x")}).to("meta")["x"]
    assert {b.device.type for b in moved.buffers()} == {"meta"}


def test_gaps_that_are_no_gaps_are_named(tmp_path):
    partly, nothing = holed(), np.full((40, 3), np.nan, dtype=np.float32)
    partly[0, 1] = 1.0
    with pytest.raises(ValueError, match=r"x must be finite; 1 of the rows read hold NaN.*at pos"):
        FeatureTable(partly, name="x")
    with pytest.raises(ValueError, match=r"all of them: no item has this modality\. Leave it out"):
        FeatureTable(nothing, name="x")
    np.save(tmp_path / "x.npy", nothing)
    mapped = FeatureTable(np.load(tmp_path / "x.npy", mmap_mode="r"), name="x")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"none was found among 40 spread evenly over the map"):
            mapped(torch.tensor([0]))
