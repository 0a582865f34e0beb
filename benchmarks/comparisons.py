"""Make the published comparisons anew: stores, trained models, records and the tables of the pages of results.

    python benchmarks/comparisons.py --list             # what there is, what it costs, how far each one is
    python benchmarks/comparisons.py --data FOLDER      # all of it (`make results`)
    python benchmarks/comparisons.py mosi ict-mmmo      # some of it

What is run is what the pages say: the line `# command:` of each configuration that has a line `# result:`, and for
its store the import of docs/data.md or of the line `# data:`. Stores lie in `stores/`, runs in `runs/`; what is there
is kept, and what was interrupted goes on where it stopped. A record goes to `benchmarks/results/NAME.json`, and the
tables between the marks of NAME on the page that the line `# result:` names, if it has them; of several sweeps each is
published, the first under NAME, the others under NAME-FOLDER, and a section with the marks of `areas` has a table of
all areas under the curves of its sweeps. All runs and records are of one commit: a tree with changes is refused, and
so are runs that another commit trained, or began, unless `--overwrite` trains them anew; a store that is there is kept,
whichever commit imported it. The preregistered study is run once, elsewhere.
"""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from checkout import ROOT, changes, git

import qinn
from qinn.errors import QinnError
from qinn.experiment import provenance
from qinn.experiment.absence_sweep import parse_factors, parse_rates
from qinn.results.documents import read_document
from qinn.results.files import write_text
from qinn.results.summary import UNKNOWN_COMMIT, VERSION
from qinn.results.sweep import FORMAT, ProtocolRecord, SweepResult, sweep_folder
from qinn.results.tables import Cell, Table, columns

QINN = [sys.executable, "-c", "import sys; sys.argv[0] = 'qinn'; from qinn.cli import main; main()"]
RECORDS = {"compare": "comparison.json", "sweep-absent": "sweep.json"}
_STORE = re.compile(r"(?<![^=:])stores/[^:#]+")
_HEADER = re.compile(r"^# (\w+): +(.*)$", re.MULTILINE)
_SECTION = re.compile(r"^## +(.+?)\s*$", re.MULTILINE)
_FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Published:
    """What is published of a comparison: its table, or a sweep over its runs.

    Attributes:
        name: What its record and marks are called.
        commands: What made it, one after the other, as words.
        folder: Where its table and record lie.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    folder: Path

    @property
    def made(self) -> Path:
        """The record as the last command leaves it."""
        return self.folder / RECORDS[self.commands[-1][1]]

    def record(self, root: Path) -> Path:
        """Where the record is published."""
        return root / "benchmarks" / "results" / f"{self.name}.json"


@dataclass(frozen=True)
class Comparison:
    """A published comparison.

    Attributes:
        name: What its configuration and folder are called.
        store: Where its samples lie.
        commands: What is run, one after the other, as words.
        page: Page of its tables.
        section: Section of that page.
        time: What its header says of the time that it takes.
    """

    name: str
    store: str
    commands: tuple[tuple[str, ...], ...]
    page: Path
    section: str
    time: str

    @property
    def folder(self) -> Path:
        """Where its runs lie."""
        return Path("runs") / self.name

    @property
    def published(self) -> tuple[Published, ...]:
        """Its table; if there are sweeps over its runs, each of these instead."""
        compare, *sweeps = self.commands
        if not sweeps:
            return (Published(self.name, (compare,), self.folder),)
        folders = [_swept(words) for words in sweeps]
        names = [self.name, *(f"{self.name}-{folder}" for folder in folders[1:])]
        return tuple(
            Published(name, (compare, words), self.folder / folder)
            for name, words, folder in zip(names, sweeps, folders, strict=True)
        )


def _swept(words: Sequence[str]) -> str:
    """Folder in which a sweep leaves what it makes."""
    pairs = [(name, value) for name, value in pairwise(words) if name.startswith("--")]
    said, factors = dict(pairs), [value for name, value in pairs if name == "--factor"]
    protocol = ProtocolRecord(
        name=said.get("--protocol", "whole"),
        pattern=said.get("--pattern"),
        burst=float(said["--burst"]) if "--burst" in said else None,
        factors=parse_factors(factors),
    )
    rates = parse_rates(said["--rates"]) if "--rates" in said else None
    return sweep_folder(protocol, rates=rates, split=said.get("--split", "test"))


def comparisons(root: Path) -> dict[str, Comparison]:
    """Name → what the header of its configuration describes."""
    found = {}
    for path in sorted((root / "configs").glob("*.yaml")):
        try:
            text = path.read_text(encoding="utf-8")
            header = dict(_HEADER.findall(text))
            if "result" not in header:
                continue
            commands = [shlex.split(one.removeprefix("then ")) for one in header["command"].split("; ")]
            page, _, section = header["result"].partition(",")
            one = Comparison(
                path.stem,
                str(yaml.safe_load(text)["data"]["store"]),
                tuple(tuple(words) for words in commands),
                Path(page),
                section.strip(' "'),
                header.get("time", "not recorded"),
            )
            is_known = all(len(words) > 2 and words[1] in RECORDS for words in one.commands)
            if not is_known or not all(each.made for each in one.published):
                raise ValueError(
                    f"known are {', '.join(f'qinn {name}' for name in RECORDS)}, each of something"
                )
        except (KeyError, TypeError, ValueError, QinnError, yaml.YAMLError) as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise SystemExit(
                f"error: {path} has a line `# result:`, but no line `# command:` or no contents that can be read "
                f"({said}); mend it."
            ) from None
        found[path.stem] = one
    return found


def content(path: Path) -> dict[str, Any]:
    """What a record or a run says; nothing where it is missing, or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def named_commits(said: object) -> list[str]:
    """The commits that a record or a fold names; an unknown one where it names none, or what is no name."""
    if isinstance(said, list) and said:
        return [one if isinstance(one, str) else UNKNOWN_COMMIT for one in said]
    return [UNKNOWN_COMMIT]


def cost(record: Path) -> str | None:
    """Time of one core that the trainings of a record took; None where it does not say."""
    models = content(record).get("models")
    if not isinstance(models, dict) or not models:
        return None
    minutes = 0.0
    for one in models.values():
        if not isinstance(one, dict):
            return None
        if one.get("predictions"):
            continue  # trained elsewhere: predictions were given
        seconds, runs = one.get("cpu_seconds"), one.get("runs")
        if not isinstance(seconds, int | float) or not isinstance(runs, list | dict) or not runs:
            return None
        minutes += seconds * len(runs) / 60
    if minutes < 100:
        return f"{minutes:.0f} CPU minutes" if minutes > 1.5 else f"{60 * minutes:.0f} CPU seconds"
    return f"{minutes / 60:.1f} CPU hours"


def imports(root: Path) -> dict[str, tuple[str, ...]]:
    """Store → the command that makes it, as the page on data and the headers of the configurations state it."""
    page = (root / "docs" / "data.md").read_text(encoding="utf-8")
    headers = [path.read_text(encoding="utf-8") for path in (root / "configs").glob("*.yaml")]
    lines = [line for block in _FENCE.findall(page) for line in block.replace("\\\n", " ").splitlines()]
    lines += [dict(_HEADER.findall(text)).get("data", "") for text in headers]
    found = {}
    for line in lines:
        if line.startswith("qinn data ") and "--to stores/" in line:
            words = shlex.split(line)
            found[words[words.index("--to") + 1]] = tuple(words)
    return found


def run(words: Sequence[str], folder: Path) -> None:
    """Run a command of qinn; its progress is seen, and where it fails, this ends with it."""
    print("$", shlex.join(words), flush=True)
    code = subprocess.run([*QINN, *words[1:]], cwd=folder, check=False).returncode
    if code:
        raise SystemExit(code)


def make_store(store: str, root: Path, data: Path | None) -> None:
    """Import a store that is not there, once what it is made from is: other stores, or files written of them."""
    if (root / store).exists():
        return
    if store not in imports(root):
        raise SystemExit(f"error: neither docs/data.md nor a configuration says how `{store}` is made.")
    words = imports(root)[store]
    place = root
    if words[2] == "import":
        if data is None:
            raise SystemExit(
                f"error: `{store}` is not there; say with `--data` in which folder its data lie."
            )
        place = data
    for needed in {found for word in words for found in _STORE.findall(word)} - {store}:
        make_store(needed, root, data)
    run([_STORE.sub(lambda found: str(root / found[0]), word) for word in words], place)


def publish(one: Published, page: Path, time: str, root: Path) -> None:
    """Renew a record and, between its marks, what the page shows of it."""
    record = one.record(root)
    write_text(record, (root / one.made).read_text(encoding="utf-8"))
    if (around := around_marks(one.name, root / page)) is None:
        print(f"note: {page} has no marks of {one.name}, so that no table there was renewed", flush=True)
    else:
        made = [
            ", then ".join(f"`{shlex.join(words)}`" for words in one.commands),
            f"`benchmarks/results/{one.name}.json`",
            commits(content(record)),
            cost(record) or time,
        ]
        table = (root / one.folder / "table.md").read_text(encoding="utf-8").strip()
        before, after = around
        write_text(root / page, f"{before}\n{' · '.join(made)}\n\n{table}\n{after}")


def commits(record: Mapping[str, Any]) -> str:
    """Say which commits trained the runs of a record, and which one made it of them, if it is another."""
    trained, made = _made_by(record)
    named = ", ".join(map(_short, trained))
    return f"commit {named}" if trained == [made] else f"trained at commit {named}, then {_short(made)}"


def _made_by(record: Mapping[str, Any]) -> tuple[list[str], str]:
    """The commits that trained the runs of a record, and the one that made it of them."""
    [made] = named_commits([record.get("commit")])
    return named_commits(record.get("trained_at") or [made]), made


def _short(commit: str) -> str:
    """A commit as pages state it, with what says that its files were changed."""
    name, mark, _ = commit.partition("+")
    return f"`{name[:12]}{'+changes' if mark else ''}`"


def areas(page: Path, root: Path, *, without: Collection[str] = ()) -> Table:
    """Return every model's area under the curve in every published sweep of the section with the marks of `areas`.

    Args:
        page: Where the marks are.
        root: Of the checkout.
        without: Comparisons whose sweeps are left out.
    """
    around = around_marks("areas", root / page)
    section = _SECTION.findall(around[0])[-1] if around and _SECTION.search(around[0]) else None
    try:
        sweeps = {
            each.name: read_document(
                each.record(root),
                SweepResult,
                format=FORMAT,
                what="a sweep",
                newest=VERSION,
                remedy="take it back from git, or publish it anew by its own name",
            )
            for one in comparisons(root).values()
            for each in one.published
            if (one.page, one.section) == (page, section)
            and len(one.commands) > 1
            and one.name not in without
            and each.record(root).is_file()
        }
    except QinnError as error:
        raise SystemExit(f"error: {error}") from None
    cells = {
        name: {row[0].text: Cell(row[-1].text) for row in table.rows}
        for name, found in sweeps.items()
        if (table := found.rates_table(found.shown[0])).columns[-1].heading == "area"
    }
    labels = dict.fromkeys(label for column in cells.values() for label in column)
    return Table(
        caption="Areas under the curves over the rates of absence, divided by their widths: of "
        + "; ".join(f"{name} {sweeps[name].shown[0]}" for name in cells)
        + ". ▲ better, ▼ worse than the reference of that sweep after Holm's correction over its models.",
        columns=columns("model", *cells),
        rows=tuple(
            (Cell(label), *(column.get(label, Cell("–")) for column in cells.values())) for label in labels
        ),
    )


def around_marks(name: str, page: Path) -> tuple[str, str] | None:
    """What the page has up to the first mark, and from the second one on; None where it has none of them."""
    begin, end = marks(name)
    if not page.is_file():
        raise SystemExit(f"error: {page} is not there; mend the line `# result:` that names it.")
    before, mark, rest = page.read_text(encoding="utf-8").partition(begin)
    _, second, after = rest.partition(end)
    if mark and not second:
        raise SystemExit(f"error: {page} has `{begin}`, but no `{end}` after it; put it back.")
    if (end in before) or (begin in after):
        raise SystemExit(f"error: {page} must have `{begin}` once, and `{end}` once after it; mend it.")
    return (before + mark, second + after) if mark else None


def marks(name: str) -> tuple[str, str]:
    """What stands before and after what is made, on the page."""
    return f"<!-- {name}: renewed by benchmarks/comparisons.py -->", f"<!-- /{name} -->"


def is_of(commit: str, folder: Path) -> bool:
    """Whether whatever was trained there, to its end or not, was trained at a commit."""
    return all(_trained_at(run) <= {commit} for run in folder.glob("*/seed-*"))


def _trained_at(run: Path) -> set[str]:
    """The commits that trained a run so far; an unknown one where it does not say."""
    if (run / "run.json").is_file():
        [said] = named_commits([content(run / "run.json").get("commit")])
        return set(said.split(", "))
    found: set[str] = set()
    for fold in (fold for fold in run.glob("folds/*") if fold.is_dir() and any(fold.iterdir())):
        said = content(fold / "fold.json") or content(fold / "commits.json")
        found |= set(named_commits(said.get("commits")))
    return found


def state(one: Comparison, root: Path, commit: str) -> str:
    """How far a comparison is."""
    done = len(list((root / one.folder).glob("*/seed-*/run.json")))
    if all(_made_by(content(each.record(root))) == ([commit], commit) for each in one.published):
        return "made at this commit"
    return {0: "not begun", 1: "1 run is there"}.get(done, f"{done} runs are there")


def make(
    chosen: Sequence[Comparison], root: Path, commit: str, data: Path | None, *, overwrite: bool
) -> None:
    """Make comparisons, each as far as it is not there."""
    others = [one.name for one in chosen if not is_of(commit, root / one.folder)]
    if others and not overwrite:
        raise SystemExit(
            f"error: runs of {', '.join(others)} were trained at another commit; give `--overwrite` to train them anew."
        )
    for one in chosen:
        for name in (*(each.name for each in one.published), "areas"):
            around_marks(name, root / one.page)
        areas(one.page, root, without={one.name for one in chosen})
    for number, one in enumerate(chosen, 1):
        print(f"{number} of {len(chosen)}: {one.name}", flush=True)
        check_tree(root, commit)
        make_store(one.store, root, data)
        if one.name in others:
            # `compare --overwrite` keeps whatever has the same configuration and data.
            if (root / one.folder).is_symlink():
                raise SystemExit(f"error: `{one.folder}` is a link; remove what it leads to yourself.")
            shutil.rmtree(root / one.folder)
        for words in one.commands:
            run(words, root)
        check_tree(root, commit)
        for each in one.published:
            check_made(each, root, commit)
        for each in one.published:
            publish(each, one.page, one.time, root)
        if (around := around_marks("areas", root / one.page)) is not None:
            table = areas(one.page, root).to_markdown().strip()
            write_text(root / one.page, f"{around[0]}\n{table}\n{around[1]}")


def check_made(one: Published, root: Path, commit: str) -> None:
    """Refuse to publish what is not of one commit: something was committed or changed while it was made."""
    trained, made = _made_by(content(root / one.made))
    if {*trained, made} != {commit}:
        raise SystemExit(
            f"error: {one.name} was made at {', '.join(map(_short, dict.fromkeys([*trained, made])))}, not at "
            f"{_short(commit)} alone, and is not published: something was changed or committed meanwhile; commit what "
            "is changed and repeat the command, which says what to train anew."
        )


def check_tree(root: Path, commit: str) -> None:
    """Refuse to go on where what the records are made from is no longer as in the commit that they would name."""
    if changed := changes(root):
        raise SystemExit(
            f"error: `{changed[0]}` differs from the commit that the records would name; commit it first."
        )
    if commit != UNKNOWN_COMMIT and (now := git(root, "rev-parse", "HEAD").strip() or commit) != commit:
        raise SystemExit(
            f"error: {_short(now)} was checked out while what is of {_short(commit)} was made; repeat the command, "
            "which says what to train anew."
        )


def main() -> None:
    """Make what is named, by default all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="comparisons (default: all)")
    parser.add_argument("--data", type=Path, help="folder with the real data (see docs/data.md)")
    parser.add_argument("--overwrite", action="store_true", help="train anew what another commit trained")
    parser.add_argument("--list", action="store_true", help="say what there is, and make nothing")
    options = parser.parse_args()
    if options.data and not options.data.is_dir():
        parser.error(f"`--data` must be the folder with the real data, but `{options.data}` is none")
    root = ROOT
    known = comparisons(root)
    if unknown := set(options.names) - set(known):
        parser.error(f"unknown comparisons {sorted(unknown)}; known are {', '.join(known)}")
    chosen = [known[name] for name in options.names or known]
    if not Path(qinn.__file__).resolve().is_relative_to(root / "src"):
        raise SystemExit(
            f"error: qinn is imported from {Path(qinn.__file__).parent}, not from {root / 'src'}, whose commit is to "
            "stand in the records; install this checkout (`pip install -e .`)."
        )
    commit = (provenance.commit() or UNKNOWN_COMMIT).removesuffix("+changes")
    if options.list:
        for one in chosen:
            took = cost(one.published[0].record(root)) or one.time
            print(f"{one.name}: {state(one, root, commit)}; {took}")
        return
    check_tree(root, commit)
    make(chosen, root, commit, options.data and options.data.resolve(), overwrite=options.overwrite)
    print("made; read the words beside the tables again: nobody else does")


if __name__ == "__main__":
    main()
