"""Every error a user can meet: one line that says what is wrong and what to do."""


class LedError(Exception):
    """Base of all foreseeable errors; the command line shows its message without a traceback."""

    exit_status = 1


class UsageError(LedError):
    """The command was called with options that do not fit each other or the input."""

    exit_status = 2


class NoRawsError(UsageError):
    """A folder holds no raws."""


class DeviceError(UsageError):
    """A device does not compute what it should: no photo can be made on it."""


class RawError(LedError):
    """A raw file cannot be read, holds no picture, or has a sensor that is not supported."""


class MetadataError(LedError):
    """A tag that the work needs (ISO, exposure time) is missing or makes no sense."""


class ModelError(LedError):
    """A model file is missing, damaged, or not what it says it is."""


class NoModelError(ModelError, UsageError):
    """No model has the name that was given."""


class DownloadError(LedError):
    """A file cannot be fetched: no network, a server that refuses, a file that is not the one."""


class OutputError(LedError):
    """An output cannot be written."""


class ExistsError(OutputError, FileExistsError):
    """A file exists and is not to be replaced."""


class TrainingError(LedError):
    """Training cannot start or go on: no data, a bad checkpoint, a loss that is not a number."""


class PairError(LedError):
    """A list of pairs, or a pair of shots, cannot be used."""


def os_reason(error: OSError) -> str:
    """Return why the system refused, as the end of a message."""
    return (error.strerror or str(error)).lower()


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text without its full stop; else what kind it is."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def as_led_error(error: LedError | MemoryError, subject: object) -> LedError:
    """Return the error for a file that cannot be read, or needs too much memory."""
    return error if isinstance(error, LedError) else memory_error(subject)


def memory_error(subject: object) -> LedError:
    """Return the error for a file that needs more memory than there is."""
    return LedError(f"{subject}: needs more memory than there is: close other programs")
