"""Semantic-guided feature distillation for multimodal recommendation.

``distill`` puts students into a recommender; ``SemanticTeacher``, ``FeatureStudent`` and
``SGFDLoss`` are the parts, for a training loop of one's own. Reference recommenders, datasets,
metrics and a trainer are in ``sgfd.backbones``, ``sgfd.data``, ``sgfd.evaluation`` and
``sgfd.training``, which are loaded when used; ``sgfd.release`` has the settings of the authors'
released code.
"""

from sgfd._distill import distill as distill
from sgfd._distilled import Distilled as Distilled
from sgfd._labels import EncodedLabels as EncodedLabels
from sgfd._labels import encode_labels as encode_labels
from sgfd._loss import SGFDLoss as SGFDLoss
from sgfd._loss import SGFDTerms as SGFDTerms
from sgfd._projections import ProjectionError as ProjectionError
from sgfd._projections import find_projections as find_projections
from sgfd._student import FeatureStudent as FeatureStudent
from sgfd._teacher import Semantics as Semantics
from sgfd._teacher import SemanticTeacher as SemanticTeacher
from sgfd._watch import DistillationWarning as DistillationWarning

__version__ = "0.1.0"
