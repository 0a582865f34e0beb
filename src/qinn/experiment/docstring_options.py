"""What a class says of its options in its docstring, so that a configuration need not say it again."""

import inspect
import re

_ENTRY = re.compile(r"^ {4}(\w+): (.*)$")
_SECTION = re.compile(r"^\w+:$")


def stated_options(described: type) -> dict[str, str]:
    """Return what Google-style docstrings say of each argument and attribute, on one line each.

    A class that says nothing of an argument has what the classes say that it derives from.

    Examples:
        >>> from qinn.model.baselines import LowRankFusion
        >>> stated_options(LowRankFusion)["rank"]
        'Number of rank-one terms'
    """
    stated: dict[str, str] = {}
    for one in reversed(described.__mro__):
        stated |= _entries(inspect.cleandoc(one.__doc__ or ""))
    return stated


def _entries(docstring: str) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    section, entry = "", None
    for line in docstring.splitlines():
        if _SECTION.match(line):
            section, entry = line, None
        elif section in ("Args:", "Attributes:"):
            if start := _ENTRY.match(line):
                entry = found.setdefault(start[1], [])
                entry.append(start[2])
            elif entry is not None and line.strip():
                entry.append(line.strip())
    return {name: _plain(" ".join(lines)) for name, lines in found.items()}


def _plain(text: str) -> str:
    text = re.sub(r'``"?([^`"]*)"?``', r"`\1`", text)
    # Where to read on is of use to whoever reads the class, not to whoever writes a configuration.
    return re.sub(r" \(see `qinn[^)]*\)", "", text).rstrip(".")
