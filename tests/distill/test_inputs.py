"""Whether a layer is given the features that distill() was: what is told apart, and what is not."""

import warnings

import pytest
import torch
import torch.nn.functional as F

from sgfd import ForeignRowsWarning, OtherFeaturesWarning
from sgfd._inputs import Catalog, check_input

N, WIDTH = 1500, 6
BATCH = torch.arange(40, 90)


def table(seed=3):
    return torch.randn(N, WIDTH, generator=torch.Generator().manual_seed(seed))


def catalog(given, present=None, batch=BATCH):
    def rows(items):
        return given[items], None if present is None else present[items]

    return Catalog("image", rows, len(given), batch)


def said(value, given, **options):
    """The classes of the warnings, and whether it says that the features are others."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        other = check_input(value, "The layer", catalog(given, **options))
    assert other == any(w.category is OtherFeaturesWarning for w in caught)
    return [w.category for w in caught]


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
        with pytest.warns(OtherFeaturesWarning, match="the recommender trains them.*dotted path"):
            assert check_input(read(trained), "The layer", catalog(given))
        assert said(read(trained), trained) == []  # read live
        assert said(read(given), trained) == []
    with_users = torch.cat([torch.randn(5, WIDTH, requires_grad=True), given])
    assert said(with_users, given) == [ForeignRowsWarning]  # only users are trained
