"""The command `qinn` from its first moment to its exit code: which errors are one line, how interruptions end."""

import atexit
import errno
import os
import sys

from qinn.interruption import EndedBySignal, ignore_from_now_on, say, supervise, word_of

_RESUMED = frozenset({"train", "tune", "compare", "demo", "features", "sweep-absent"})
"""Commands that continue where they were interrupted; all others start again and leave nothing half-done."""


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says where a disk, or a user's part of it, is full."""


def main() -> None:
    """Run the command; a user's mistake is one line on the error stream and exit code 2.

    Interruptions are handled before anything else is imported: SIGINT ends with 130, SIGTERM with 143, SIGHUP with
    129, each after one line.
    """
    try:
        supervise(_run, _say_interrupted)
    except EndedBySignal as end:
        # All is unwound; what is left is to take heavy libraries down, which can take seconds. Not ours to cut short
        # where another program called this.
        if getattr(sys.modules["__main__"], "main", None) is main:
            os._exit(int(end.code or 0))
        raise
    finally:
        atexit.unregister(ignore_from_now_on)
        atexit.register(ignore_from_now_on)


def _run() -> None:
    from qinn.cli.application import app
    from qinn.cli.output import StoreProgress, note, print_error
    from qinn.cli.renamed import with_names_of_now
    from qinn.data.stores.progress import watched
    from qinn.errors import QinnError
    from qinn.resources import resource_error

    try:
        arguments, renamed = with_names_of_now(sys.argv[1:])
        for text in renamed:
            note(f"note: {text}")
        with watched(StoreProgress()):
            app(args=arguments)
    except QinnError as error:
        print_error(str(error))
        for line in getattr(error, "__notes__", ()):
            note(f"  {line}")
        sys.exit(2)
    except SystemExit as end:
        # What typer makes of an interruption that a library raised.
        if end.code == 130:
            print_error(_interrupted("interrupted"))
        raise
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            print_error(
                f"`{str(error.filename)[:80]}…` is too long for the name of a file; choose a shorter one."
            )
            sys.exit(2)
        remedy = "; free space and repeat the command" if error.errno in _FULL else ""
        print_error(f"{error.filename or 'a file'}: {error.strerror or error}{remedy}.")
        sys.exit(2)
    except Exception as error:
        sentence = resource_error(error)
        if sentence is None:
            raise
        print_error(sentence)
        sys.exit(2)


def _say_interrupted(number: int) -> None:
    say(_interrupted(word_of(number)))


def _interrupted(word: str) -> str:
    command = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    aim = "to continue where it stopped" if command in _RESUMED else "to start it again"
    return f"{word}; repeat the command {aim}."
