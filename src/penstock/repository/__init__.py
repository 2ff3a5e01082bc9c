"""Model repositories on disk: found, read, checked, loaded, and swapped while they serve.

The way of a model: ``layout`` (folders) -> ``config_file`` (config.pbtxt) -> ``completion`` (what
the model file tells) -> ``validation`` (a ModelSpec) -> ``loader`` (a version that computes) ->
``model_repository`` (what is served, and when that changes).
"""

from penstock.repository.errors import (
    ControlModeError,
    InvalidConfigError,
    LoadFailedError,
    ModelNotFoundError,
    ModelUnavailableError,
    RepositoryError,
    UnsupportedError,
)
from penstock.repository.loader import LoadedVersion, load_path
from penstock.repository.model_repository import ModelRepository
from penstock.repository.table import IndexEntry, RepositoryOptions

__all__ = [
    "ControlModeError",
    "IndexEntry",
    "InvalidConfigError",
    "LoadFailedError",
    "LoadedVersion",
    "ModelNotFoundError",
    "ModelRepository",
    "ModelUnavailableError",
    "RepositoryError",
    "RepositoryOptions",
    "UnsupportedError",
    "load_path",
]
