"""A task of a grid as a process, ``python -m qinn.experiment.grid_process FOLDER INDEX``: see `experiment.grid`."""

import sys

from qinn.interruption import say, supervise, word_of

__all__ = ["main"]


def main() -> None:
    """Do a task; exit with 2 after one line where it fails, and as signals ask for."""
    supervise(
        _do,
        lambda number: say(f"{word_of(number)}; the task goes on where it stopped when it is done again."),
    )


def _do() -> None:
    from qinn.errors import QinnError
    from qinn.experiment.grid import Grid
    from qinn.resources import resource_error

    if len(sys.argv) != 3 or not sys.argv[2].isdecimal():
        say("A task is named by the folder of `grid.json` and its number, as in `FOLDER 0`.")
        sys.exit(2)
    place, index = sys.argv[1:]
    try:
        Grid.read(place).perform(int(index))
    except Exception as error:
        sentence = str(error) if isinstance(error, QinnError) else resource_error(error)
        if sentence is None:
            raise
        say(sentence)
        sys.exit(2)


if __name__ == "__main__":
    main()
