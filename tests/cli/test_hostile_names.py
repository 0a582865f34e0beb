"""Ids, labels, classes, groups, folds and texts that attack terminals, tables and pages, through every command."""

import csv
import functools
import html.parser
import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import yaml

from qinn import cli
from qinn.data.stores.store import Store
from qinn.escaping import json_text, tsv_cell, visible
from qinn.experiment.config import slug

HOSTILE = {
    "colour": "\x1b[31mRED\x1b[2J",
    "title": "\x1b]0;title\x07",
    "tab": "tab\there",
    "line": "line\nend",
    "return": "carriage\rreturn",
    "nul": "nul\x00here",
    "delete": "del\x7fete",
    "c1": "c1\x9b31m",
    "override": "\u202eevil",
    "isolate": "\u2066is\u2069",
    "width": "zero\u200bwidth",
    "separator": "line\u2028paragraph\u2029",
    "markup": "[bold red]loud[/]",
    "closing": "[/]",
    "maths": "$x^{",
    "cell": "a|b `c` \\",
    "html": "<script>alert('1')</script>",
    "link": "[x](https://example.org)",
    "formula": '=HYPERLINK("x.org","y")',
    "minus": "-2+3",
    "apostrophe": "'quoted",
    "han": "中文",
    "cyrillic": "Ж",
    "dots": "…",
    "emoji": "🎵",
}
"""Kind of attack → text; the last four are no attacks, but must work as well."""

NAMES = list(HOSTILE.values())
CONTROLS = "".join(text for kind, text in list(HOSTILE.items())[:12] if kind != "nul")
QINN = {"kind": "qinn", "state_dims": 2, "steps": 2, "num_vectors": 2, "num_trajectories": 2}
LABELS = {
    "QiNN-QJ": {**QINN, "num_evaluation_trajectories": 2},
    **{
        label: {"kind": "constant"}
        for label in (HOSTILE["cell"], CONTROLS, "[red] $x^{", "中文", "Ж", "…", "🎵")
    },
    HOSTILE["html"] + HOSTILE["link"]: {"kind": "constant"},
}


def is_clean(text: str, also: str = "\n") -> bool:
    """Whether a text has nothing that hides or acts, besides what is allowed."""
    return not [
        c for c in text if c not in also and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A store, a comparison and a configuration in which everything that has a name has a hostile one."""
    folder = tmp_path_factory.mktemp("hostile")
    splits = [split for split in ("train", "valid", "test") for _ in NAMES]
    ids = [f"{name}{split if split != 'test' else ''}" for name, split in zip(NAMES * 3, splits, strict=True)]
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(["id", "label", "split", "group", "fold", "words"])
        for row, (name, split) in enumerate(zip(ids, splits, strict=True)):
            text = NAMES[row % len(NAMES)]
            writer.writerow([name, text, split, f"{text} {split}", text, text])
    values = np.random.default_rng(0).normal(size=(len(ids), 3)).astype("f4")
    np.savez(folder / "f.npz", a=values, b=values[:, :2])
    command = [
        "data",
        "import",
        "table",
        folder / "table.csv",
        "--to",
        folder / "store",
        "--task",
        "classification",
    ]
    command += [
        "--split-column",
        "split",
        "--group-column",
        "group",
        "--fold-column",
        "fold",
        "--text-column",
        "words",
    ]
    command += ["--name", HOSTILE["colour"]]
    code, _, err = call(*command, "--feature", f"音频={folder}/f.npz:a", "--feature", f"🎵={folder}/f.npz:b")
    assert code == 0, err
    assert is_clean(err)
    content = {
        "name": "hostile $x [red] | name",
        "data": {"store": str(folder / "store")},
        "encoder": {"hidden_dim": 2},
        "models": LABELS,
        "reference": HOSTILE["cell"],
        "training": {"max_epochs": 1, "batch_size": 25, "tensorboard": False},
        "simple_rows": False,
        "evaluation": {"num_resamples": 100},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    code, out, err = call("compare", folder / "config.yaml", "--to", folder / "comparison")
    assert code == 0, err
    assert is_clean(out + err)
    return folder


def call(*arguments: object) -> tuple[int, str, str]:
    """Run the command in this process; return exit code, output and error stream."""
    import io
    from contextlib import redirect_stderr, redirect_stdout

    from qinn.cli import output

    class Stream(io.TextIOWrapper):
        def __init__(self) -> None:
            self.content = io.BytesIO()
            super().__init__(self.content, encoding="utf-8", newline="")

        def text(self) -> str:
            self.flush()
            return self.content.getvalue().decode("utf-8")

    out, err = Stream(), Stream()
    before, sys.argv = sys.argv, ["qinn", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            cli.main()
    finally:
        sys.argv = before
    assert output.console.file is not None
    return end.value.code or 0, out.text(), err.text()


@pytest.fixture(scope="module")
def said(folder):
    """Exit code, output and errors of a command, which is run once."""

    @functools.cache
    def say(command: str) -> tuple[int, str, str]:
        return call(*(part.format(folder) for part in COMMANDS[command]))

    return say


def run_of(folder: Path) -> Path:
    return folder / "comparison" / "qinn-qj" / "seed-0"


def test_two_labels_never_share_a_folder_and_those_of_before_keep_theirs():
    assert len({slug(label) for label in LABELS}) == len(LABELS)
    assert all(re.fullmatch(r"[a-z0-9-]+", slug(label)) for label in LABELS)
    assert [slug("QiNN-QJ (jumps)"), slug("late fusion, 2.5")] == ["qinn-qj-jumps", "late-fusion-2-5"]
    assert slug("Ж") != slug("ж") != slug("…") != slug("")
    assert slug("модель 1") == slug("модель 1") != slug("модел 1")
    assert len(slug("a" * 1000).encode()) < 200


COMMANDS = {
    "info of a store": ["info", "{}/store"],
    "info of a run": ["info", "{}/comparison/qinn-qj/seed-0"],
    "info of a comparison": ["info", "{}/comparison"],
    "inspect": ["data", "inspect", "{}/store"],
    "verify": ["data", "verify", "{}/store"],
    "split": [
        "data",
        "split",
        "{}/store",
        "--to",
        "{}/divided",
        "--overwrite",
        "--name",
        HOSTILE["override"],
    ],
    "evaluate": ["evaluate", "{}/comparison/qinn-qj/seed-0", "--absent", "🎵"],
    "explain": ["explain", "{}/comparison/qinn-qj/seed-0", "--to", "{}/explained"],
    "sweep-absent": [
        "sweep-absent",
        "{}/comparison",
        "--rates",
        "0,0.5",
        "--masks",
        "1",
        "--to",
        "{}/swept",
    ],
    "report": ["report", "{}/comparison", "--to", "{}/page.html", "--include-text"],
    "describe": ["data", "describe", "{}/store", "--html", "{}/store.html"],
    "convert": ["data", "convert", "{}/store", "--to", "{}/a.parquet", "--overwrite"],
    "train": ["train", "{}/config.yaml", "--model", CONTROLS, "--to", "{}/trained"],
}
PAGES = ("report", "describe")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("as_json", "command"),
    [
        *(pytest.param(False, name, id=f"for people-{name}") for name in COMMANDS),
        # A page has no other form.
        *(pytest.param(True, name, id=f"as JSON-{name}") for name in COMMANDS if name not in PAGES),
    ],
)
def test_no_command_prints_what_hides_or_acts(command, as_json, folder, said):
    arguments = [part.format(folder) for part in COMMANDS[command]]
    code, out, err = call(*arguments, "--json") if as_json else said(command)
    assert code in (0, 1), err
    assert is_clean(out + err)
    if as_json:
        json.loads(out)


@pytest.mark.slow
def test_every_line_of_predictions_has_as_many_cells_and_gives_the_ids_back(folder):
    code, out, err = call("predict", run_of(folder), folder / "store", "--split", "test")
    assert code == 0, err
    assert is_clean(out, "\n\t")
    lines = [line.split("\t") for line in out.removesuffix("\n").split("\n")]
    assert {len(line) for line in lines} == {len(lines[0])}
    back = [re.sub(r"\\(\\|.)", lambda mark: mark[0], line[0]) for line in lines[1:]]
    assert back == [tsv_cell(name) for name in NAMES]
    undone = [line[0].encode("latin-1", "backslashreplace").decode("unicode_escape") for line in lines[1:]]
    assert undone == NAMES


@pytest.mark.slow
def test_predictions_as_csv_have_no_formula_and_give_the_ids_back(folder):
    code, _, err = call(
        "predict", run_of(folder), folder / "store", "--split", "test", "--to", folder / "p.csv"
    )
    assert code == 0
    assert "apostrophe" in err
    with (folder / "p.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row[key] for row in rows for key in ("id", "class")]
    assert not [text for text in texts if text[0] in "=+-@\t\r"]
    assert [row["id"].removeprefix("'") if row["id"][0] == "'" else row["id"] for row in rows] == NAMES
    assert all(
        0 <= float(value) <= 1 for row in rows for key, value in row.items() if key.lstrip("'")[:5] == "proba"
    )


@pytest.mark.slow
def test_predictions_as_json_and_parquet_have_the_ids_as_they_are(folder):
    import pyarrow.parquet as pq

    _, out, _ = call("predict", run_of(folder), folder / "store", "--split", "test", "--json")
    assert [row["id"] for row in json.loads(out)] == NAMES
    call("predict", run_of(folder), folder / "store", "--split", "test", "--to", folder / "p.parquet")
    assert pq.read_table(folder / "p.parquet")["id"].to_pylist() == NAMES


def cells(line: str) -> list[str]:
    """The cells of a row of a Markdown table, as GitHub divides it."""
    return re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["comparison", "swept"])
def test_markdown_tables_are_not_broken(name, folder, said):
    if name == "swept":
        said("sweep-absent")
    text = (folder / name / "table.md").read_text(encoding="utf-8")
    assert is_clean(text)
    rows = [line for line in text.split("\n") if line.startswith("|")]
    tables: list[list[str]] = []
    for line, rule in zip(rows, [*rows[1:], ""], strict=True):
        if rule.startswith("|---"):
            tables.append([])
        tables[-1].append(line)
    for table in tables:
        assert {len(cells(line)) for line in table if not line.startswith("|---")} == {len(cells(table[0]))}
        # The table of verdicts has no row of the reference.
        assert len(table) - 2 in (len(LABELS), len(LABELS) - 1)
    assert "<script>" not in text
    assert not re.search(r"(?<!\\)\[x\]\(", text)


class Reader(html.parser.HTMLParser):
    """Collects what a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "page"), [("report", "page.html"), ("describe", "store.html")])
def test_pages_have_nothing_hidden_and_no_script(command, page, folder, said):
    said(command)
    text = (folder / page).read_text(encoding="utf-8")
    assert is_clean(text)
    reader = Reader()
    reader.feed(text)
    assert "script" not in reader.tags


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pkl", ".npz"])
def test_other_formats_refuse_or_hold_the_names(suffix, folder):
    code, out, err = call(
        "data", "convert", folder / "store", "--to", folder / f"converted{suffix}", "--overwrite"
    )
    assert is_clean(out + err)
    assert code in (0, 2)
    if suffix == ".npz":
        with np.load(folder / "converted.npz", allow_pickle=False) as arrays:
            assert [name for name in arrays["id"].tolist() if name in NAMES]


def test_modalities_may_have_names_in_any_script(folder):
    assert list(Store.open(folder / "store").modalities) == ["音频", "🎵"]


@pytest.mark.parametrize("name", NAMES, ids=list(HOSTILE))
@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "{}"],
        ["data", "inspect", "{}"],
        ["data", "import", "{}"],
        ["data", "import", "table", "{}", "--to", "x"],
        ["data", "synthesize", "--to", "x", "--seed", "{}"],
        ["train", "{}"],
        ["report", "{}", "--to", "{}.html"],
        ["{}"],
    ],
    ids=" ".join,
)
def test_errors_show_what_was_typed_without_its_controls(arguments, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*(part.replace("{}", name) for part in arguments))
    assert code == 2
    assert is_clean(out + err)


def test_a_file_name_that_is_no_utf8_is_shown(tmp_path):
    name = os.fsdecode(bytes(tmp_path) + b"/\xff.csv")
    Path(name).write_text("id,label\na,1\n")
    code, _, err = call(
        "data", "import", "table", f"{name}.csv", "--to", tmp_path / "store", "--scale", "mosi"
    )
    assert code == 2
    assert is_clean(err)
    values = tmp_path / "f.npy"
    np.save(values, np.ones((1, 2)))
    code, _, err = call(
        "data",
        "import",
        "table",
        name,
        "--to",
        tmp_path / "store",
        "--scale",
        "mosi",
        "--feature",
        f"a={values}",
    )
    assert is_clean(err)
    assert (code, (tmp_path / "store").exists()) in ((0, True), (2, False)), err


def test_letters_that_a_terminal_lacks_are_escaped(tmp_path):
    code = "from qinn.cli.output import *; echo('中文'); print_rows([['Ж']]); print_json(['é']); note('🎵')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == '\\u4e2d\\u6587\n\\u0416\n[\n  "\\u00e9"\n]\n'


@pytest.mark.parametrize(
    "character", [chr(code) for code in range(0x20)] + ["\x7f", "\x85", "\u061c", "\ud800"]
)
def test_json_of_hidden_characters_is_json(character):
    text = json_text({"a": character})
    assert is_clean(text)
    assert json.loads(text) == {"a": character}
    assert is_clean(visible(character))
