"""Every error that photoage raises on purpose; each class carries its exit code."""


class PhotoageError(Exception):
    """Base of all photoage errors. The message is one line and names the file and the cause.

    A field of the caller's options is named in backticks, as `min_age`.
    """

    exit_code = 1


class UsageError(PhotoageError):
    """The request itself makes no sense (a bad option, filter or argument)."""

    exit_code = 2


# Kinds of a DecodeError that lie not in the photo: the system refused it (permissions, a failing drive, a
# stale mount), a package is missing, or photoage is at fault. The next scan tries such photos again.
PASSING_KINDS = frozenset({"unreadable", "no-plugin", "internal"})


class DecodeError(PhotoageError):
    """One photo could not be read. `kind` is a short stable word, such as `truncated`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type["DecodeError"], tuple[str, str]]:
        # The default reduction passes only `args`, which would lose `kind` between processes.
        return (DecodeError, (self.kind, str(self)))


def missing_package(what: str, package: str) -> DecodeError:
    """The error of a photo in a format for which a package is not installed."""
    return DecodeError("no-plugin", f"{what}, which needs the package {package}: pip install {package}")


class DetectorError(PhotoageError):
    """The face detector is missing, altered or unusable."""


class DeviceError(PhotoageError):
    """The requested device (GPU) is not really available."""


class CheckpointError(PhotoageError):
    """An age-model checkpoint or start-weights file is missing, altered or unusable."""


class EngineError(PhotoageError):
    """What runs the stages of a scan (a Ray cluster) is not there or has failed."""


class DataError(PhotoageError):
    """A training or evaluation data set is missing or malformed."""


class DatabaseError(PhotoageError):
    """The photoage database cannot be opened, read or written."""


class DatabaseLockedError(DatabaseError):
    """Another process holds the database's write lock."""


class SchemaError(DatabaseError):
    """The database's schema is not the one this version of photoage works with."""


class LibraryError(PhotoageError):
    """A library root given to a scan is not there."""
