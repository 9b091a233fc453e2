"""What can go wrong, each by a name; docs/troubleshooting.md has a section of each name."""


class ProjectionError(ValueError):
    """``projections=`` does not fit, or a modality's layer is missing or not certain.

    The message of the last two lists every candidate.
    """

    def __str__(self) -> str:
        return _pointed(self, super().__str__())


class NoLayerError(ProjectionError):
    """No layer reads a modality, or none is where ``projections=`` says."""


class AmbiguousLayerError(ProjectionError):
    """Several layers could be the one that reads a modality."""


class DistillationWarning(UserWarning):
    """Distillation runs, but acts on less than it seems to."""

    def __str__(self) -> str:
        return _pointed(self, super().__str__())


class ForeignRowsWarning(DistillationWarning):
    """A student's layer is given rows that are not items, users' say."""


class OtherFeaturesWarning(DistillationWarning):
    """A student's layer is given other features than ``distill`` was."""


class OtherItemsWarning(DistillationWarning):
    """A student's layer is given other items than the distillation loss is told of."""


class UnusedStudentWarning(DistillationWarning):
    """The recommender never calls a student."""


class NoGradientWarning(DistillationWarning):
    """The recommendation loss sends a student no gradient."""


class NoDistillationWarning(DistillationWarning):
    """The recommender is trained, and no distillation loss is taken."""


class IdleTeacherWarning(DistillationWarning):
    """The students train and the teacher, which is not frozen, does not."""


class CachedScoresWarning(DistillationWarning):
    """Scores do not follow the parameters: the recommender keeps old ones. Of ``check_scores``."""


def _pointed(problem: ProjectionError | DistillationWarning, message: str) -> str:
    # Added when it is read, so that an error that was pickled has it once.
    return f"{message}\nSee docs/troubleshooting.md#{type(problem).__name__.lower()}"
