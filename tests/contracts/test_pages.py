"""What pages name exists: commands and options, functions and modules, files, targets, commits, numbers of records."""

import ast
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import qinn
from qinn import quantum
from qinn.cli.application import app

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "qinn"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
PAGES += [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += [ROOT / folder / "README.md" for folder in ("tests", "benchmarks")]
SEPARATOR = re.compile(r"(?<!\\)\|")
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.M | re.S)
OF_BEFORE = ("CHANGELOG.md",)
"""Pages that name what was there before."""
MADE_BY_A_READER = ("docs/extending.md",)
"""Pages that name files and functions which a recipe makes."""
RECORDS_TO_COME = {"gpu.json", "readme.json"}
"""Records of the checks that are run elsewhere."""


def each_page_but(*names: str) -> pytest.MarkDecorator:
    """Run a test for every page but those that it is not about."""
    pages = {page.relative_to(ROOT).as_posix(): page for page in PAGES}
    assert set(names) <= set(pages)
    return pytest.mark.parametrize(
        "page",
        [pages[name] for name in pages if name not in names],
        ids=[name for name in pages if name not in names],
    )


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands(text: str) -> Iterator[str]:
    """Go through what a page tells its reader to type after `qinn`."""
    for block in BLOCK.findall(text):
        yield from re.findall(r"^(?:.*  )?(qinn [a-z].*)$", re.sub(r"\\\n\s*", " ", block), re.M)
    for code in re.findall(r"`([^`]+)`", BLOCK.sub("", text)):
        if code.startswith("qinn "):
            yield " ".join(code.split())


@cache
def found_by(*path: str) -> tuple[Any, frozenset[str]]:
    """Return a command and its options; of an import, of which the layout need not be named, those of all layouts."""
    command = found_by(*path[:-1])[0].get_command(None, path[-1]) if path else typer.main.get_command(app)
    parts = [command]
    if path == ("data", "import"):
        parts = [command.get_command(None, name) for name in command.list_commands(None)]
    names = (name for part in parts for one in part.params for name in one.opts + one.secondary_opts)
    return command, frozenset(names) | {"--help"}


def mistakes_in(command: str) -> list[str]:
    """Say which command or options of a line there are not."""
    try:
        words = shlex.split(command.split(" #")[0])[1:]
    except ValueError:
        words = command.split()[1:]
    path: list[str] = []
    while words and words[0] in getattr(found_by(*path)[0], "list_commands", lambda _: [])(None):
        path.append(words.pop(0))
    found, known = found_by(*path)
    is_group = hasattr(found, "list_commands") and path != ["data", "import"]
    if is_group and words and re.fullmatch(r"[a-z-]+", words[0]):
        return [f"no command `{words[0]}`"]
    return sorted({word.partition("=")[0] for word in words if word.startswith("--")} - known)


@each_page_but(*OF_BEFORE)
def test_commands_that_a_page_shows_exist_with_their_options(page):
    wrong = {one: found for one in commands(page.read_text(encoding="utf-8")) if (found := mistakes_in(one))}
    assert wrong == {}


@pytest.mark.parametrize(
    ("command", "mistakes"),
    [
        ("qinn data import f.pkl --nan zero --to s", []),
        ("qinn data import mfn f --splits mosi", ["--splits"]),
        ("qinn predict RUN --sure", ["--sure"]),
        ("qinn ponder RUN", ["no command `ponder`"]),
    ],
)
def test_a_command_that_is_not_there_is_found(command, mistakes):
    assert mistakes_in(command) == mistakes


@each_page_but()
def test_tables_have_a_head_and_as_many_cells_in_every_row(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        head, *rest = table.splitlines()
        assert re.fullmatch(r"[|:\- ]+", "".join(rest[:1])), head
        cells = len(SEPARATOR.findall(head))
        assert [row for row in rest if len(SEPARATOR.findall(row)) != cells] == [], head


@each_page_but(*OF_BEFORE, *MADE_BY_A_READER)
def test_modules_functions_and_files_that_a_page_names_exist(page):
    text = page.read_text(encoding="utf-8")
    names = re.findall(r"(?:`|::: )(qinn(?:\.\w+)+)(?=[`(\n])", text)
    assert [one for one in names if one != "qinn.NAME" and not resolves(one)] == []
    files = re.findall(r"`((?:benchmarks|configs|docs|tests|src)/[\w./-]+\.\w+)", text)
    missing = {one for one in files if not (ROOT / one).exists() and Path(one).name not in RECORDS_TO_COME}
    assert {one for one in missing if "NAME" not in one} == set()


def resolves(name: str) -> bool:
    """Whether a dotted name is one of `import qinn`, or a module, or defined in one."""
    first, *rest = name.split(".")[1:]
    if first in qinn.__all__ and first not in ("quantum", "testing"):
        return True
    if first == "quantum" and rest and rest[0] in quantum.__all__:
        return True
    place = SOURCE
    for number, part in enumerate((first, *rest)):
        if (place / part).is_dir():
            place = place / part
        elif (place / f"{part}.py").is_file():
            return all(is_defined(one, place / f"{part}.py") for one in (first, *rest)[number + 1 :])
        else:
            return is_defined(part, place / "__init__.py")
    return True


def is_defined(name: str, path: Path) -> bool:
    pattern = rf"^ *(?:(?:def|class) {name}\b|{name}\b *[:=]| *{name},$|from .* import .*\b{name}\b)"
    return path.is_file() and re.search(pattern, path.read_text(encoding="utf-8"), re.M) is not None


@pytest.mark.parametrize(
    ("heading", "packages"),
    [("`qinn.quantum`", ["quantum"]), ("`qinn.model`", ["model", "training", "explain", "data"])],
)
def test_the_code_that_stands_beside_an_equation_exists(heading, packages):
    section = re.split(r"\n## ", text_of("docs/theory.md").split(f"code ({heading}")[1])[0]
    modules = [path for package in packages for path in (SOURCE / package).rglob("*.py")]
    rows = [SEPARATOR.split(line)[3] for line in section.split("\n") if line.startswith("|")]
    named = [name.removeprefix(".") for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(named) > 30
    assert [name for name in named if not stands_in(name.split("."), modules)] == []


def stands_in(parts: list[str], modules: list[Path]) -> bool:
    """Whether a module or package that is called as a name begins defines what follows, methods perhaps above."""
    places = {
        path: [*path.parent.parts, *([path.stem] if path.stem != "__init__" else [])] for path in modules
    }
    for number in range(len(parts), -1, -1):
        if number == 0 and len(parts) > 1 and parts[0].islower():
            break  # No module is called so, and it is no class.
        for path, place in places.items():
            called = place[len(place) - number :] == parts[:number]
            if called and all(is_defined(one, path) for one in parts[number : number + 1]):
                return all(any(is_defined(one, other) for other in modules) for one in parts[number + 1 :])
    return False


def test_the_readme_names_every_extra_and_leads_to_every_page():
    readme = text_of("README.md")
    extras = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
    assert {one for one in extras if f"`qinn[{one}]`" not in readme} == {"test", "docs", "dev"}
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"](docs/{page.name})" not in readme] == []
    results = text_of("docs/results.md")
    pages = (ROOT / "docs" / "results").glob("*.md")
    assert [page.name for page in pages if f"](results/{page.name})" not in results] == []


def test_contributors_are_told_every_module_target_and_folder_of_tests():
    page = text_of("CONTRIBUTING.md")
    [targets] = re.findall(r"^\.PHONY: (.*)$", text_of("Makefile"), re.M)
    assert [one for one in targets.split() if f"| `make {one}` |" not in page] == []
    table = page.split("## Structure")[1].split("Imports point only downwards")[0]
    modules = {
        path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert {one for one in modules if not one.startswith("__") and f"`{one}`" not in table} == set()
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert {one for one in folders if f"`{one}`" not in page.split("## Tests")[1]} == set()


def test_every_script_of_the_benchmarks_is_said_to_be_there():
    page = text_of("benchmarks/README.md")
    assert [path.name for path in (ROOT / "benchmarks").glob("*.py") if f"`{path.name}" not in page] == []


def test_the_reference_of_the_site_has_everything_that_is_public():
    page = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
    for name, home in qinn._HOMES.items():
        assert f"::: {home}.{name}\n" in page or f"::: {home}\n" in page, name


def test_functions_of_qinn_say_what_they_return():
    for name, home in qinn._HOMES.items():
        module = ast.parse((SOURCE.parent / f"{home.replace('.', '/')}.py").read_text(encoding="utf-8"))
        for one in module.body:
            if isinstance(one, ast.FunctionDef) and one.name == name:
                assert "\nReturns:\n" in (ast.get_docstring(one) or ""), name


def test_commits_that_pages_name_exist():
    if subprocess.run(
        ["git", "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True
    ).stdout != (b"false\n"):
        pytest.skip("there is no history here")
    named = {
        one for page in PAGES for one in re.findall(r"`([0-9a-f]{12})`", page.read_text(encoding="utf-8"))
    }
    asked = subprocess.run(
        ["git", "cat-file", "--batch-check"], cwd=ROOT, input="\n".join(named), capture_output=True, text=True
    )
    assert [line for line in asked.stdout.splitlines() if line.endswith(" missing")] == []


@pytest.mark.parametrize("part", [1, 2, 3, 5, 6, 7, 8])
def test_the_tables_of_the_study_have_the_numbers_of_their_record(part):
    record = json.loads(text_of(f"benchmarks/results/study-s{part}.json"))
    section = text_of("docs/results/study.md").split(f"## S{part}: ")[1].split("\n##")[0]
    checked = 0
    for line in section.split("\n"):
        stated = re.findall(r"(\d\.\d{3}) ± (\d\.\d{3})", line)
        words = {one.strip() for one in line.split("|")}
        rows = [row for row in record["rows"] if row["cell"] in words and row["variant"] in {*words, ""}]
        found = {
            (f"{metric['mean']:.3f}", f"{metric['sd']:.3f}")
            for row in rows or record["rows"] * line.startswith("| equal CPU")
            for test in row["tests"].values()
            for metric in test.values()
        }
        if line.startswith("|"):
            assert set(stated) <= found, line
            checked += len(stated)
    assert checked >= len(record["rows"])


def test_sections_that_are_named_beside_their_page_exist():
    for path in (*PAGES, *(ROOT / "configs").glob("*.yaml")):
        for name, title in re.findall(r'([\w/-]+\.md)\)?, "([^"]+)"', path.read_text(encoding="utf-8")):
            page = min((one for one in PAGES if f"/{name}" in str(one)), key=lambda one: len(one.parts))
            heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8").replace("`", ""), re.M)
            named = " ".join(title.replace("`", "").split())
            assert any(head.startswith(named) for head in heads), (path.name, name, title)


SCORED = re.compile(r"^# score: +(.+) test (\w+) (\d\.\d+) ± (\d\.\d+)", re.M)


@pytest.mark.parametrize(
    "path",
    [one for one in sorted((ROOT / "configs").glob("*.yaml")) if SCORED.search(one.read_text("utf-8"))],
    ids=lambda path: path.stem,
)
def test_the_score_that_a_configuration_states_is_that_of_its_record(path):
    [(label, metric, mean, sd)] = SCORED.findall(path.read_text(encoding="utf-8"))
    models = json.loads(text_of(f"benchmarks/results/{path.stem}.json"))["models"]
    found = models[label]["metrics"][{"r": "corr"}.get(metric, metric)]
    assert (f"{found['mean']:.3f}", f"{found['sd']:.3f}") == (mean, sd)


def test_the_page_for_physicists_names_everything_that_is_public():
    page = text_of("docs/quantum.md").split("## Everything there is")[1].split("\n## ")[0]
    assert sorted(re.findall(r"`(\w+)`", page.split("|---|---|")[1])) == sorted(quantum.__all__)


@pytest.mark.parametrize("dim", [8, 64])
def test_the_bias_of_gradients_is_that_of_the_record(dim):
    rows = json.loads(text_of("benchmarks/results/quantum.json"))["rows"]
    [row] = [one for one in rows if (one["kind"], one["dim"], one["mode"]) == ("jumps", dim, "both")]
    for one in row["results"]:
        bias, error = (100 * one["extra"][f"gradient_bias{end}"] for end in ("", "_standard_error"))
        assert f"{bias:+.0f} ± {error:.0f} %".replace("-", "−") in text_of("docs/quantum.md"), one["package"]


@pytest.mark.parametrize(
    ("page", "heading", "record", "decimals"),
    [
        ("results/quantum-core", "## Gradient estimators", "estimators", 3),
        ("sharp-bits", "## Trajectories, averages and gradients", "estimators", 3),
        ("results/quantum-core", "## A training term", "hold", 3),
    ],
)
def test_numbers_of_a_table_occur_in_the_record(page, heading, record, decimals):
    def numbers(content: Any) -> Iterator[float]:
        if isinstance(content, dict | list):
            for one in content.values() if isinstance(content, dict) else content:
                yield from numbers(one)
        elif isinstance(content, float | int):
            yield abs(content)

    found = {
        f"{one:.{decimals}f}" for one in numbers(json.loads(text_of(f"benchmarks/results/{record}.json")))
    }
    section = text_of(f"docs/{page}.md").split(f"\n{heading}")[1].split("\n## ")[0]
    rows = "\n".join(line for line in section.split("\n") if line.startswith("|"))
    stated = {
        f"{float(one):.{decimals}f}" for one in re.findall(rf"(?<![\d.])\d?\.\d{{{decimals}}}(?!\d)", rows)
    }
    assert stated
    assert stated - found == set()


def test_what_scoring_costs_is_what_the_record_has():
    record, page = json.loads(text_of("benchmarks/results/scoring.json")), text_of("docs/clips.md")
    together = "peak MB of both processes together"
    for run in ("clips/QiNN-QJ", "mosi-text/QiNN-QJ"):
        short, long = (record[f"{seconds} s, scored by {run}"] for seconds in (60, 300))
        costs = [f"{one['CPU seconds per minute']:.1f}" for one in (short, long)]
        peaks = [f"{long[name]:,} MiB" for name in (together, f"{together}, where nothing was scored before")]
        assert f"| {' | '.join(costs + peaks)} |" in page
    stages = record["60 s, scored by clips/QiNN-QJ"]
    minutes = stages["seconds of clip"] / 60
    face, heard, reasons, voice = (
        f"{stages['seconds by stage'][name] / minutes:.1f}"
        for name in ("decoding", "speech", "reasons", "sound")
    )
    sentence = f"{face} went into decoding and the face, {heard} into hearing, {reasons} into the reasons, {voice} into"
    assert sentence in page


def test_speeds_that_other_pages_state_are_those_of_the_benchmarks():
    benchmarks = text_of("docs/benchmarks.md")
    table = text_of("docs/quantum.md").split("| work | QuTiP |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) == 5
    assert [line for line in table if line not in benchmarks.splitlines()] == []
    summary = re.findall(r"^\| exact averages.*D = (?:27|64).*\|(.*)\|(.*)\|(.*)\|.*\|$", benchmarks, re.M)
    least = [min(float(one) for one in re.findall(r"[\d.]+", " ".join(row))) for row in summary]
    assert f"needs {min(least):.0f} to {max(least):.0f} times less time" in " ".join(
        text_of("README.md").split()
    )
