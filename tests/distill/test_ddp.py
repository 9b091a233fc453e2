"""DistributedDataParallel around distill(), in two processes."""

import os
import subprocess
import sys
from pathlib import Path

import ddp_worker
import pytest
import torch

from sgfd.distributed import joined_counts, joined_evaluation, joined_loss, take_share
from sgfd.evaluation import evaluate

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


def single(case, rank, world, **size):
    """Loss and gradients of a part of the batch in this process."""
    model = ddp_worker.build(case)
    interaction = ddp_worker.part(case, rank, world, **size)
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


@pytest.mark.parametrize("size", [7, 1])  # 3 and 4 pairs, and none and one
@pytest.mark.parametrize("case", ddp_worker.CASES)
def test_joined_gradients_are_those_of_the_whole_batch(folder: Path, case: str, size: int):
    loss, gradients = single(case, 0, 1, size=size)
    parts = [
        torch.load(folder / f"{case}{size}of{rank}.pt", weights_only=True) for rank in range(WORLD)
    ]
    torch.testing.assert_close(sum(p["loss"] for p in parts) / WORLD, loss)
    for name, grad in gradients.items():
        torch.testing.assert_close(parts[0]["grads"][name], grad, msg=name)


@pytest.mark.parametrize("count", [1, 5])
def test_joined_metrics_are_those_of_every_user_in_every_process(folder: Path, count: int):
    whole = evaluate(ddp_worker.scores, ddp_worker.targets(count), ks=[2, 8])
    assert 0 < whole.means()["ndcg@8"] < 1
    for rank in range(WORLD):
        found = torch.load(folder / f"{count}users{rank}.pt", weights_only=True)
        assert found.pop("users") == whole.users.tolist()
        assert found.keys() == whole.per_user.keys()
        assert all(found[name].tolist() == whole.per_user[name].tolist() for name in found)


def test_a_process_that_cannot_rank_leaves_no_other_waiting(folder: Path):
    said = [(folder / f"broken{rank}.txt").read_text() for rank in range(WORLD)]
    assert said[0].startswith("RuntimeError: 1 of 2 processes could not rank the items")
    assert said[1] == "OSError: the disk of process 1"


@pytest.mark.parametrize("world", [1, 2, 3, 9])
def test_shares_give_each_pair_to_one_process(world: int):
    batch = ddp_worker.part("ours", 0, 1, size=7)
    shares = [take_share(batch, rank=rank, world_size=world) for rank in range(world)]
    counted = [share.batch for share in shares if share.fraction > 0]
    for part, whole in zip(zip(*counted, strict=True), batch, strict=True):
        assert torch.equal(torch.cat(part), whole)
    assert all(share.fraction * 7 == len(share.batch.users) for share in shares if share.fraction)
    assert all(len(share.batch.users) == 1 for share in shares if not share.fraction)
    sizes = [round(share.fraction * 7) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_in_one_process_joined_is_plain():
    model, batch = ddp_worker.build("ours"), ddp_worker.part("ours", 0, 1)
    assert joined_loss(model, batch) == model(batch)
    target = ddp_worker.targets(5)
    found, plain = (f(ddp_worker.scores, target, ks=[3]) for f in (joined_evaluation, evaluate))
    assert found.means() == plain.means()


def test_what_is_no_share_is_an_error():
    batch = ddp_worker.part("ours", 0, 1)
    with pytest.raises(ValueError, match="rank must be an integer of at least 0 and below 2"):
        take_share(batch, rank=2, world_size=2)
    with pytest.raises(ValueError, match=r"as many items and rows of negatives.*\[8, 8, 3\]"):
        take_share((*batch[:2], batch[2][:3]), rank=0, world_size=2)
    with (
        pytest.raises(ValueError, match="fraction must be at most 1"),
        joined_counts(ddp_worker.build("ours"), fraction=2),
    ):
        pass
