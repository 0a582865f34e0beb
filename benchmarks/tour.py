"""Run the tour (docs/tour.md) from its first block to its last: its Python, its configurations, its commands.

    python benchmarks/tour.py            # says which stated outputs are not what is printed
    python benchmarks/tour.py --write    # puts what is printed in their place

Numbers and the frames of tables may differ: another machine rounds otherwise. A stated line "…" stands for any lines.
"""

import argparse
import contextlib
import io
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from qinn import cli
from qinn.cli.output import console
from qinn.experiment.config import parse_config

PAGE = Path(__file__).parents[1] / "docs" / "tour.md"
# What takes minutes or data that are not here, by how its first line begins, and where else it is run.
ELSEWHERE = {
    "qinn data synthesize --task shifters": "tests/learning/test_sequence_explanations.py",
    "qinn train shifters.yaml": "likewise",
    "qinn data import table sentences.csv": "nowhere: it needs CMU-MOSI",
}
_WIDTH = 120
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```\n(?:```\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"`(\w+\.yaml)`[^`]*\Z")
_NUMBER = re.compile(r"[-−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")
_FRAME = re.compile(r"[\s┏┳┓┃┡╇┩│├┼┤└┴┘━─+|]+")


class Ran(NamedTuple):
    """A block of the page that was run: its first line, the output that the page states, and what was printed."""

    line: str
    stated: str
    printed: str

    def missing(self) -> str | None:
        """The first stated line that was not printed in its turn; None where all were."""
        lines = iter([_words(line) for line in self.printed.splitlines()])
        for line in self.stated.splitlines():
            if _words(line) and line.strip() != "…" and _words(line) not in lines:
                return line
        return None


def _words(line: str) -> list[str]:
    return _FRAME.sub(" ", _NUMBER.sub("#", line)).split()


def walk() -> Iterator[Ran]:
    """Run the blocks in the folder that is the current one, one after the other.

    Raises:
        RuntimeError: If a command fails.
    """
    text = PAGE.read_text(encoding="utf-8")
    namespace: dict[str, object] = {}
    last = Path()
    for found in _BLOCK.finditer(text):
        language, content, stated = found.groups()
        printed = ""
        if content.startswith(tuple(ELSEWHERE)):
            continue
        if language == "yaml":
            if named := _NAMED.search(text[: found.start()]):
                last = Path(named[1])
                last.write_text(content, encoding="utf-8")
            else:
                # Keys for the last one: they must be read, but are not kept.
                parse_config(
                    yaml.safe_load(last.read_text(encoding="utf-8")) | yaml.safe_load(content), "the tour"
                )
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(compile(content, str(PAGE), "exec"), namespace)
            printed = stream.getvalue()
        elif content.startswith("qinn "):
            printed = "".join(map(_command, content.replace("\\\n", " ").splitlines()))
        if stated is not None:
            yield Ran(content.splitlines()[0], stated, printed)


def _command(line: str) -> str:
    before, sys.argv = sys.argv, shlex.split(line)
    console.width = _WIDTH
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(printed):
            try:
                cli.main()
            except SystemExit as end:
                if end.code:
                    raise RuntimeError(f"`{line}` ended with {end.code}: {printed.getvalue()}") from end
    finally:
        sys.argv = before
    return "".join(f"{one.rstrip()}\n" for one in printed.getvalue().rstrip().splitlines())


def main() -> int:
    """Walk, and say or mend what is stale."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="put what is printed into the page")
    write = parser.parse_args().write
    stale = 0
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for ran in walk():
            if (line := ran.missing()) is None:
                continue
            stale += 1
            print(f"{ran.line}\n  states, but does not print (any more): {line}")
            if write:
                text = PAGE.read_text(encoding="utf-8")
                PAGE.write_text(text.replace(ran.stated, ran.printed, 1), encoding="utf-8")
    return int(stale > 0 and not write)


if __name__ == "__main__":
    sys.exit(main())
