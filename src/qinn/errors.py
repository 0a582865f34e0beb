"""Errors that a user can act on: each message says what, where and what to do, in one sentence.

The command line prints any of them as one line and exits with code 2.
"""


class QinnError(Exception):
    """Base class of every error that qinn raises on purpose.

    A message that ends with a sentence of its own, quoted from another error, keeps one full stop.

    Examples:
        >>> str(DataError("`f` is damaged: it has no end.."))
        '`f` is damaged: it has no end.'
    """

    def __init__(self, *args: object, **fields: object) -> None:
        if args and isinstance(args[0], str):
            args = (_with_one_stop(args[0]), *args[1:])
        super().__init__(*args, **fields)


def _with_one_stop(message: str) -> str:
    text = message.rstrip()
    return text.rstrip(".") + "." if text.endswith("..") else text


class ArgumentError(QinnError, ValueError):
    """An argument has a value, type or shape that the function cannot take."""


class DataError(QinnError):
    """A data file or store is missing, damaged, unsafe or contradicts itself."""


class ClipError(DataError):
    """A clip cannot be read, or is beyond a limit; others beside it may be well."""


class ConfigError(QinnError):
    """A configuration has an unknown key or an impossible value."""


class CheckpointError(QinnError):
    """A checkpoint or run folder is missing, damaged or belongs to another model or data set."""


class MissingPackageError(QinnError, ModuleNotFoundError):
    """An optional package is not installed; the message has the line that installs it.

    Examples:
        >>> issubclass(MissingPackageError, ImportError)
        True
    """


class OutputError(QinnError):
    """A result cannot be written, or its place is taken by something that must not be lost."""
