"""Ranking metrics, all-ranking evaluation and paired significance tests."""

from sgfd.evaluation._baselines import item_knn as item_knn
from sgfd.evaluation._baselines import popularity as popularity
from sgfd.evaluation._cold import ColdEvaluation as ColdEvaluation
from sgfd.evaluation._cold import evaluate_cold as evaluate_cold
from sgfd.evaluation._compare import Comparison as Comparison
from sgfd.evaluation._compare import compare as compare
from sgfd.evaluation._content import content_profile as content_profile
from sgfd.evaluation._evaluate import Evaluation as Evaluation
from sgfd.evaluation._evaluate import evaluate as evaluate
from sgfd.evaluation._metrics import ranking_metrics as ranking_metrics
from sgfd.evaluation._prior import with_popularity as with_popularity
from sgfd.evaluation._release import FullAccuracy as FullAccuracy
from sgfd.evaluation._release import bm3_ndcg as bm3_ndcg
from sgfd.evaluation._release import bm3_release_metrics as bm3_release_metrics
from sgfd.evaluation._release import grcn_full_accuracy as grcn_full_accuracy
from sgfd.evaluation._release import micro_recall as micro_recall
from sgfd.evaluation._release import retrieved_ndcg as retrieved_ndcg
from sgfd.evaluation._table import table as table
