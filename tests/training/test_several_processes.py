"""Two processes give what one gives, and a lost one ends the run, which resumes to the bit."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from training.several_processes import CASES, EPOCHS
from training.small_models import NoisyMF, quiet_fit
from training.test_exact_resume import differences

from sgfd.data import Dataset
from sgfd.training import InteractionDataModule

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not hasattr(os, "fork"):
        pytest.skip("several_processes.py forks")
    folder = tmp_path_factory.mktemp("runs")
    process = subprocess.Popen(
        [sys.executable, "-m", "training.several_processes", folder],
        cwd=TESTS,
        env=os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        errors = process.communicate(timeout=600)[1]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its forks too, if any is left
    assert process.returncode == 0, errors
    assert "Warning" not in errors, errors
    return folder


def results(runs: Path, case: str) -> list[dict[str, Any]]:
    """Of one process, and of each of two."""
    files = [f"{case}.1.0.pt", f"{case}.2.0.pt", f"{case}.2.1.pt"]
    return [torch.load(runs / file, weights_only=True) for file in files]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one_does(runs: Path, case: str) -> None:
    one, *two = results(runs, case)
    for both in two:
        assert len(both["history"]) == EPOCHS
        for (_, terms, metrics), (_, own_terms, own_metrics) in zip(
            one["history"], both["history"], strict=True
        ):
            assert own_terms == pytest.approx(terms, rel=1e-9)
            assert own_metrics == pytest.approx(metrics, rel=1e-12)
        assert both["best"] == one["best"]
        torch.testing.assert_close(both["after"], one["after"], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_both_processes_end_with_the_same_bits(runs: Path, case: str) -> None:
    _, first, second = results(runs, case)
    assert differences(first, second) == []


def test_what_no_process_gives_a_gradient_is_not_moved(runs: Path) -> None:
    one, *two = results(runs, "VBPR, a teacher that rests")
    extractors = {name for name in one["after"] if name.startswith("teacher.extractors")}
    for result in (one, *two):
        assert extractors <= set(result["still"])
        assert "backbone.projections.text.weight" not in result["still"]


def test_the_last_batches_of_the_cases_are_uneven_and_of_one_pair(catalog: Dataset) -> None:
    data = InteractionDataModule(catalog, batch_size=CASES["VBPR"].batch_size)
    assert len(list(data.train_dataloader())[-1].users) == 15
    data = InteractionDataModule(catalog, batch_size=CASES["VBPR, a pair left over"].batch_size)
    assert len(list(data.train_dataloader())[-1].users) == 1


def test_a_killed_process_ends_the_other_with_a_word_on_how_to_go_on(runs: Path) -> None:
    seconds, first, second, said = (runs / "killed.txt").read_text().split("\n")
    assert os.waitstatus_to_exitcode(int(first)) == 1
    assert os.waitstatus_to_exitcode(int(second)) == -signal.SIGKILL
    assert said == (
        "RuntimeError: Another process of this run has ended or does not answer: process 0 of 2 "
        f"cannot go on. Start all of them again (with resume=True, from {runs}/killed/last.ckpt)."
    )
    assert float(seconds) < 300  # the default time limit of a collective is 1800


def test_killed_and_resumed_it_is_the_uninterrupted_run_to_the_bit(runs: Path) -> None:
    checkpoints = [
        torch.load(runs / name / "last.ckpt", weights_only=True) for name in ("whole", "killed")
    ]
    assert differences(*checkpoints) == []
    assert checkpoints[0]["global_step"] == 18
    texts = [(runs / name / "history.csv").read_text() for name in ("whole", "killed")]
    assert texts[0] == texts[1]


def test_each_process_draws_its_own_random_numbers(runs: Path) -> None:
    checkpoint = torch.load(runs / "whole" / "last.ckpt", weights_only=True)
    first, second = checkpoint["sgfd"]["generators"]
    for name in ("python", "numpy", "torch"):
        assert differences(first[name], second[name]) != []


def test_the_first_process_alone_writes(runs: Path) -> None:
    names = {path.name for path in (runs / "whole").iterdir()}
    assert names == {"last.ckpt", "best.pt", "history.csv", "tensorboard"}
    assert len(list((runs / "whole" / "tensorboard").glob("events*"))) == 1


def test_resuming_with_another_number_of_processes_is_an_error(
    runs: Path, catalog: Dataset
) -> None:
    model = NoisyMF(catalog.num_users, catalog.num_items)
    settings = {"max_epochs": 4, "batch_size": 48, "seed": 7, "tensorboard": False}
    with pytest.raises(ValueError, match="A run of 2 processes must go on with as many.*got 1"):
        quiet_fit(model, catalog, directory=runs / "whole", resume=True, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"devices": 0}, "devices must be an integer of at least 1; got 0"),
        ({"devices": "2"}, "devices must be an integer of at least 1; got '2'"),
        ({"strategy": "fsdp"}, "strategy must be 'ddp', .*; got 'fsdp'. For others use"),
    ],
)
def test_what_is_no_number_of_processes_is_an_error(
    catalog: Dataset, noisy: NoisyMF, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        quiet_fit(noisy, catalog, max_epochs=1, **settings)
