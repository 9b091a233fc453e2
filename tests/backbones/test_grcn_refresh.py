"""GRCN that projects all items' features at every n-th training step only."""

import copy
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from training.small_models import StopAfter, quiet_fit

from sgfd import Distilled, distill
from sgfd.backbones import GRCN, Batch
from sgfd.data import PairSampler, synthetic_catalog

USERS, ITEMS = 9, 11
OUT_OF_BATCH = torch.tensor([3, 6, 8, 9])


def interactions():
    matrix = (np.random.default_rng(0).random((USERS, ITEMS)) < 0.4).astype(float)
    return csr_array(matrix)


def features():
    generator = torch.Generator().manual_seed(3)
    return {m: torch.randn(ITEMS, w, generator=generator) for m, w in {"a": 12, "b": 7}.items()}


def batch():
    return Batch(
        torch.tensor([0, 1, 8]), torch.tensor([4, 0, 10]), torch.tensor([[1, 2], [2, 7], [5, 0]])
    )


def model_of(every, **options):
    return GRCN(interactions(), features(), dim=6, refresh_every=every, seed=2, **options)


def move(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))


def gradients(model, batch):
    model.zero_grad()
    loss = model(batch)
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters()}


def test_a_step_between_is_that_of_a_table_of_old_outputs_with_the_batchs_rows_new():
    model, exact = model_of(3), model_of(1)
    assert "cache.age" in model.state_dict()
    assert not any("cache" in name for name in exact.state_dict())
    torch.testing.assert_close(gradients(model, batch()), gradients(exact, batch()), rtol=0, atol=0)
    old = {m: F.normalize(F.leaky_relu(exact.projections[m](x))) for m, x in features().items()}
    of_batch = torch.ones(ITEMS, dtype=torch.bool)
    of_batch[OUT_OF_BATCH] = False

    # The exact model, with what is not in the batch put in its place by hand.
    def mixed(module, args, output, m):
        new = F.normalize(F.leaky_relu(output))
        table = torch.where(of_batch[:, None], new, old[m].detach())
        return torch.where(table > 0, table, table / 0.01)  # activation and norm undo it

    for seed in (1, 2):
        move(model, seed), move(exact, seed)
        found = gradients(model, batch())
        hooks = [
            exact.projections[m].register_forward_hook(lambda *a, m=m: mixed(*a, m)) for m in old
        ]
        torch.testing.assert_close(found, gradients(exact, batch()))
        for hook in hooks:
            hook.remove()
    for each in (model, exact):
        move(each, 3)
    torch.testing.assert_close(gradients(model, batch()), gradients(exact, batch()), rtol=0, atol=0)


def test_what_is_no_training_step_is_exact_and_does_not_count():
    model, exact = model_of(4), model_of(1)
    model(batch())
    for seed, each in ((5, model), (5, exact)):
        move(each, seed)
    state = {name: x.clone() for name, x in model.cache.state_dict().items()}
    with torch.no_grad():
        assert torch.equal(model(batch()), exact(batch()))
    users = torch.arange(USERS)
    assert torch.equal(model.scores(users), exact.scores(users))
    assert all(map(torch.equal, model.vectors(), exact.vectors()))
    assert torch.equal(model.eval()(batch()), exact.eval()(batch()))
    for name, x in model.cache.state_dict().items():
        assert torch.equal(x, state[name])
    assert not torch.equal(model.train()(batch()), exact.train()(batch()))


def test_copies_dtypes_and_loaded_states_carry_the_cache():
    model = model_of(5).double()
    assert model.cache.outputs.dtype == torch.float64
    model(batch())
    move(model, 4)
    twin, loaded = copy.deepcopy(model), model_of(5).double()
    loaded.load_state_dict(model.state_dict())
    expected = model(batch())
    for other in (twin, loaded):
        assert torch.equal(other(batch()), expected)
        assert int(other.cache.age) == 2


def test_a_state_without_a_cache_is_followed_by_a_step_that_computes_all():
    model, exact = model_of(5), model_of(1)
    model(batch())
    move(exact, 6)
    model.load_state_dict(exact.state_dict())
    assert torch.equal(model(batch()), exact(batch()))
    broken = model.state_dict()
    del broken["cache.outputs"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"cache\.outputs"'):
        model.load_state_dict(broken)


def test_between_only_the_batchs_rows_of_a_memory_map_are_read(tmp_path, monkeypatch):
    x = {}
    for m, values in features().items():
        np.save(tmp_path / f"{m}.npy", values.numpy())
        x[m] = np.load(tmp_path / f"{m}.npy", mmap_mode="r")
    model = GRCN(interactions(), x, dim=6, refresh_every=2, seed=2)
    wrapped = distill(model, x, torch.arange(ITEMS) % 3)
    wrapped(batch())
    read, table = [], type(model.features["a"])
    own = table._read_map

    def watched(self, rows):
        read.append(None if rows is None else rows.tolist())
        return own(self, rows)

    monkeypatch.setattr(table, "_read_map", watched)
    wrapped(batch())
    assert read == [[0, 1, 2, 4, 5, 7, 10]] * 2  # each modality once, for both losses
    read.clear()
    wrapped(batch())
    assert None in read
    monkeypatch.undo()
    in_memory = model_of(2)
    in_memory.load_state_dict(model.state_dict())
    torch.testing.assert_close(model.vectors(), in_memory.vectors())


def test_a_compiled_model_is_the_same():
    model = distill(model_of(2), features(), torch.arange(ITEMS) % 3)
    eager = copy.deepcopy(model)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager")
    with warnings.catch_warnings():
        # Of torch.compile itself, as it looks at a tensor between two graphs.
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a")
        for seed in range(3):
            found = (
                gradients(compiled, batch())[0],
                {n: p.grad for n, p in model.named_parameters()},
            )
            torch.testing.assert_close(found, gradients(eager, batch()))
            move(model, seed), move(eager, seed)


def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(tmp_path):
    data = synthetic_catalog(num_users=30, num_items=20, seed=1)

    def train(folder, **options):
        model = distill(
            GRCN(data.train, data.features, dim=4, refresh_every=7), data.features, data.labels
        )
        settings = {"max_epochs": 3, "batch_size": 40, "seed": 7, "checkpoint_every": 3}
        quiet_fit(model, data, directory=folder, **settings, **options)
        return model

    whole = train(tmp_path / "whole")
    with pytest.raises(InterruptedError):
        train(tmp_path / "cut", callbacks=[StopAfter(10)])
    resumed = train(tmp_path / "cut", resume=True)
    assert int(whole.cache.age) != 0
    for name, x in whole.state_dict().items():
        assert torch.equal(x, resumed.state_dict()[name]), name


def test_a_saved_model_comes_back_with_its_setting(tmp_path):
    x, labels = features(), torch.arange(ITEMS) % 3
    model = distill(model_of(3), x, labels)
    model(batch())
    model.save_pretrained(tmp_path)
    loaded = Distilled.from_pretrained(tmp_path, model_of(3), x)
    assert torch.equal(loaded.scores(torch.arange(USERS)), model.scores(torch.arange(USERS)))
    with pytest.raises(ValueError, match="refresh_every|cache"):
        Distilled.from_pretrained(tmp_path, model_of(1), x)


def test_a_state_with_a_cache_loads_where_there_is_none_and_the_other_way():
    kept, plain = model_of(3), model_of(1)
    kept(batch())
    with torch.no_grad():
        kept.user_embedding.weight.mul_(2)
    for wrap in (lambda model: model, lambda model: torch.nn.ModuleList([model])):
        wrap(plain).load_state_dict(wrap(kept).state_dict())  # strict
        users = torch.arange(USERS)
        assert torch.equal(plain.scores(users), kept.scores(users))
    assert not any(name.startswith("cache") for name in plain.state_dict())
    kept.load_state_dict(plain.state_dict())
    assert int(kept.cache.age) == 0


def test_training_with_it_learns():
    data = synthetic_catalog(num_users=60, num_items=40, seed=1)
    model = GRCN(data.train, data.features, dim=8, refresh_every=5)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for epoch in range(4):
        for part in PairSampler(data.train, batch_size=64, seed=0).epoch(epoch):
            optimizer.zero_grad()
            loss = model(part)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])


def test_fewer_steps_than_one_are_refused():
    with pytest.raises(ValueError, match="refresh_every must be an integer of at least 1; got 0"):
        model_of(0)


def test_batches_of_int32_are_those_of_int64():
    a, b = model_of(3), model_of(3)
    for _ in range(4):
        assert a(Batch(*(x.int() for x in batch()))) == b(batch())
