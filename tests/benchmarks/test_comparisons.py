"""`make results`: whatever is published can be made anew from what is stated, and goes on where it stopped."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import comparisons
import pytest
from comparisons import Comparison, imports, make, marks, state

from qinn import cli
from qinn.data.stores.manifest import task_from_json
from qinn.experiment import provenance
from qinn.results.metric_columns import shown_metrics

ROOT = Path(__file__).parents[2]
CONFIG = """# A tiny set.
# data:    qinn data synthesize --to stores/tiny --num-train 24 --num-valid 8 --num-test 8
# command: qinn compare configs/tiny.yaml
# result:  docs/results.md, "Tiny"
name: tiny
data: {store: stores/tiny}
models:
  constant: {kind: constant}
simple_rows: false
reference: constant
evaluation: {num_resamples: 100, explain: false}
seeds: [0]
"""
COMMIT, OTHER = "0123456789abcdef", "fedcba9876543210"


def test_every_published_comparison_can_be_made_from_what_is_stated():
    known, stores = comparisons.comparisons(ROOT), imports(ROOT)
    assert {"mosi", "icmi", "ict-mmmo-missing", "untuned-icmi"} <= set(known)
    for one in known.values():
        assert one.store in stores
        assert one.commands[0][:3] == ("qinn", "compare", f"configs/{one.name}.yaml")
        assert all(words[1] in comparisons.RECORDS for words in one.commands)
        assert all(words[1:3] == ("sweep-absent", one.folder.as_posix()) for words in one.commands[1:])
        assert (ROOT / one.page).is_file()
        for each in one.published:
            record = each.record(ROOT)
            assert not record.is_file() or json.loads(record.read_text("utf-8"))["name"] == one.name


def test_what_a_sweep_makes_is_looked_for_where_it_goes():
    known = comparisons.comparisons(ROOT)
    made = {each.name: each.made for name in ("mosi", "mosi-steps") for each in known[name].published}
    assert made == {
        "mosi": Path("runs/mosi/comparison.json"),
        "mosi-steps": Path("runs/mosi-steps/missing-steps/sweep.json"),
        "mosi-steps-missing-steps-block": Path("runs/mosi-steps/missing-steps-block/sweep.json"),
        "mosi-steps-missing-steps-bursts": Path("runs/mosi-steps/missing-steps-bursts/sweep.json"),
    }
    [of_every_step, of_blocks, _] = known["mosi-steps"].published
    assert of_every_step.commands == known["mosi-steps"].commands[:2]
    assert of_blocks.commands == (known["mosi-steps"].commands[0], known["mosi-steps"].commands[2])


def test_the_areas_of_all_sweeps_stand_side_by_side_on_their_page():
    page = Path("docs/results/missing-data.md")
    table = comparisons.areas(page, ROOT)
    for place, column in enumerate(table.columns[1:], 1):
        record = json.loads((ROOT / f"benchmarks/results/{column.heading}.json").read_text("utf-8"))
        metric = shown_metrics(task_from_json(record["data"]["task"]))[0]
        for row in table.rows:
            said = record["models"].get(row[0].text)
            mean = "–" if said is None else f"{said['area'][metric]['mean']:.3f}"
            assert row[place].text.split()[0] == mean
    assert len(table.columns) > 2
    assert table.to_markdown().strip() in (ROOT / page).read_text("utf-8")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    begin, end = marks("tiny")
    for name, text in {
        "configs/tiny.yaml": CONFIG,
        "docs/data.md": "# Data\n",
        "docs/results.md": f"before\n{begin}\nEarlier.\n{end}\nafter\n",
        "benchmarks/results/other.json": "{}",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def known(tree: Path) -> list[Comparison]:
    return list(comparisons.comparisons(tree).values())


def test_a_run_counts_as_of_a_commit_only_if_no_other_had_a_part_in_it(tmp_path: Path):
    run = tmp_path / "model" / "seed-0"
    fold, other = run / "folds" / "000", run / "folds" / "001"
    for each in (fold, other):
        each.mkdir(parents=True)
    (run / "folds" / ".DS_Store").write_text("no fold")
    assert comparisons.is_of(COMMIT, tmp_path)
    for file, said, is_of in (
        (fold / "fold.json", '{"commits": ["' + COMMIT + '"]}', True),
        (other / "commits.json", '{"commits": ["' + COMMIT + '"]}', True),
        (other / "commits.json", '{"commits": ["fedcba", "' + COMMIT + '"]}', False),
        (other / "commits.json", "{", False),
        (other / "fold.json", '{"name": "of an earlier version"}', False),
        (other / "fold.json", '{"commits": 3}', False),
        (other / "fold.json", "[" * 100_000, False),
        (run / "run.json", '{"commit": "' + COMMIT + '"}', True),
        (run / "run.json", '{"commit": 3}', False),
        (run / "run.json", '{"commit": "fedcba, ' + COMMIT + '"}', False),
        (run / "run.json", '{"commit": null}', False),
        (run / "run.json", '{"comm', False),
    ):
        file.write_text(said, encoding="utf-8")
        assert comparisons.is_of(COMMIT, tmp_path) == is_of, said


def test_a_page_says_who_trained_and_who_made_the_record():
    assert comparisons.commits({"commit": COMMIT, "trained_at": [COMMIT]}) == "commit `0123456789ab`"
    assert comparisons.commits({"commit": COMMIT}) == "commit `0123456789ab`"
    said = comparisons.commits({"commit": OTHER, "trained_at": [COMMIT]})
    assert said == "trained at commit `0123456789ab`, then `fedcba987654`"
    said = comparisons.commits({"commit": f"{COMMIT}+changes", "trained_at": [COMMIT, f"{COMMIT}+changes"]})
    assert said == "trained at commit `0123456789ab`, `0123456789ab+changes`, then `0123456789ab+changes`"
    assert comparisons.commits({"commit": 3, "trained_at": [None]}) == "commit `unknown`"


def git(tree: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(tree), *words], check=True, capture_output=True, text=True).stdout


def committed(tree: Path) -> str:
    """Make a checkout of the tree, and return its commit."""
    git(tree, "init", "--quiet")
    git(tree, "config", "user.email", "a@b")
    git(tree, "config", "user.name", "a")
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", "All of it")
    return git(tree, "rev-parse", "HEAD").strip()


def test_whatever_the_records_are_made_from_is_as_in_the_commit(tree: Path, monkeypatch):
    assert comparisons.changes(tree) == []  # no checkout, no commit to differ from
    committed(tree)
    assert comparisons.changes(tree) == []
    (tree / "docs/results.md").write_text("made", encoding="utf-8")
    (tree / "benchmarks/results/tiny.json").write_text("made", encoding="utf-8")
    assert comparisons.changes(tree) == []
    (tree / "configs/tiny.yaml").write_text("changed", encoding="utf-8")
    (tree / "configs/new.yaml").write_text("new", encoding="utf-8")
    assert comparisons.changes(tree) == ["configs/tiny.yaml", "configs/new.yaml"]
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(SystemExit, match=r"^error: git says nothing of .*dubious ownership"):
        comparisons.changes(tree)


@pytest.mark.parametrize(
    ("meanwhile", "said"),
    [
        (
            lambda tree: (tree / "configs/tiny.yaml").write_text("changed"),
            "`configs/tiny.yaml` differs from the commit",
        ),
        (
            lambda tree: git(tree, "commit", "--allow-empty", "--message", "More"),
            "was checked out while what is of",
        ),
    ],
    ids=["a change", "a commit"],
)
def test_what_a_configuration_becomes_meanwhile_is_not_published(meanwhile, said, tree: Path, monkeypatch):
    commit, before = committed(tree), (tree / "docs/results.md").read_text("utf-8")
    (tree / "stores/tiny").mkdir(parents=True)
    monkeypatch.setattr(comparisons, "run", lambda words, folder: meanwhile(tree))
    with pytest.raises(SystemExit, match=said):
        make(known(tree), tree, commit, None, overwrite=False)
    assert (tree / "docs/results.md").read_text("utf-8") == before


def test_a_store_is_made_once_what_it_is_made_from_is(tree: Path, monkeypatch):
    (tree / "docs/data.md").write_text(
        """```
qinn data convert stores/first --to stores/first.npz
qinn data import table a.csv --to stores/second --feature more=stores/first.npz:x@offsets#id
qinn data import table a.csv --to stores/first
```
""",
        encoding="utf-8",
    )
    made = []

    def run(words, folder):
        made.append((words, folder))
        Path(words[words.index("--to") + 1]).mkdir(parents=True)

    monkeypatch.setattr(comparisons, "run", run)
    data = tree / "data"
    comparisons.make_store("stores/second", tree, data)
    place = tree / "stores"
    assert made == [
        (["qinn", "data", "import", "table", "a.csv", "--to", f"{place}/first"], data),
        (["qinn", "data", "convert", f"{place}/first", "--to", f"{place}/first.npz"], tree),
        (
            [
                *("qinn", "data", "import", "table", "a.csv", "--to", f"{place}/second"),
                *("--feature", f"more={place}/first.npz:x@offsets#id"),
            ],
            data,
        ),
    ]
    comparisons.make_store("stores/second", tree, data)
    assert len(made) == 3


@pytest.fixture
def ran(monkeypatch) -> list[str]:
    """What is run, in this process, which has everything imported and is of the commit that `COMMIT` names."""
    commands: list[str] = []

    def run(words, folder):
        commands.append(words[1])
        with contextlib.chdir(folder), contextlib.suppress(SystemExit):
            monkeypatch.setattr(sys, "argv", words)
            cli.main()

    monkeypatch.setattr(comparisons, "run", run)
    monkeypatch.setattr(provenance, "commit", lambda: COMMIT)
    return commands


@pytest.mark.slow
def test_what_is_there_is_kept_and_what_another_commit_made_is_refused(tree: Path, ran, monkeypatch):
    [one] = known(tree)
    assert state(one, tree, COMMIT) == "not begun"
    make([one], tree, COMMIT, None, overwrite=False)
    made = json.loads((tree / "benchmarks/results/tiny.json").read_text("utf-8"))
    assert (made["name"], made["commit"]) == ("tiny", COMMIT)
    assert state(one, tree, COMMIT) == "made at this commit"
    assert state(one, tree, OTHER) == "1 run is there"
    page = (tree / "docs/results.md").read_text("utf-8")
    assert page.startswith("before\n<!-- tiny")
    assert page.endswith("<!-- /tiny -->\nafter\n")
    assert "Earlier" not in page
    assert "| constant (reference) |" in page
    assert f"commit `{COMMIT[:12]}`" in page
    trained = next(tree.glob("runs/tiny/*/seed-0/run.json"))
    before = trained.read_bytes()

    make([one], tree, COMMIT, None, overwrite=False)
    assert (ran, trained.read_bytes()) == (["data", "compare", "compare"], before)
    monkeypatch.setattr(provenance, "commit", lambda: OTHER)
    with pytest.raises(SystemExit, match="runs of tiny were trained at another commit"):
        make([one], tree, OTHER, None, overwrite=False)
    assert (tree / "docs/results.md").read_text("utf-8") == page
    make([one], tree, OTHER, None, overwrite=True)
    assert trained.read_bytes() != before
    assert state(one, tree, OTHER) == "made at this commit"


@pytest.mark.slow
@pytest.mark.parametrize("meanwhile", [OTHER, f"{COMMIT}+changes", None])
def test_what_changes_while_it_is_made_is_not_published(meanwhile, tree: Path, ran, monkeypatch):
    monkeypatch.setattr(provenance, "commit", lambda: meanwhile)
    before = (tree / "docs/results.md").read_text("utf-8")
    with pytest.raises(SystemExit, match="not at `0123456789ab` alone, and is not published"):
        make(known(tree), tree, COMMIT, None, overwrite=False)
    assert (tree / "docs/results.md").read_text("utf-8") == before
    assert not (tree / "benchmarks/results/tiny.json").exists()


def test_what_cannot_be_made_is_refused_before_anything_runs(tree: Path, monkeypatch):
    monkeypatch.setattr(comparisons, "run", lambda words, folder: pytest.fail(str(words)))
    config = tree / "configs/tiny.yaml"
    for header in ("# command: qinn compare 'configs/tiny.yaml", "# nothing: "):
        config.write_text(
            CONFIG.replace("# command: qinn compare configs/tiny.yaml", header), encoding="utf-8"
        )
        with pytest.raises(SystemExit, match=r"tiny\.yaml has a line `# result:`, but no line `# command:`"):
            known(tree)
    command = "qinn compare configs/tiny.yaml"
    for odd in (
        CONFIG.replace(command, "qinn train a"),
        CONFIG.replace(command, "qinn"),
        CONFIG.replace(command, f"{command}; then qinn sweep-absent runs/tiny --burst x"),
        CONFIG.replace("data: {store: stores/tiny}", ""),
        CONFIG.replace("data: {store: stores/tiny}", "- a"),
        CONFIG + "{",
    ):
        config.write_text(odd, encoding="utf-8")
        with pytest.raises(SystemExit, match=r"tiny\.yaml has a line `# result:`, but no line .*; mend it"):
            known(tree)
    config.write_bytes(CONFIG.encode() + "# Käse".encode("latin-1"))
    with pytest.raises(SystemExit, match=r"tiny\.yaml .*UnicodeDecodeError"):
        known(tree)
    config.write_text(CONFIG.replace("docs/results.md", "docs/absent.md"), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"absent\.md is not there; mend the line `# result:`"):
        make(known(tree), tree, COMMIT, None, overwrite=False)
    config.write_text(CONFIG.replace("qinn data synthesize", "made by hand"), encoding="utf-8")
    with pytest.raises(SystemExit, match="says how `stores/tiny` is made"):
        make(known(tree), tree, COMMIT, None, overwrite=False)
    config.write_text(
        CONFIG.replace("qinn data synthesize", "qinn data import table a.csv"), encoding="utf-8"
    )
    with pytest.raises(SystemExit, match="say with `--data` in which folder its data lie"):
        make(known(tree), tree, COMMIT, None, overwrite=False)
    page = tree / "docs/results.md"
    page.write_text(without_end := page.read_text("utf-8").replace(marks("tiny")[1], ""), encoding="utf-8")
    with pytest.raises(SystemExit, match="but no `<!-- /tiny -->` after it"):
        make(known(tree), tree, COMMIT, None, overwrite=False)
    assert page.read_text("utf-8") == without_end
    begin, end = marks("tiny")
    for text, said in (
        (f"{end}\n{begin}\n{end}\n", "once after it"),
        (f"{end}\n", "once after it"),
        (f"{begin}\n{end}\n{begin}\n", "once after it"),
        (f"{begin}\n{end}\n{marks('areas')[0]}\n", "but no `<!-- /areas -->`"),
    ):
        page.write_text(text, encoding="utf-8")
        with pytest.raises(SystemExit, match=said):
            make(known(tree), tree, COMMIT, None, overwrite=False)


@pytest.mark.parametrize("models", [[], None, 3, {"a": 3}, {"a": {"cpu_seconds": "x", "runs": 3}}])
def test_an_odd_record_does_not_say_what_it_took(models, tmp_path: Path):
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"models": models}), encoding="utf-8")
    assert comparisons.cost(record) is None


def test_a_damaged_sweep_of_the_page_is_said_before_anything_runs(tree: Path, monkeypatch):
    monkeypatch.setattr(comparisons, "run", lambda words, folder: pytest.fail(str(words)))
    command = "# command: qinn compare configs/tiny.yaml"
    swept = CONFIG.replace(command, f"{command}; then qinn sweep-absent runs/tiny")
    (tree / "configs/swept.yaml").write_text(swept, encoding="utf-8")
    page = tree / "docs/results.md"
    page.write_text(
        "\n".join(["## Tiny", *marks("areas"), *marks("tiny"), *marks("swept")]), encoding="utf-8"
    )
    (tree / "benchmarks/results/swept.json").write_text('{"models": ', encoding="utf-8")
    with pytest.raises(SystemExit, match=r"error: .*swept\.json.*publish it anew by its own name"):
        make([one for one in known(tree) if one.name == "tiny"], tree, COMMIT, None, overwrite=False)
    ran: list[str] = []

    def run(words, folder):
        ran.append(words[1])
        raise SystemExit(1)

    monkeypatch.setattr(comparisons, "run", run)
    with pytest.raises(SystemExit):  # by its own name it is made
        make([one for one in known(tree) if one.name == "swept"], tree, COMMIT, None, overwrite=False)
    assert ran == ["data"]


def test_without_git_nothing_is_known_to_be_changed(tree: Path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert comparisons.changes(tree) == []


def test_a_model_that_was_trained_elsewhere_costs_nothing_here(tmp_path: Path):
    record = tmp_path / "record.json"
    ours = {"cpu_seconds": 60.0, "runs": ["a", "b"]}
    theirs = {"cpu_seconds": None, "runs": [], "predictions": {"a.csv": "0"}}
    record.write_text(json.dumps({"models": {"ours": ours, "theirs": theirs}}), encoding="utf-8")
    assert comparisons.cost(record) == "2 CPU minutes"


def test_a_command_that_fails_ends_it(tree: Path):
    with pytest.raises(SystemExit) as raised:
        comparisons.run(["qinn", "compare", "configs/absent.yaml"], tree)
    assert raised.value.code == 2
