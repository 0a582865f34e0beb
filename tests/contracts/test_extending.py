"""Every recipe in docs/extending.md works as it is written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEP = re.compile(
    r"^In (?:`(?P<file>[^`]+)`, (?P<side>above|below|in place of) `(?P<anchor>[^`]+)`|the new `(?P<new>[^`]+)`):"
    r"\n\n```\w+\n(?P<code>.*?)```$",
    re.M | re.S,
)
RECIPES = {
    "A baseline": [
        "src/qinn/model/baselines.py",
        "src/qinn/model/baselines.py",
        "tests/contracts/cases.py",
        "CHANGELOG.md",
    ],
    "An encoder": [*["src/qinn/model/encoders.py"] * 3, "tests/contracts/cases.py", "CHANGELOG.md"],
    "An evolution": [
        "src/qinn/quantum/evolution/repeated.py",
        *["tests/contracts/cases.py"] * 2,
        "CHANGELOG.md",
        "src/qinn/experiment/model_configs.py",
        *["src/qinn/experiment/build.py"] * 2,
    ],
    "A metric": [
        "src/qinn/evaluation/metric_names.py",
        "src/qinn/evaluation/metrics.py",
        "tests/evaluation/test_metrics.py",
        "CHANGELOG.md",
    ],
    "A data layout": [
        "src/qinn/data/importing/jsonl.py",
        *["src/qinn/data/importing/layouts.py"] * 2,
        "tests/data/importing/test_jsonl.py",
        "CHANGELOG.md",
    ],
}

COMPARED = """
from pathlib import Path

import qinn
from qinn.experiment.comparison import compare
from qinn.experiment.config import read_config
from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store

assert Path(qinn.__file__).is_relative_to(Path.cwd())
write_synthetic_store("store", SyntheticSpec(num_train=20, num_valid=8, num_test=8))
Path("config.yaml").write_text(
    "data: {store: store}\\nencoder: {hidden_dim: 4, kind: maximum}\\nevaluation: {num_resamples: 100}\\n"
    "training: {max_epochs: 1, tensorboard: false}\\n"
    "models:\\n  constant: {kind: constant}\\n  gated: {kind: gated_fusion, gate_dim: 3}\\n"
    "  repeated: {kind: qinn, evolution: repeated, state_dims: 2, steps: 2}\\n"
)
content = compare(read_config("config.yaml"), "runs")
assert content.models["gated"].model == "gated_fusion"
assert content.models["gated"].num_parameters > 0
assert content.paired["repeated"]["acc3"].difference is not None
print("added, trained and compared")
"""


def steps(recipe: str) -> list[re.Match[str]]:
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    return list(STEP.finditer(text.split(f"## {recipe}\n")[1].split("\n## ")[0]))


def follow(step: re.Match[str], copy: Path) -> None:
    """Do what a step says."""
    if step["new"]:
        assert not (copy / step["new"]).exists()
        (copy / step["new"]).write_text(step["code"], encoding="utf-8")
        return
    path, code, anchor = copy / step["file"], step["code"], step["anchor"]
    before, found, after = path.read_text(encoding="utf-8").partition(anchor)
    assert found, f"{step['file']} has no line `{anchor}`"
    if step["side"] == "below":
        text = before + anchor + "\n" + code + after.removeprefix("\n")
    elif step["side"] == "above":
        text = before + code + anchor + after
    else:
        text = before + code.removesuffix("\n") + after
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """A copy of the repository in which every recipe was followed."""
    copy = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__", "test_extending.py")
    shutil.copytree(ROOT / "src", copy / "src", ignore=ignored)
    for folder in ("contracts", "evaluation", "data"):
        shutil.copytree(ROOT / "tests" / folder, copy / "tests" / folder, ignore=ignored)
    for name in ("tests/conftest.py", "tests/tiny.py", "pyproject.toml", "CHANGELOG.md", "docs/data.md"):
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    (copy / "benchmarks").mkdir()
    shutil.copy(ROOT / "benchmarks" / "option_tables.py", copy / "benchmarks")
    for recipe in RECIPES:
        for step in steps(recipe):
            follow(step, copy)
    return copy


def python(copy: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_touches_the_files_that_it_names(recipe):
    assert [step["file"] or step["new"] for step in steps(recipe)] == RECIPES[recipe]


@pytest.mark.slow
def test_all_pieces_keep_the_laws_and_pass_their_tests(extended):
    chosen = (
        "there_is_a_case or three_classes or describes_exactly or damaged_line or every_sample_comes_back or maximum"
        " or (keep_the_laws and (repeated or gated_fusion) and not (prior or classes or dimension or average or time))"
    )
    contracts = [f"tests/contracts/test_{one}.py" for one in ("models", "evolutions")]
    files = [*contracts, "tests/evaluation/test_metrics.py", "tests/data/importing/test_jsonl.py"]
    out = python(extended, "-m", "pytest", *files, "-q", "-k", chosen, "-p", "no:cacheprovider")
    assert int(re.findall(r"(\d+) passed", out)[-1]) >= 15


@pytest.mark.slow
def test_all_pieces_are_trained_and_compared(extended):
    assert "added, trained and compared" in python(extended, "-c", COMPARED)


@pytest.mark.slow
def test_the_new_layout_is_found_has_a_command_and_a_section(extended):
    line = '{"id": "a", "label": 1, "features": {"audio": [[1]]}}'
    (extended / "s.jsonl").write_text(line + "\n")
    call = "import sys; from qinn.cli import main; sys.argv = ['qinn', *sys.argv[1:]]; main()"
    python(extended, "-c", call, "data", "import", "s.jsonl", "--to", "lines", "--scale", "mosi")
    python(extended, "-c", call, "data", "import", "jsonl", "s.jsonl", "--to", "more", "--scale", "mosi")
    python(
        extended,
        "-c",
        call,
        "data",
        "import",
        "jsonl",
        "s.jsonl",
        "--to",
        "none",
        "--label-key",
        "else",
        "--scale",
        "mosi",
    )
    assert (extended / "lines" / "manifest.json").is_file()
    python(extended, "benchmarks/option_tables.py")
    page = (extended / "docs" / "data.md").read_text(encoding="utf-8")
    assert "## `jsonl`" in page
    assert "| `--label-key KEY` | Key of the label; `label` by default |" in page
