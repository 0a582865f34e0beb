"""What is said in several places is the same everywhere, and links lead somewhere."""

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]
PAGES += [ROOT / "tests" / "README.md", ROOT / "benchmarks" / "README.md"]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["Makefile", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"])
def test_the_number_of_mutated_files_is_that_of_the_record(name):
    files = json.loads(text_of("benchmarks/results/fuzz.json"))["files"]
    assert f"{files:,}" in text_of(name)
    assert "52,000" not in text_of(name)


def test_the_page_about_mutated_files_has_the_numbers_of_the_record():
    record, page = json.loads(text_of("benchmarks/results/fuzz.json")), text_of("docs/data.md")
    for outcome in ("refused", "same contents", "other contents, as the file says"):
        assert f"{record['totals'][outcome]:,}" in page, outcome
    assert (
        f"{record['files'] // len(record['readers']):,} files for each of {len(record['readers'])} readers"
        in page
    )


def test_no_page_says_that_a_pickle_is_loaded_as_a_whole():
    assert "A pickle is not loaded as a whole" in text_of("docs/data.md")
    for page in PAGES:
        assert not re.search(r"needs its\s+size once or twice", page.read_text(encoding="utf-8")), page


def test_the_number_of_import_contracts_is_the_stated_one():
    words = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ]
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    assert f"holds {words[len(contracts)]} contracts" in text_of("CONTRIBUTING.md")


def test_the_layers_are_drawn_as_they_are_checked():
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    for layer in contracts[0]["layers"]:
        assert re.search(rf"^{re.escape(layer)}(\s|$)", text_of("CONTRIBUTING.md"), re.M), layer


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), target


def anchors_of(page: Path) -> set[str]:
    """Names of headings where a repository is browsed; those of the built pages are checked when they are built."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ +(.+?)\s*$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_headings_where_the_repository_is_browsed(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]*)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert anchor in anchors_of(page.parent / target if target else page), f"{target}#{anchor}"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_published_configurations_are_valid(path):
    from qinn.experiment.config import read_config

    assert read_config(path).models
