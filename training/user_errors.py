"""Which errors are a user's to mend: they are shown as one line, all others are our bugs."""

from model.artifact_error import ArtifactError
from model.config import ConfigError
from model.ngram_description import NgramError
from model.tokenizer import TokenizerError
from model.weights import WeightsError
from training.checkpoint import CheckpointError
from training.config import ConfigurationError
from training.corpus import CorpusError
from training.dataset import DatasetError
from training.not_finite import NotFiniteError
from training.parallel import ParallelError
from training.progress.metrics_port import MetricsPortError
from training.publishing import PublishingError
from training.run_directory import RunDirectoryError
from training.run_log.log import EventLogError

__all__ = ["is_user_error"]

_USER_ERRORS = (
    ArtifactError,
    CheckpointError,
    ConfigError,
    ConfigurationError,
    CorpusError,
    DatasetError,
    EventLogError,
    MetricsPortError,
    NgramError,
    NotFiniteError,
    OSError,
    ParallelError,
    PublishingError,
    RunDirectoryError,
    TokenizerError,
    WeightsError,
)


def is_user_error(error: Exception) -> bool:
    """Whether the error's text is a line made for the user."""
    return isinstance(error, _USER_ERRORS)
