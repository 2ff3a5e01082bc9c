"""What a repository answers when it cannot do what it was asked.

Each is a :class:`~penstock._native.engine.RequestError`, so that a client gets its code and text.
Why a model does not load is a :class:`~penstock.backends.base.LoadError` until it leaves here.
"""

from __future__ import annotations

from penstock._native.engine import RequestError

INVALID_ARGUMENT = 3
NOT_FOUND = 5
FAILED_PRECONDITION = 9
UNIMPLEMENTED = 12
UNAVAILABLE = 14


class RepositoryError(RequestError):
    """Any of the errors below."""

    status = FAILED_PRECONDITION

    def __init__(self, message: str) -> None:
        super().__init__(self.status, message)

    def __reduce__(self) -> tuple[type[RepositoryError], tuple[str]]:
        return (type(self), (self.message,))


class ModelNotFoundError(RepositoryError):
    """No repository has the model, or the version is not served."""

    status = NOT_FOUND


class ModelUnavailableError(RepositoryError):
    """The model is known but cannot be served now."""

    status = UNAVAILABLE


class LoadFailedError(RepositoryError):
    """A version that was asked for did not load; what served before still does."""


class InvalidConfigError(RepositoryError):
    """The configuration that came with a load is none."""

    status = INVALID_ARGUMENT


class ControlModeError(RepositoryError):
    """The repository's mode of control does not allow this."""


class UnsupportedError(RepositoryError):
    """Something of the protocol that Penstock does not do."""

    status = UNIMPLEMENTED
