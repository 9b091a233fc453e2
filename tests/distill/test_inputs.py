"""Whether a layer is given the features that distill() was: what is told apart, and what is not."""

import re

import pytest
import torch
import torch.nn.functional as F

from sgfd import ForeignRowsWarning, OtherFeaturesWarning, OtherItemsWarning
from sgfd._inputs import Given, check_input
from sgfd._looked_for import Catalog

N, WIDTH = 1500, 6
BATCH = torch.arange(40, 90)


def table(seed=3):
    return torch.randn(N, WIDTH, generator=torch.Generator().manual_seed(seed))


def catalog(given, present=None, batch=BATCH):
    def rows(items):
        return given[items], None if present is None else present[items]

    return Catalog("image", rows, len(given), batch)


def problem_of(value, given, *, read=None, **options):
    """Of a layer whose only call was given these rows, or of several."""
    read = [value] if read is None else read
    first = Given(value.detach(), value.requires_grad, read)
    return check_input(first, "The layer", catalog(given, **options))


def said(value, given, **options):
    """The class of the problem, in a list, which is empty where there is none."""
    problem = problem_of(value, given, **options)
    return [] if problem is None else [problem.category]


READ = {"whole": lambda x: x, "a batch": lambda x: x[BATCH]}


@pytest.mark.parametrize("read", READ.values(), ids=READ)
def test_an_outlier_or_an_offset_hides_nothing(read):
    outlier = table()
    outlier[0, 0] = 1e4
    assert said(read(F.normalize(outlier)), outlier) == [OtherFeaturesWarning]
    for spread in (1, 0.1):  # the smaller one is below a thousandth of each value
        given, noise = 1000 + spread * table(), 1000 + spread * table(4)
        assert said(read(noise), given) == [OtherFeaturesWarning]
        assert said(read(given.double()), given) == []
    assert said(read(outlier), outlier) == []


@pytest.mark.parametrize("read", READ.values(), ids=READ)
def test_rounding_is_no_difference(read):
    given = table() + 2
    given[:, 1] = 1 / 3  # a column that is the same everywhere
    given[7] = 0
    assert said(read(given.half()), given) == []
    assert said(read(given.half().float()), given) == []
    assert said(read(given.bfloat16()), given) == []
    unit = F.normalize(given)
    assert said(read(F.normalize(unit)), unit) == []


def test_rows_are_compared_all_over_the_catalog():
    given = table()
    changed = given.clone()
    changed[1200:] += 1  # behind the first thousand
    assert said(changed, given) == [OtherFeaturesWarning]


def test_an_item_without_the_modality_excuses_its_own_rows_only():
    present = torch.arange(N) != BATCH[3]
    given = table()
    given[~present] = 0
    assert said(F.normalize(given[BATCH]), given, present=present) == [OtherFeaturesWarning]
    own = given[BATCH].clone()
    own[::7] = 9.0  # what a recommender may hold for those
    assert said(own, given, present=present) == []
    assert said(own, given) == [ForeignRowsWarning]
    # Where most lack it, 16 rows may well be all of such items.
    few = torch.arange(N) % 10 == 0
    given[~few] = 0
    own[:] = 9.0
    assert said(own, given, present=few) == []


def test_features_that_the_recommender_trains_are_told_at_once():
    given = table()
    trained = given.clone().requires_grad_()
    for read in READ.values():
        problem = problem_of(read(trained), given)
        assert problem.category is OtherFeaturesWarning
        assert re.search("the recommender trains them.*dotted path", problem.message)
        assert said(read(trained), trained) == []  # read live
        assert said(read(given), trained) == []
    with_users = torch.cat([torch.randn(5, WIDTH, requires_grad=True), given])
    assert said(with_users, given) == [ForeignRowsWarning]  # only users are trained


def test_the_same_rows_in_another_order_are_other_features():
    given = table()
    problem = problem_of(given.flip(0), given)
    assert problem.category is OtherFeaturesWarning
    assert "the rows of features['image'] in another order" in problem.message
    # As many rows as there are items may also be a large batch, with repeats.
    assert said(given[BATCH.repeat(N // len(BATCH))], given) == []
    assert said(given.flip(0), given, batch=torch.arange(N)) == []


def test_a_layer_that_reads_none_of_the_batchs_items_is_told():
    given = table()
    problem = problem_of(given[BATCH + 50], given)
    assert problem.category is OtherItemsWarning
    assert "of which it read none of 16 looked at" in problem.message
    # It may read others too (neighbors in a graph, negatives of its own), in any order of calls.
    others = given[torch.cat([BATCH + 50, BATCH + 100])]
    assert said(torch.cat([others, given[BATCH[:10]]]), given) == []
    assert said(others, given, read=[others, given[BATCH]]) == []
    assert said(others, given, read=given.split(300)) == []
    assert said(others, given, read=[others, given[BATCH].view(5, 10, WIDTH)]) == []
    # What was read for the batch may not be known: in a loop of one's own, or in many calls.
    assert said(others, given, read=[]) == []
    half = given.half()
    assert said(half[BATCH + 50], given, read=[half[BATCH + 50], half[BATCH]]) == []
    same = given.clone()
    same[BATCH + 50] = same[BATCH]  # items with the same features cannot be told apart
    assert said(same[BATCH + 50], same) == []
    absent = torch.ones(N, dtype=torch.bool)
    absent[BATCH] = False  # and of items that lack the modality nothing is to be read
    assert said(given[BATCH + 50], given, present=absent) == []


def test_zeros_stand_for_padding_beside_others():
    given = table()
    padded = given[BATCH].clone()
    padded[::2] = 0
    assert said(padded, given) == []
    assert said(torch.cat([torch.zeros(1, WIDTH), given]), given) == []
    padded[1::2] += 9
    assert said(padded, given) == [OtherFeaturesWarning]
    # A table that was never filled, or by half, is none of padding.
    for zeros in (torch.zeros(7, WIDTH), torch.zeros(N, WIDTH), torch.zeros(N + 1, WIDTH)):
        assert said(zeros, given) == [OtherFeaturesWarning]
    half = given.clone()
    half[::2] = 0
    problem = problem_of(half, given)
    assert problem.category is OtherFeaturesWarning
    assert "other rows than features['image'] (largest difference" in problem.message


@pytest.mark.parametrize("read", READ.values(), ids=READ)
def test_nan_that_the_recommender_reads_is_an_error(read):
    given, present = table(), torch.arange(N) % 5 != 0
    given[~present] = float("nan")
    rows = read(given)
    bad = int(rows.isnan().any(-1).sum())
    text = f"The layer was given NaN in {bad} of {len(rows)} rows.*"
    with pytest.raises(ValueError, match=text + "Fill the rows of the table"):
        problem_of(rows, given.nan_to_num(), present=present)
    with pytest.raises(ValueError, match=text + "has training diverged"):
        problem_of(read(given.requires_grad_()), given.detach().nan_to_num(), present=present)
