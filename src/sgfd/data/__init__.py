"""Datasets: readers, splits, training batches and a synthetic catalog."""

from sgfd.data._cold import ColdSplit as ColdSplit
from sgfd.data._cold import hold_out_items as hold_out_items
from sgfd.data._dataset import Dataset as Dataset
from sgfd.data._prefetch import prefetched as prefetched
from sgfd.data._sampling import PairSampler as PairSampler
from sgfd.data._split import hold_out as hold_out
from sgfd.data._synthetic import synthetic_catalog as synthetic_catalog
