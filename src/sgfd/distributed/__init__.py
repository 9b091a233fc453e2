"""Several processes as one: a batch in shares, and validation of all users by all.

For a loop of your own under ``torchrun``; ``sgfd.training.fit`` does the same inside. Nothing here
acts by itself: with ``torch.distributed`` alone, each process takes the means of what it has.
"""

from sgfd.distributed._evaluate import joined_evaluation as joined_evaluation
from sgfd.distributed._loss import joined_counts as joined_counts
from sgfd.distributed._loss import joined_loss as joined_loss
from sgfd.distributed._share import Share as Share
from sgfd.distributed._share import take_share as take_share
