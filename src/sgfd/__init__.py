"""Semantic-guided feature distillation for multimodal recommendation.

``distill`` puts students into a recommender; ``SemanticTeacher``, ``FeatureStudent`` and
``SGFDLoss`` are the parts, for a training loop of one's own. Reference recommenders, datasets,
metrics and a trainer are in ``sgfd.backbones``, ``sgfd.data``, ``sgfd.evaluation`` and
``sgfd.training``, which are loaded when used; ``sgfd.release`` has the settings of the authors'
released code.
"""

from importlib import import_module
from types import ModuleType

from sgfd._behavior import behavior_features as behavior_features
from sgfd._chain import hidden_widths as hidden_widths
from sgfd._check_scores import check_scores as check_scores
from sgfd._distill import distill as distill
from sgfd._distilled import Distilled as Distilled
from sgfd._hierarchy import Hierarchy as Hierarchy
from sgfd._hierarchy import hierarchy as hierarchy
from sgfd._label_features import label_features as label_features
from sgfd._labels import EncodedLabels as EncodedLabels
from sgfd._labels import balanced_class_weights as balanced_class_weights
from sgfd._labels import encode_labels as encode_labels
from sgfd._loss import SGFDLoss as SGFDLoss
from sgfd._loss import SGFDTerms as SGFDTerms
from sgfd._multilabel import bernoulli_kl as bernoulli_kl
from sgfd._multilabel import binary_cross_entropy as binary_cross_entropy
from sgfd._pretrain import TeacherHistory as TeacherHistory
from sgfd._pretrain import pretrain_teacher as pretrain_teacher
from sgfd._problems import AmbiguousLayerError as AmbiguousLayerError
from sgfd._problems import CachedScoresWarning as CachedScoresWarning
from sgfd._problems import DistillationWarning as DistillationWarning
from sgfd._problems import ForeignRowsWarning as ForeignRowsWarning
from sgfd._problems import IdleTeacherWarning as IdleTeacherWarning
from sgfd._problems import NoDistillationWarning as NoDistillationWarning
from sgfd._problems import NoGradientWarning as NoGradientWarning
from sgfd._problems import NoLayerError as NoLayerError
from sgfd._problems import OtherFeaturesWarning as OtherFeaturesWarning
from sgfd._problems import OtherItemsWarning as OtherItemsWarning
from sgfd._problems import ProjectionError as ProjectionError
from sgfd._problems import UnusedStudentWarning as UnusedStudentWarning
from sgfd._projections import find_projections as find_projections
from sgfd._pseudo_labels import PseudoLabels as PseudoLabels
from sgfd._pseudo_labels import pseudo_labels as pseudo_labels
from sgfd._student import FeatureStudent as FeatureStudent
from sgfd._student import paper_student as paper_student
from sgfd._teacher import Semantics as Semantics
from sgfd._teacher import SemanticTeacher as SemanticTeacher
from sgfd._terms import classification_loss as classification_loss
from sgfd._terms import cross_entropy as cross_entropy
from sgfd._terms import feature_loss as feature_loss
from sgfd._terms import kl_divergence as kl_divergence
from sgfd._terms import response_loss as response_loss
from sgfd._terms import squared_distance as squared_distance

__version__ = "0.1.0"

_SUBPACKAGES = (
    "backbones",
    "data",
    "distributed",
    "evaluation",
    "export",
    "graph",
    "plots",
    "release",
    "training",
)


def __getattr__(name: str) -> ModuleType:
    """Subpackages on first use: some need what ``import sgfd`` does not load."""
    if name in _SUBPACKAGES:
        return import_module(f"sgfd.{name}")
    raise AttributeError(f"module 'sgfd' has no attribute {name!r}")
