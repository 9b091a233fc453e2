"""DistributedDataParallel around distill(), in two processes."""

import os
import subprocess
import sys
from pathlib import Path

import ddp_worker
import pytest
import torch

WORLD = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    processes = [
        subprocess.Popen(
            [sys.executable, ddp_worker.__file__, str(rank), str(WORLD), str(folder)],
            env=os.environ | {"GLOO_SOCKET_IFNAME": "lo"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORLD)
    ]
    try:
        errors = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()  # one that waits for another that failed
    assert [process.returncode for process in processes] == [0] * WORLD, errors
    return folder


def single(case, rank, world):
    """Loss and gradients of a part of the batch in this process."""
    model = ddp_worker.build(case)
    interaction = ddp_worker.part(case, rank, world)
    loss = model(interaction) if case == "ours" else model.calculate_loss(interaction)
    loss.backward()
    return loss.detach(), {k: p.grad for k, p in model.named_parameters()}


@pytest.mark.parametrize("case", ddp_worker.CASES)
def test_gradients_of_two_processes_are_the_mean_of_theirs(folder: Path, case: str):
    apart = [single(case, rank, WORLD) for rank in range(WORLD)]
    together = [torch.load(folder / f"{case}{rank}.pt", weights_only=True) for rank in range(WORLD)]
    for rank in range(WORLD):
        torch.testing.assert_close(together[rank]["loss"], apart[rank][0])
        for name, grad in together[rank]["grads"].items():
            torch.testing.assert_close(grad, sum(g[name] for _, g in apart) / WORLD, msg=name)
            assert torch.equal(grad, together[0]["grads"][name])
    assert apart[0][0] != apart[1][0]


def test_where_every_item_has_a_label_they_are_those_of_the_whole_batch(folder: Path):
    loss, gradients = single("ours", 0, 1)
    parts = [torch.load(folder / f"ours{rank}.pt", weights_only=True) for rank in range(WORLD)]
    torch.testing.assert_close(sum(p["loss"] for p in parts) / WORLD, loss)
    for name, grad in gradients.items():
        torch.testing.assert_close(parts[0]["grads"][name], grad, msg=name)
        assert name == "teacher.fusion_transfer.bias" or grad.any()
