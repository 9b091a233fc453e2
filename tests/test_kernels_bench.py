"""The benchmark of sparse kernels at a tiny size."""

import json

import pytest
import torch
from benchmarks import kernels
from devices import DEVICES

SIZE = kernels.Size(users=30, items=20, pairs=100, width=4)


@pytest.mark.parametrize("device", DEVICES)
def test_all_ways_are_compared_and_auto_is_one_of_them(device):
    rows = kernels.compare(SIZE, torch.device(device), repeats=2)
    for problem in ("product", "attention"):
        some = [row for row in rows if row["problem"] == problem]
        assert len(some) >= 3
        assert sum(row["auto"] for row in some) == sum(row["fastest"] for row in some) == 1
        assert all(0 < row["forward"] <= row["both"] for row in some)
    assert {row["way"] for row in rows if row["auto"]} == {"torch, CSR int64"}


def test_a_way_that_gives_something_else_is_noticed():
    x = torch.ones(3, 2, requires_grad=True)
    ways = {"right": lambda u, i: i * 2, "wrong": lambda u, i: i * 2.1}
    with pytest.raises(AssertionError, match="wrong: "):
        kernels.check_equal(ways, torch.ones(3, 2, requires_grad=True), x)


def test_what_was_measured_is_written(tmp_path, capsys):
    arguments = ["--size", "30", "20", "100", "--repeats", "2", "--threads", "1"]
    kernels.main([*arguments, "--out", str(tmp_path / "kernels.json")])
    written = json.loads((tmp_path / "kernels.json").read_text())
    assert written["device"] == "CPU"
    assert {row["pairs"] for row in written["rows"]} == {100}
    assert "gather and scatter" in capsys.readouterr().out
