"""Options and commands of earlier versions, which mean what they are called now, with a note."""

from collections.abc import Sequence

_COMMANDS = {"sweep-missing": "sweep-absent"}
_OPTIONS = {
    "--missing": "--absent",
    "--missing-rate": "--absent-rate",
    "--missing-seed": "--absent-seed",
    "--missing-steps": "--absent-steps",
}
_OF_IMPORTS = {"--missing": "--absent-features"}
_VALUES_OF_IMPORTS = {"absent": "allow"}


def with_names_of_now(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the arguments of a command line with the names of now, and a note for each that was renamed.

    Examples:
        >>> with_names_of_now(["evaluate", "runs/a", "--missing=audio"])
        (['evaluate', 'runs/a', '--absent=audio'], ['`--missing` is called `--absent` now'])
        >>> with_names_of_now(["data", "import", "table", "t.csv", "--missing", "absent"])[0][-2:]
        ['--absent-features', 'allow']
    """
    imports = list(arguments[:2]) == ["data", "import"]
    options = {**_OPTIONS, **_OF_IMPORTS} if imports else _OPTIONS
    found: list[str] = []
    notes: list[str] = []
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        now = options.get(name) or (_COMMANDS.get(name) if place == 0 else None)
        if now is not None:
            notes.append(f"`{name}` is called `{now}` now")
            value = _VALUES_OF_IMPORTS.get(value, value) if imports else value
            found.append(now + equals + value)
        elif imports and place and arguments[place - 1] == "--missing":
            found.append(_VALUES_OF_IMPORTS.get(argument, argument))
        else:
            found.append(argument)
    return found, notes
