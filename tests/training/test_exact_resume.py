"""A killed and resumed run is the uninterrupted one, to the bit."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback
from torch import Tensor
from training.small_models import NoisyMF, StopAfter, quiet_fit

from sgfd.data import Dataset
from sgfd.training import AtomicCheckpointIO
from sgfd.training._generators import generator_states

# Each case of killed_runs.py, and the steps at which its processes began: it went on from the
# last checkpoint before the kill, neither from the beginning nor without being killed.
STARTS = {
    "before_any_checkpoint": [0, 0],
    "middle_of_an_epoch": [0, 8],
    "middle_of_a_step": [0, 8],
    "middle_of_an_epoch_without_checkpoints_in_it": [0, 6],
    "after_the_last_step_before_validation": [0, 8],
    "after_validation_before_its_checkpoint": [0, 8],
    "while_a_checkpoint_is_written": [0, 12],
    "start_of_an_epoch": [0, 12],
    "last_epoch": [0, 20],
    "end_of_the_last_epoch": [0, 20],
    "after_the_end": [0],  # nothing was left to train
    "twice": [0, 8, 20],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not hasattr(os, "fork"):
        pytest.skip("killed_runs.py forks")
    folder = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-m", "training.killed_runs", str(folder)]
    tests = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=tests, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == {"uninterrupted", *STARTS}
    return folder


def bits(x: Tensor) -> Tensor:
    return x.contiguous().reshape(-1).view(torch.uint8)


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Where two checkpoints differ, in a bit."""
    if type(a) is not type(b):
        return [path]
    if isinstance(a, Tensor):
        same = a.dtype == b.dtype and torch.equal(bits(a), bits(b))
        return [] if same else [path]
    if isinstance(a, dict):
        if list(a) != list(b):
            return [path]
        return [d for key in a for d in differences(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [path]
        return [d for i in range(len(a)) for d in differences(a[i], b[i], f"{path}[{i}]")]
    return [] if a == b else [path]


@pytest.mark.parametrize("case", STARTS)
def test_a_killed_run_resumed_is_the_uninterrupted_run_to_the_bit(runs: Path, case: str) -> None:
    began = (runs / case / "starts.txt").read_text().split()
    assert [int(step) for step in began] == STARTS[case]
    # Everything: parameters, optimizer, loops, best epoch, records, position, generators.
    checkpoints = [
        torch.load(runs / name / "run" / "last.ckpt", weights_only=True)
        for name in ("uninterrupted", case)
    ]
    assert differences(*checkpoints) == []
    best = [
        torch.load(runs / name / "run" / "best.pt", weights_only=True)
        for name in ("uninterrupted", case)
    ]
    assert differences(*best) == []
    for file in ("run/history.csv", "result.txt"):
        assert (runs / case / file).read_text() == (runs / "uninterrupted" / file).read_text()


def test_the_comparison_sees_a_single_bit() -> None:
    a = {"x": [torch.tensor([1.0, 0.0])], "y": 1}
    assert differences(a, {"x": [torch.tensor([1.0, -0.0])], "y": 1}) == [".x[0]"]
    assert differences(a, {"x": [torch.tensor([1.0, 0.0])], "y": 2}) == [".y"]


def train(catalog: Dataset, directory: Path | None = None, **changes: Any) -> NoisyMF:
    model = NoisyMF(catalog.num_users, catalog.num_items)
    settings = {"max_epochs": 2, "batch_size": 48, "seed": 7, "checkpoint_every": 4}
    quiet_fit(model, catalog, directory=directory, tensorboard=False, **settings | changes)
    return model


@pytest.fixture
def interrupted(catalog: Dataset, tmp_path: Path) -> Path:
    """The directory of a run that stopped after step 9, one after its last checkpoint."""
    with pytest.raises(InterruptedError):
        train(catalog, tmp_path / "run", callbacks=[StopAfter(9)])
    return tmp_path / "run"


@pytest.mark.parametrize("forgotten", ["python", "numpy", "torch", "position", "nothing"])
def test_each_part_of_the_state_is_needed(
    catalog: Dataset, interrupted: Path, forgotten: str
) -> None:
    path = interrupted / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    [states] = checkpoint["sgfd"]["generators"]  # of one process
    if forgotten == "position":  # the batches of the epoch before
        checkpoint["InteractionDataModule"]["epoch"] -= 1
        checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]["epoch"] -= 1
    elif forgotten != "nothing":
        states[forgotten] = generator_states(torch.device("cpu"))[forgotten]
    torch.save(checkpoint, path)
    train(catalog, interrupted, resume=True)
    train(catalog, interrupted / "whole")
    last = [
        torch.load(folder / "last.ckpt", weights_only=True)
        for folder in (interrupted, interrupted / "whole")
    ]
    parameters = [state["state_dict"]["model.users"] for state in last]
    assert torch.equal(*parameters) == (forgotten == "nothing")


def test_a_finished_run_is_not_trained_further(catalog: Dataset, tmp_path: Path) -> None:
    first = train(catalog, tmp_path)
    before = (tmp_path / "last.ckpt").read_bytes()
    again = train(catalog, tmp_path, resume=True)
    assert torch.equal(again.users, first.users)
    assert (tmp_path / "last.ckpt").read_bytes() == before


def test_more_epochs_can_be_added_to_a_finished_run(catalog: Dataset, tmp_path: Path) -> None:
    train(catalog, tmp_path, max_epochs=2)
    longer = train(catalog, tmp_path, max_epochs=4, resume=True)
    at_once = train(catalog, tmp_path / "other", max_epochs=4)
    assert torch.equal(longer.users, at_once.users)
    histories = [folder / "history.csv" for folder in (tmp_path, tmp_path / "other")]
    assert histories[0].read_text() == histories[1].read_text()


def test_resuming_without_a_checkpoint_starts_and_says_so(catalog: Dataset, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"no .*last\.ckpt: starting from the beginning"):
        model = train(catalog, tmp_path, resume=True)
    assert torch.equal(model.users, train(catalog).users)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 8}, "seed was 7, is 8"),
        ({"batch_size": 32}, "batch_size was 48, is 32"),
        ({"num_negatives": 3}, "num_negatives was 1, is 3"),
        ({"learning_rate": 0.5}, r"learning_rate was \[0.001\], is \[0.5\]"),
        ({"weight_decay": 0.5}, r"weight_decay was \[0.0\], is \[0.5\]"),
        ({"optimizer": lambda p: torch.optim.SGD(p, lr=0.001)}, "optimizer was Adam, is SGD"),
        ({"monitor": "recall@10"}, "monitor was ndcg@20, is recall@10"),
        ({"ks": (5, 20)}, r"ks was \[10, 20\], is \[5, 20\]"),
        ({"max_epochs": 1}, "max_epochs must be at least 2, as .* has; got 1"),
    ],
)
def test_resuming_with_other_settings_is_an_error(
    catalog: Dataset, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    train(catalog, tmp_path)
    before = (tmp_path / "last.ckpt").read_bytes()
    with pytest.raises(ValueError, match=message):
        train(catalog, tmp_path, resume=True, **changes)
    assert (tmp_path / "last.ckpt").read_bytes() == before


class Tag(torch.Tensor):
    pass


def tagged(x: Tensor) -> Tensor:
    """One that torch would rebuild by unpickling."""
    return x.as_subclass(Tag)


class Keeps(Callback):
    """Has something in the checkpoint."""

    def __init__(self, kept: Any) -> None:
        self.kept = kept

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.kept = state_dict["kept"]


def test_numbers_of_numpy_can_be_resumed(catalog: Dataset, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "batch_size": np.uint64(32),
        "num_negatives": np.int32(2),
        "seed": np.int64(3),
        "ks": np.array([5, 20]),
        "devices": np.int64(1),
        "learning_rate": np.logspace(-3, -2, 2)[0],
        "weight_decay": np.float32(0.25),
    }
    seen = {np.int64(3): [np.int64(3), (np.bool_(True),)]}
    keeps = Keeps({"best": np.float64(0.5), "seen": seen, "count": Counter({np.int64(4): 2})})
    train(catalog, tmp_path, **settings, max_epochs=np.int64(1), callbacks=[keeps])
    again = Keeps(None)
    longer = train(
        catalog, tmp_path, **settings, max_epochs=np.int64(2), resume=True, callbacks=[again]
    )
    assert again.kept == {"best": 0.5, "seen": {3: [3, (True,)]}, "count": Counter({4: 2})}
    assert not {type(key) for key in [*again.kept["seen"], *again.kept["count"]]} - {int}
    plain = {name: x.tolist() for name, x in settings.items()}  # as Python's numbers
    assert torch.equal(longer.users, train(catalog, **plain, max_epochs=2).users)


def test_what_a_model_hangs_on_its_state_stays(tmp_path: Path) -> None:
    class Extra(torch.nn.BatchNorm1d):
        def get_extra_state(self) -> Any:
            return {"seen": np.float64(2.5)}

    state = Extra(3).state_dict()
    AtomicCheckpointIO().save_checkpoint({"state_dict": state}, tmp_path / "x")
    read = AtomicCheckpointIO().load_checkpoint(tmp_path / "x")["state_dict"]
    assert read._metadata == state._metadata
    assert read["_extra_state"] == {"seen": 2.5}
    assert type(read["_extra_state"]["seen"]) is float


def test_the_best_parameters_can_be_read_too(catalog: Dataset, tmp_path: Path) -> None:
    class Counts(NoisyMF):
        def get_extra_state(self) -> Any:
            return np.float64(2.5)

        def set_extra_state(self, state: Any) -> None:
            assert state == 2.5

    model = Counts(catalog.num_users, catalog.num_items)
    quiet_fit(model, catalog, max_epochs=1, directory=tmp_path, tensorboard=False)
    assert torch.load(tmp_path / "best.pt", weights_only=True)["_extra_state"] == 2.5


def test_a_run_of_a_version_that_kept_less_goes_on(catalog: Dataset, tmp_path: Path) -> None:
    train(catalog, tmp_path, max_epochs=1)
    path = tmp_path / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["sgfd"]["identity"]["ks"]
    del checkpoint["callbacks"]["History"]["metrics"]
    torch.save(checkpoint, path)
    assert torch.equal(train(catalog, tmp_path, resume=True).users, train(catalog).users)


def test_a_rate_of_numpy_in_an_optimizer_of_ones_own(catalog: Dataset, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "optimizer": lambda p: torch.optim.SGD(p, lr=np.float64(0.5), momentum=np.float64(0.25))
    }
    train(catalog, tmp_path, **settings, max_epochs=1)
    longer = train(catalog, tmp_path, **settings, resume=True)
    assert torch.equal(longer.users, train(catalog, **settings).users)


@pytest.mark.parametrize(
    ("kept", "strange"),
    [
        ({"when": [1.5, Fraction(1, 3)]}, r"a Fraction at .*\['kept'\]\['when'\]\[1\]"),
        ({Fraction(1, 3): 2}, r"a Fraction at a key of checkpoint\['callbacks'\]\['Keeps'\]"),
        (tagged(torch.ones(2)), r"a Tag at checkpoint\['callbacks'\]\['Keeps'\]\['kept'\]"),
        (np.ones(3), r"a ndarray at checkpoint\['callbacks'\]\['Keeps'\]\['kept'\]"),
    ],
)
def test_what_could_not_be_read_back_is_an_error_at_the_first_save(
    catalog: Dataset, tmp_path: Path, kept: Any, strange: str
) -> None:
    with pytest.raises(ValueError, match=f"nothing but tensors and plain values.*{strange}"):
        train(catalog, tmp_path, callbacks=[Keeps(kept)])
    assert not (tmp_path / "last.ckpt").exists()


def test_resuming_another_model_or_dataset_is_an_error(
    catalog: Dataset, tmp_path: Path, ten_users: Dataset
) -> None:
    train(catalog, tmp_path)
    settings: dict[str, Any] = {"max_epochs": 2, "batch_size": 48, "seed": 7, "resume": True}
    wider = NoisyMF(catalog.num_users, catalog.num_items, dim=9)
    with pytest.raises(ValueError, match=r"model's shapes was .*'users': \[50, 8\].*\[50, 9\]"):
        quiet_fit(wider, catalog, directory=tmp_path, **settings)
    with pytest.raises(ValueError, match=r"dataset's shape was \[50, 40\], is \[10, 24\]"):
        train(ten_users, tmp_path, resume=True)
    # The same sizes, another split.
    swapped = Dataset(catalog.train, catalog.test, catalog.valid, catalog.features)
    with pytest.raises(ValueError, match=r"dataset.valid was \d+ pairs \(\w+\), is"):
        train(swapped, tmp_path, resume=True)


def test_a_run_is_not_overwritten(catalog: Dataset, tmp_path: Path) -> None:
    train(catalog, tmp_path)
    with pytest.raises(FileExistsError, match="Pass resume=True to go on with it, or another"):
        train(catalog, tmp_path)


def test_resuming_needs_a_directory_and_a_checkpoint_of_ours(
    catalog: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="resume=True needs the directory"):
        train(catalog, None, resume=True)
    torch.save({"state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"must be a checkpoint of sgfd\.training\.fit"):
        train(catalog, tmp_path, resume=True)


def test_a_half_written_checkpoint_is_never_read(catalog: Dataset, interrupted: Path) -> None:
    (interrupted / "last.ckpt.tmp").write_bytes(b"half")
    resumed = train(catalog, interrupted, resume=True)
    assert torch.equal(resumed.users, train(catalog).users)
    assert not (interrupted / "last.ckpt.tmp").exists()


def test_a_copied_directory_resumes_elsewhere(
    catalog: Dataset, interrupted: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(interrupted, tmp_path / "moved")
    assert torch.equal(train(catalog, moved, resume=True).users, train(catalog).users)
