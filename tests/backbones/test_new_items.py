"""Items that training has not met, ranked by what they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array

from sgfd import distill, paper_student
from sgfd.backbones import BM3, GRCN, MAML, VBPR, id_fusion
from sgfd.data import Dataset, hold_out_items, synthetic_catalog
from sgfd.evaluation import evaluate, evaluate_cold

USERS, ITEMS, NEW = 9, 11, 5
ABLE = [GRCN, MAML, VBPR]


def interactions():
    return csr_array((np.random.default_rng(0).random((USERS, ITEMS)) < 0.4).astype(float))


def features(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.randn(rows, w, generator=generator) for m, w in (("image", 8), ("text", 6))}


def built(kind, student=None):
    options = {"feature_bias": True} if kind is VBPR else {}
    model = kind(interactions(), features(ITEMS, 1), dim=4, seed=3, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.manual_seed(5)))
    if student is not None:
        labels = torch.arange(ITEMS) % 3
        model = distill(model, features(ITEMS, 1), labels, student=student)
    return model.eval()


@pytest.mark.parametrize("student", [None, paper_student])
@pytest.mark.parametrize("kind", ABLE)
def test_new_items_take_part_after_the_known_ones(kind, student):
    model, new = built(kind, student), features(NEW, 2)
    users = torch.tensor([2, 7])
    both = torch.cat([model.scores(users), model.new_scorer(new)(users)], dim=1)
    assert both.shape == (2, ITEMS + NEW)
    items, scores = model.recommend(users, k=ITEMS + NEW, new_items=new)
    best = both.sort(dim=1, descending=True)
    assert torch.equal(items, best.indices)
    assert torch.equal(scores, best.values)
    hidden = model.recommend(
        users, k=ITEMS + NEW, seen=csr_array(np.ones((USERS, ITEMS))), new_items=new
    )
    assert set(hidden.items[0].tolist()) == {-1, *range(ITEMS, ITEMS + NEW)}


def test_vbpr_scores_a_new_item_by_its_features_alone():
    model, new = built(VBPR), features(NEW, 2)
    expected = torch.zeros(USERS, NEW)
    for m, x in new.items():
        f = F.linear(x, model.projections[m].weight, model.projections[m].bias)
        expected += model.user_features[m].weight @ f.T + x @ model.feature_bias[m]
    torch.testing.assert_close(model.new_scorer(new)(torch.arange(USERS)), expected)


def test_grcn_takes_a_new_item_for_a_node_without_edges():
    model, new = built(GRCN), features(NEW, 2)
    users, _ = model.representations()
    parts = [torch.zeros(NEW, 4)]
    for m, x in new.items():
        parts.append(F.normalize(F.leaky_relu(model.projections[m](x))))
    expected = users @ torch.cat(parts, -1).T
    torch.testing.assert_close(model.new_scorer(new)(torch.arange(USERS)), expected)


def test_maml_puts_a_new_item_where_a_known_one_with_the_same_features_would_start():
    model = built(MAML)
    with torch.no_grad():
        model.item_embedding.weight.copy_(model.item_features(torch.arange(ITEMS)))
    users = torch.arange(USERS)
    torch.testing.assert_close(model.new_scorer(features(ITEMS, 1))(users), model.scores(users))


@pytest.mark.parametrize("kind", ABLE)
def test_a_new_item_may_lack_a_modality(kind):
    model, new = built(kind), features(NEW, 2)
    mean = model.features["image"].fill()
    filled = {**new, "image": new["image"].clone()}
    filled["image"][3] = mean
    new["image"][3] = torch.nan
    users = torch.arange(USERS)
    torch.testing.assert_close(model.new_scorer(new)(users), model.new_scorer(filled)(users))


def test_backbones_that_cannot_say_so():
    for model in (built(BM3), built(BM3, paper_student)):
        with pytest.raises(NotImplementedError, match="BM3 cannot rank items .* VBPR, GRCN and"):
            model.recommend(torch.tensor([0]), new_items=features(NEW, 2))
    model = GRCN(interactions(), features(ITEMS, 1), dim=4, fusion=id_fusion)
    with pytest.raises(NotImplementedError, match="GRCN with id_fusion cannot"):
        model.new_scorer(features(NEW, 2))


def test_new_features_that_do_not_fit_are_named():
    model, new = built(VBPR), features(NEW, 2)
    with pytest.raises(ValueError, match=r"exactly \['image', 'text'\]; got \['image'\]"):
        model.new_scorer({"image": new["image"]})
    with pytest.raises(ValueError, match=r"got \{'image': 5, 'text': 2\} rows"):
        model.new_scorer({**new, "text": new["text"][:2]})
    with pytest.raises(ValueError, match=r"New features\['text'\] must be .* of width 6"):
        model.new_scorer({**new, "text": new["image"]})
    with pytest.raises(ValueError, match=r"k must be in 1\.\.16 .* got 17"):
        model.recommend(torch.tensor([0]), k=17, new_items=new)


def test_held_out_items_leave_nothing_behind():
    data = synthetic_catalog()
    split = hold_out_items(data, fraction=0.25, seed=4)
    again = hold_out_items(data, fraction=0.25, seed=4)
    assert np.array_equal(split.cold_items, again.cold_items)
    assert not np.array_equal(split.cold_items, hold_out_items(data, seed=5).cold_items)
    assert set(split.warm_items) | set(split.cold_items) == set(range(data.num_items))
    assert len(split.cold_items) == round(0.25 * data.num_items)
    pairs = (data.train + data.valid + data.test).toarray()
    kept = sum(part.sum() for part in (split.warm.train, split.warm.valid, split.warm.test))
    assert kept + pairs[:, split.cold_items].sum() == pairs.sum()
    known = split.warm.train.sum(1) > 0
    expected = pairs[:, split.cold_items] * known[:, None]
    assert np.array_equal(split.target.toarray(), expected)
    for m, x in data.features.items():
        assert np.array_equal(split.warm.features[m], x[split.warm_items])
        assert np.array_equal(split.features[m], x[split.cold_items])
    assert np.array_equal(split.warm.labels, data.labels[split.warm_items])
    for fraction in (0, 1, 1e-9):
        with pytest.raises(ValueError, match="fraction must (be above 0|leave items on)"):
            hold_out_items(data, fraction=fraction, seed=0)


def test_the_notes_of_what_is_left_count_what_is_left():
    data = synthetic_catalog(num_users=60, num_items=40, num_classes=3)
    labels = np.where(np.arange(data.num_items) < 5, -1, data.labels)
    named = Dataset.from_arrays(
        data.train, data.test, valid=data.valid, features=data.features, labels=labels
    )
    warm = hold_out_items(replace(named, notes=("mine", *named.notes)), fraction=0.7, seed=4).warm
    again = Dataset.from_arrays(
        warm.train, warm.test, valid=warm.valid, features=warm.features, labels=warm.labels
    )
    assert warm.notes == ("mine", "cold: 27 of 39 items held out altogether (seed 4)", *again.notes)
    assert warm.notes != named.notes
    assert any(note.startswith("train: ") for note in warm.notes)


def test_a_cold_evaluation_is_a_plain_one_on_either_catalog():
    split = hold_out_items(synthetic_catalog(), seed=0)
    model = VBPR(split.warm.train, split.warm.features, dim=8)
    found = evaluate_cold(model, split, ks=(5, 20))
    new = model.new_scorer(split.features)
    alone = evaluate(new, split.target, ks=(5, 20))
    assert found.among_new.means() == alone.means()
    # Among all, by hand: the rank of a user's new item among everything it has not seen.
    user = int(found.among_all.users[0])
    scores = torch.cat([model.scores(torch.tensor([user])), new(torch.tensor([user]))], 1)[0]
    scores[: split.warm.num_items][
        (split.warm.seen + split.warm.test)[[user]].toarray()[0] > 0
    ] = -torch.inf
    best = scores.topk(20).indices - split.warm.num_items
    hits = sum(split.target.toarray()[user, i] for i in best.tolist() if i >= 0)
    recall = found.among_all.per_user["recall@20"][0]
    assert recall == pytest.approx(hits / split.target.toarray()[user].sum())
