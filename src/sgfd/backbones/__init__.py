"""Reference recommenders, each usable plain and under ``sgfd.distill``."""

from sgfd._batch import Batch as Batch
from sgfd.backbones._base import Recommendations as Recommendations
from sgfd.backbones._base import Recommender as Recommender
from sgfd.backbones._bm3 import BM3 as BM3
from sgfd.backbones._grcn import GRCN as GRCN
from sgfd.backbones._grcn_steps import concat_fusion as concat_fusion
from sgfd.backbones._grcn_steps import id_fusion as id_fusion
from sgfd.backbones._grcn_steps import mean_fusion as mean_fusion
from sgfd.backbones._vbpr import VBPR as VBPR
