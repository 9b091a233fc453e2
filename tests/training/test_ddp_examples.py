"""The examples that train in several processes, in two of them and in one."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from sgfd.data import synthetic_catalog

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(*commands: dict[str, str], script: str, arguments: list[object]) -> list[str]:
    """What processes of some environments say that run together; none outlives this."""
    alone = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:
        processes = []
        for environment in commands:
            process = subprocess.Popen(
                [sys.executable, EXAMPLES / script, *map(str, arguments)],
                env=os.environ | alone | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            stack.callback(end, process)
            processes.append(process)
        said = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return [out for out, _ in said]


def end(process: subprocess.Popen) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def numbers(said: str) -> list[float]:
    return [float(x) for x in re.findall(r"\d+\.\d+", said)]


def test_the_own_loop_says_the_same_in_two_processes_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    both = [there | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    arguments = ["--epochs", 2, "--out", tmp_path]
    [alone] = run({}, script="own_loop_ddp.py", arguments=arguments)
    first, second = run(*both, script="own_loop_ddp.py", arguments=arguments)
    assert second == ""
    assert len(numbers(alone)) == 5
    np.testing.assert_allclose(numbers(first), numbers(alone), atol=2e-5)


def test_train_says_and_writes_once_in_two_processes(tmp_path: Path) -> None:
    data = synthetic_catalog(num_users=60, num_items=40, num_classes=4, interactions_per_user=8)
    for name, part in {"train": data.seen, "test": data.test}.items():
        rows = "".join(f"{user},{item}\n" for user, item in zip(*part.nonzero(), strict=True))
        (tmp_path / f"{name}.csv").write_text("userID,itemID\n" + rows)
    np.save(tmp_path / "FeatureImage_normal.npy", data.features["image"])
    np.save(tmp_path / "labels.npy", data.labels)
    arguments = ["--data", tmp_path, "--labels", tmp_path / "labels.npy", "--backbone", "vbpr"]
    arguments += ["--epochs", 2, "--batch-size", 100, "--dim", 4, "--out", tmp_path / "out"]
    arguments += ["--devices", 2, "--strategy", "ddp"]
    [said] = run({}, script="train.py", arguments=arguments)
    for text in ("train           ", "vbpr, plain", "vbpr, distilled", "Test part", "Written to"):
        assert said.count(text) == 1, said
    for file in ("results.json", "plain/last.ckpt", "distilled/best.pt", "features_Image.png"):
        assert (tmp_path / "out" / file).exists()
