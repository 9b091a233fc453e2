"""torch.compile around distill()."""

from pathlib import Path

import numpy as np
import pytest
import strangers
import torch
from devices import CUDA, DEVICES
from readme_snippets import run
from scipy.sparse import csr_array
from strangers import ITEMS, USERS, batch, batch_items, features, labels

from sgfd import distill
from sgfd.backbones import BM3, GRCN, MAML, VBPR

PAGE = Path(__file__).parents[2] / "docs" / "composing.md"
# Of torch.compile itself, as it looks at a tensor between two graphs.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@pytest.fixture(autouse=True)
def _nothing_compiled_before_and_the_same_parameters_every_time():
    torch._dynamo.reset()
    torch.manual_seed(5)


def wrap():
    return distill(
        strangers.SeparateBuffers(),
        features(),
        labels(),
        loss_method="calculate_loss",
        items=batch_items,
    )


def result(model, loss):
    """The loss and every gradient, None where there is none."""
    model.zero_grad()
    value = loss()
    value.backward()
    # Copies: what is captured writes to the same memory again.
    grads = {k: p.grad if p.grad is None else p.grad.clone() for k, p in model.named_parameters()}
    return value.detach().clone(), grads


def train(model, loss, steps=60):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def ours(kind, device):
    """A model and a batch."""
    interactions = csr_array(np.arange(USERS * ITEMS).reshape(USERS, ITEMS) % 3 == 0, dtype=float)
    model = distill(kind(interactions, features(), dim=4), features(), labels())
    users, items, negatives = (x.to(device) for x in batch())
    return model.to(device), (users, items, negatives[:, None])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [VBPR, GRCN])
def test_compiling_around_distill_gives_the_same_loss_and_gradients(kind, device):
    model, triples = ours(kind, device)
    compiled = torch.compile(model, backend="aot_eager")
    for _ in range(2):
        (loss, gradients), (expected, wanted) = (
            result(model, lambda call=call: call(triples)) for call in (compiled, model)
        )
        torch.testing.assert_close(loss, expected)
        assert all(g is not None for g in wanted.values())
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, wanted[name], msg=name)


@pytest.mark.parametrize("device", [CUDA])
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
@pytest.mark.parametrize("kind", [VBPR, BM3, GRCN, MAML])
def test_kernels_made_for_the_device_give_the_same_loss(kind, mode, device):
    # reduce-overhead captures CUDA graphs. On a CPU the same code would call a C++ compiler.
    model, triples = ours(kind, device)
    model.eval()  # dropout draws other numbers in another kernel
    compiled = torch.compile(model, mode=mode)
    for _ in range(3):  # a warm-up, the capture, a replay
        if mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        (loss, gradients), (expected, wanted) = (
            result(model, lambda call=call: call(triples)) for call in (compiled, model)
        )
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=1e-4, msg=name)


def test_what_is_compiled_trains_and_raises_no_false_alarm():
    model, eager = wrap(), wrap()
    eager.load_state_dict(model.state_dict())
    compiled = torch.compile(model.calculate_loss, backend="aot_eager")
    train(model, lambda: compiled(batch()))
    train(eager, lambda: eager.calculate_loss(batch()))
    for a, b in zip(model.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    # Here the students are compiled, and the distillation loss, which counts, is not.
    inside = wrap()
    own = torch.compile(inside.backbone.calculate_loss, backend="aot_eager")
    items = batch_items(batch())
    train(inside, lambda: own(batch()) + inside.distillation_loss(items))
    assert inside._watch.losses > 0


def test_a_compiled_recommender_is_refused():
    with pytest.raises(ValueError, match=r"got OptimizedModule.*torch\.compile\(distill\(\.\.\."):
        distill(torch.compile(strangers.SeparateBuffers(), backend="eager"), features(), labels())


def test_the_examples_of_the_page_run():
    assert run(PAGE) == 5
    assert not torch.distributed.is_initialized()
