"""Optional packages: which extra of qinn brings which, and the sentence that says so where one is missing.

The base installation computes with quantum states and predicts with trained runs. Whatever else imports is asked for
here, with `needs` around the import or with `require` before a long piece of work.
"""

from collections.abc import Collection, Mapping
from importlib.util import find_spec
from types import TracebackType
from typing import Final

from qinn.errors import MissingPackageError

EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {
    "data": ("h5py", "scipy"),
    "evaluate": ("scipy",),
    "train": ("scipy", "tensorboard"),
    "report": ("jinja2", "matplotlib", "scipy"),
    "text": ("tokenizers", "transformers"),
    "lexicon": ("vaderSentiment",),
    "sklearn": ("sklearn",),
    "frames": ("pandas",),
    "tune": ("optuna", "sqlalchemy"),
    "qutip": ("qutip",),
    "clips": ("ai_edge_litert", "av", "faster_whisper", "PIL"),
    "egemaps": ("opensmile",),
    "serve": ("fastapi", "uvicorn"),
    "ray": ("ray",),
}
"""Extra → what it makes importable; `pyproject.toml` has the same under the packages' own names."""


def require(*extras: str, what: str, only: Collection[str] | None = None) -> None:
    """Make sure that what some extras bring is installed, without importing it.

    Args:
        extras: Names of extras.
        what: Who needs them, as the sentence begins.
        only: Which of their packages are needed, by the names that are imported; all if None.

    Raises:
        MissingPackageError: Naming what is missing and the line that installs it.

    Examples:
        >>> require("train", what="`qinn train`")
    """
    missing = [
        name
        for name in dict.fromkeys(_packages(extras))
        if (only is None or name in only) and not _is_installed(name)
    ]
    if missing:
        raise _missing(what, missing, extras)


def needs(extra: str, what: str) -> "_Imports":
    """Return what surrounds imports of optional packages: where one is missing, a sentence says what installs it.

    Args:
        extra: The extra that brings what is imported inside.
        what: Who needs it, as the sentence begins.

    Raises:
        MissingPackageError: In place of the import error.

    Examples:
        >>> with needs("evaluate", "A p-value"):
        ...     from scipy import stats
    """
    return _Imports(extra, what)


class _Imports:
    # A generator would tell type checkers that it may swallow the error, and what is imported may be unbound.
    def __init__(self, extra: str, what: str) -> None:
        self.extra = extra
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, ImportError):
            return
        name = (error.name or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and name in EXTRAS[self.extra]:
            raise _missing(self.what, [name], (self.extra,)) from error
        # Installed, but broken, or without a package of its own.
        reason = " ".join(str(error).split()).rstrip(".")
        raise MissingPackageError(
            f"{self.what} needs packages that cannot be imported ({reason}); "
            f"`{_command((self.extra,))}` installs them."
        ) from error


def _packages(extras: tuple[str, ...]) -> list[str]:
    return [name for extra in extras for name in EXTRAS[extra]]


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _missing(what: str, names: list[str], extras: tuple[str, ...]) -> MissingPackageError:
    listed = ", ".join(f"`{name}`" for name in names)
    one = len(names) == 1
    return MissingPackageError(
        f"{what} needs the package{'' if one else 's'} {listed}, which {'is' if one else 'are'} not installed; "
        f"`{_command(extras)}` installs what it needs.",
        name=names[0],
    )


def _command(extras: tuple[str, ...]) -> str:
    return f"pip install 'qinn[{','.join(extras)}]'"
