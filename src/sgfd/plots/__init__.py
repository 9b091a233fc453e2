"""Pictures of what distillation did (extra ``viz``: matplotlib and scikit-learn).

Every function draws on the Axes it is given, or on new ones, and returns what it drew on; saving
and showing are the caller's. Classes and runs differ by color *and* by marker or line style, in
the Okabe-Ito palette, so that the pictures survive grayscale and color blindness.
"""

from sgfd.plots._accuracy import ClassAccuracy as ClassAccuracy
from sgfd.plots._accuracy import class_accuracy as class_accuracy
from sgfd.plots._agreement import neighbor_agreement as neighbor_agreement
from sgfd.plots._classes import plot_class_accuracy as plot_class_accuracy
from sgfd.plots._features import plot_feature_maps as plot_feature_maps
from sgfd.plots._features import plot_features as plot_features
from sgfd.plots._neighbors import plot_neighbors as plot_neighbors
from sgfd.plots._runs import plot_comparison as plot_comparison
from sgfd.plots._runs import plot_curves as plot_curves
from sgfd.plots._terms import plot_terms as plot_terms
