"""A training step and what comes after it, on each device there is, beside the CPU's."""

import copy

import pytest
import torch
from devices import DEVICES
from gpu.steps import CASES, Case, gradients, make, pairs
from scipy.sparse import csr_array

from sgfd.backbones import Batch
from sgfd.data import PairSampler
from sgfd.evaluation import evaluate

on_each_device = pytest.mark.parametrize("device", DEVICES)
DISTILLED = [case for case in CASES if case.distilled and not case.gaps]


def moved(model, batch, device):
    return copy.deepcopy(model).to(device), Batch(*(x.to(device) for x in batch))


def train(model, batch, loss_of, steps=20):
    """The losses of some steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach().cpu())
    return torch.stack(losses)


@on_each_device
@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_and_gradients_are_the_cpus(case, device):
    model = make(case)
    expected, wanted = gradients(model, pairs())
    loss, found = gradients(*moved(model, pairs(), device))
    torch.testing.assert_close(loss.cpu(), expected, rtol=1e-6, atol=1e-9)
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient.cpu(), wanted[name], rtol=1e-6, atol=1e-9, msg=name)


@on_each_device
@pytest.mark.parametrize("case", DISTILLED, ids=str)
def test_bfloat16_autocast_trains_near_float32(case, device):
    model = make(case).float()
    model, batch = moved(model, pairs(), device)
    other = copy.deepcopy(model)
    exact = train(other, batch, other)

    def mixed(batch):
        with torch.autocast(device, torch.bfloat16):
            return model(batch)

    losses = train(model, batch, mixed)
    assert losses.dtype == torch.float32
    assert losses.isfinite().all()
    torch.testing.assert_close(losses, exact, rtol=0.05, atol=0.02)
    assert losses[-1] < losses[0]


@on_each_device
@pytest.mark.parametrize("case", [c for c in CASES if not c.gaps], ids=str)
def test_ranking_with_scores_on_the_device_is_the_cpus(case, device):
    model = make(case).eval()
    target = csr_array(torch.eye(30, 20).numpy())
    expected = evaluate(model.scorer(), target, ks=[5])
    there = copy.deepcopy(model).to(device)
    assert there.scorer()(torch.arange(3)).device.type == device
    found = evaluate(there.scorer(), target, ks=[5], device=device, batch_size=7)
    assert found.means() == pytest.approx(expected.means(), abs=1e-12)


@on_each_device
@pytest.mark.parametrize("case", [*DISTILLED, Case("VBPR", True, gaps=True)], ids=str)
def test_exported_features_are_the_cpus(case, device):
    model = make(case).eval()
    expected = model.export()
    found = copy.deepcopy(model).to(device).export(chunk_size=7)
    assert {x.device.type for x in found.values()} == {"cpu"}
    for m, x in found.items():
        torch.testing.assert_close(x, expected[m], rtol=1e-9, atol=1e-9)


@on_each_device
def test_batches_of_the_sampler_are_moved_by_fit(device):
    pytest.importorskip("lightning")
    from sgfd.backbones import VBPR
    from sgfd.data import synthetic_catalog
    from sgfd.training import fit

    data = synthetic_catalog(num_users=60, num_items=50, num_classes=3)
    seen = []

    class Watched(VBPR):
        def forward(self, batch):
            seen.append({x.device.type for x in batch})
            return super().forward(batch)

    model = Watched(data.train, data.features, dim=8)
    accelerator = "gpu" if device == "cuda" else "cpu"
    fit(model, data, max_epochs=1, batch_size=64, accelerator=accelerator, progress=False)
    assert len(seen) == PairSampler(data.train, batch_size=64).num_batches
    assert all(devices == {device} for devices in seen)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_of_grcn_never_waits_for_cuda():
    model, batch = moved(make(Case("GRCN", False)), pairs(), "cuda")
    for _ in range(2):  # which kernels there are is asked once
        gradients(model, batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        gradients(model, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
