r"""The settings of the authors' released code, each reachable on its own and all as one preset.

The release departs from the paper, and from itself, in ways that ``docs/two_truths.md`` lists.
Here are the parts that compute what it computes, for reproducing its numbers:

- nothing between the layers: ``SemanticTeacher(inner_activation=None)``
- no hidden layer where none fits between the widths: ``hidden_features=`` with
  ``hidden_widths(..., minimum=0)``
- cross-entropy of softmax outputs: ``SGFDLoss(classification=cross_entropy_of_probabilities)``
- mean absolute difference of softened predictions:
  ``SGFDLoss(response=mean_absolute_difference)``
- mean squared error: ``SGFDLoss(feature=mean_squared_error)``
- gradient into the teacher: ``SGFDLoss(detach_teacher=False)``

``recipe`` has, for each backbone and dataset of the paper, the weights, rates and sizes that the
release uses and the numbers that the paper reports; ``catalog`` has what the datasets hold, and
``published_metrics`` measures as the table does. ``examples/reproduce.py`` puts it all together.
"""

from sgfd.release._catalog import Catalog as Catalog
from sgfd.release._catalog import catalog as catalog
from sgfd.release._published_metrics import published_metrics as published_metrics
from sgfd.release._recipes import BM3_CLOTHING as BM3_CLOTHING
from sgfd.release._recipes import BM3_OFFICE as BM3_OFFICE
from sgfd.release._recipes import BM3_TOYS as BM3_TOYS
from sgfd.release._recipes import GRCN_CLOTHING as GRCN_CLOTHING
from sgfd.release._recipes import GRCN_OFFICE as GRCN_OFFICE
from sgfd.release._recipes import GRCN_TOYS as GRCN_TOYS
from sgfd.release._recipes import MAML_CLOTHING as MAML_CLOTHING
from sgfd.release._recipes import MAML_OFFICE as MAML_OFFICE
from sgfd.release._recipes import MAML_TOYS as MAML_TOYS
from sgfd.release._recipes import Cell as Cell
from sgfd.release._recipes import Recipe as Recipe
from sgfd.release._recipes import Weights as Weights
from sgfd.release._recipes import recipe as recipe
from sgfd.release._settings import Settings as Settings
from sgfd.release._settings import (
    cross_entropy_of_probabilities as cross_entropy_of_probabilities,
)
from sgfd.release._settings import mean_absolute_difference as mean_absolute_difference
from sgfd.release._settings import mean_squared_error as mean_squared_error
from sgfd.release._settings import settings as settings
