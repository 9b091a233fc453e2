"""Reference recommenders, each usable plain and under ``sgfd.distill``."""

from sgfd._batch import Batch as Batch
from sgfd._top_items import Recommendations as Recommendations
from sgfd._top_items import Vectors as Vectors
from sgfd.backbones._base import Recommender as Recommender
from sgfd.backbones._bm3 import BM3 as BM3
from sgfd.backbones._grcn import GRCN as GRCN
from sgfd.backbones._grcn_steps import concat_fusion as concat_fusion
from sgfd.backbones._grcn_steps import id_fusion as id_fusion
from sgfd.backbones._grcn_steps import mean_fusion as mean_fusion
from sgfd.backbones._lazy_adam import LazyAdam as LazyAdam
from sgfd.backbones._maml import MAML as MAML
from sgfd.backbones._maml_attention import MetricAttention as MetricAttention
from sgfd.backbones._maml_terms import clip_rows as clip_rows
from sgfd.backbones._maml_terms import covariance_penalty as covariance_penalty
from sgfd.backbones._maml_terms import rank_weighted_hinge as rank_weighted_hinge
from sgfd.backbones._maml_terms import weighted_distance as weighted_distance
from sgfd.backbones._vbpr import VBPR as VBPR
