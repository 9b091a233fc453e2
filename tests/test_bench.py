"""The benchmarks run, at sizes of a toy; no time is asserted."""

import json

import pytest
import torch
from benchmarks import bench
from benchmarks.cases import KINDS, Sizes
from benchmarks.ceilings import Ceilings
from benchmarks.compare import MAKERS, Measured, Row, with_share_of_step
from benchmarks.counting import Work, count
from benchmarks.subject import Case
from benchmarks.timing import Spread

SIZES = Sizes(users=40, items=60, pairs=300, image=40, text=24, classes=5, dim=8)
OPTIONS = [f"--{name}={size}" for name, size in SIZES._asdict().items()]
CASES = list(bench.cases(list(MAKERS), list(KINDS), ["torch"]))


@pytest.fixture(autouse=True)
def one_thread():
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_both_ways_give_the_same(case):
    subject = MAKERS[case.part](case, SIZES)
    subject.check()
    subject.ours()
    subject.straightforward()


def test_every_backbone_is_compared_plain_and_distilled_in_both_mathematics():
    steps = [case[1:4] for case in CASES if case.part == "step"]
    for name in KINDS:
        assert {(name, "distilled", "release"), (name, "distilled", "default")} <= set(steps)
        assert (name, "plain", "default") in steps
    assert ("grcn", "plain", "release") in steps  # GRCN is the one that the preset changes
    assert len(steps) == 13
    assert [case.backbone for case in CASES if case.part == "ranking"] == list(KINDS)
    assert [case.backbone for case in CASES if case.part == "sampling"] == ["vbpr", "grcn", "maml"]


def test_the_command_prints_and_stores_tables_and_a_picture(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("benchmarks.ceilings.SHAPES", ((64, 64, 64),))
    short = ["--repeats=2", "--threads=1", "--no-memory", "--table-bytes=1000000"]
    bench.main(["--backbones", "bm3", "vbpr", *short, *OPTIONS, f"--out={tmp_path}"])
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "bench.json").read_text())
    assert (tmp_path / "bench.md").read_text() in printed
    assert (tmp_path / "bench.png").stat().st_size > 10_000
    assert found["sizes"] == SIZES._asdict()
    assert found["machine"]["threads"] == 1
    assert torch.__version__.startswith(found["machine"]["packages"]["torch"])  # or with +cu132
    assert [row["case"]["part"] for row in found["rows"]] == ["step"] * 6 + ["ranking"] * 2 + [
        "sampling"
    ]
    for row in found["rows"]:
        assert row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]
        counted = row["case"]["part"] != "sampling"
        assert (row["ours"]["work"] is not None) == counted
        assert (row["ours"]["share_of_ceilings"] is not None) == counted
    assert found["rows"][-1]["share_of_step"] > 0
    assert "| BM3 distilled, release |" in printed
    assert "| VBPR |" in printed


def test_memory_is_that_of_a_process_of_its_own():
    from benchmarks.memory import peak_mb, peak_of

    held = torch.ones(100 * 2**18)  # 100 MB
    alone, with_more = peak_of(fill, 0), peak_of(fill, 64)
    assert alone + 60 < with_more < alone + 80
    assert alone < peak_mb()
    assert held.sum() > 0


def fill(megabytes):
    torch.ones(megabytes * 2**18)


def test_products_gathers_and_copies_are_counted():
    a = torch.randn(10, 20, requires_grad=True)
    b = torch.randn(20, 30)
    forward, both = count(lambda: a @ b), count(lambda: (a @ b).sum().backward())
    assert forward == Work(flop=2 * 10 * 20 * 30, gathered=0, moved=0)
    assert both.flop == 2 * forward.flop  # b needs no gradient
    rows = torch.tensor([3, 3, 1])
    assert count(lambda: b[rows]) == Work(flop=0, gathered=2 * 3 * 30 * 4, moved=0)
    assert count(lambda: b + b) == Work(flop=0, gathered=0, moved=3 * 20 * 30 * 4)
    assert count(lambda: b.T.reshape(-1, 5)[1:]).moved == 2 * 20 * 30 * 4  # one copy, and a view
    assert count(lambda: b.T[1:]) == Work(0, 0, 0)


def test_a_sparse_product_gathers_a_row_for_each_entry():
    sparse = torch.eye(10).to_sparse()
    x = torch.randn(10, 7)
    # Moved are zeros, and what is added to them.
    assert count(lambda: torch.sparse.mm(sparse, x)) == Work(0, 10 * 7 * 4, 2 * 10 * 7 * 4)


def test_at_the_ceilings_the_three_kinds_of_work_follow_one_another():
    ceilings = Ceilings(product=100.0, copy=10.0, gather=5.0)
    work = Work(flop=200, gathered=10, moved=40)
    assert work.seconds_at(ceilings) == 2 + 2 + 4
    assert Measured(Spread(16.0, 15.0, 17.0), None, work).share_of(ceilings) == 0.5


def test_sampling_is_set_beside_the_shortest_step_of_its_backbone():
    def row(part, backbone, seconds, arm="plain"):
        measured = Measured(Spread(seconds, seconds, seconds), None, None)
        return Row(Case(part, backbone, arm), measured, measured, Spread(1, 1, 1), None)

    rows = [row("step", "vbpr", 4.0, "distilled"), row("step", "vbpr", 2.0), row("step", "bm3", 1)]
    found = with_share_of_step([*rows, row("sampling", "vbpr", 0.5), row("sampling", "maml", 0.5)])
    assert [r.share_of_step for r in found] == [None, None, None, 0.25, None]


def test_operators_are_listed_with_their_shapes(capsys):
    bench.main(
        ["--operators", "--parts", "step", "--backbones", "vbpr", "--threads", "1", *OPTIONS]
    )
    printed = capsys.readouterr().out
    assert printed.count("ms under the profiler") == 3
    assert printed.count("aten::") > 10
