"""The recipe for a baseline in docs/extending.md works as it is written, and touches three files."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEP = re.compile(
    r"^In `(?P<file>[^`]+)`, (?P<side>above|below) `(?P<anchor>[^`]+)`:\n\n```\w+\n(?P<code>.*?)```$",
    re.M | re.S,
)

SCRIPT = """
import sys
from pathlib import Path

import pytest

if pytest.main(["tests/contracts", "-q", "-k", "gated_fusion or there_is_a_case", "-p", "no:cacheprovider"]):
    sys.exit("the contract tests failed")

import qinn
from qinn.experiment.comparison import compare
from qinn.experiment.config import read_config
from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store

assert Path(qinn.__file__).is_relative_to(Path.cwd())
write_synthetic_store("store", SyntheticSpec(num_train=20, num_valid=8, num_test=8))
Path("config.yaml").write_text(
    "data: {store: store}\\nencoder: {hidden_dim: 4}\\nevaluation: {num_resamples: 100}\\n"
    "training: {max_epochs: 1, tensorboard: false}\\n"
    "models:\\n  constant: {kind: constant}\\n  gated: {kind: gated_fusion, gate_dim: 3}\\n"
)
content = compare(read_config("config.yaml"), "runs")
assert content["models"]["gated"]["model"] == "gated_fusion"
assert content["models"]["gated"]["num_parameters"] > 0
assert "mae" in content["paired"]["gated"]
print("added, trained and compared")
"""


def steps() -> list[re.Match[str]]:
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    recipe = text.split("## A baseline\n")[1].split("\n## ")[0]
    return list(STEP.finditer(recipe))


def test_the_recipe_for_a_baseline_touches_three_files():
    assert [step["file"] for step in steps()] == [
        "src/qinn/model/baselines.py",
        "src/qinn/model/baselines.py",
        "tests/contracts/cases.py",
        "CHANGELOG.md",
    ]


@pytest.mark.slow
def test_a_baseline_added_by_the_recipe_keeps_the_laws_and_is_compared(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__", "test_extending.py")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignored)
    shutil.copytree(ROOT / "tests" / "contracts", tmp_path / "tests" / "contracts", ignore=ignored)
    for name in ("tests/conftest.py", "tests/tiny.py", "pyproject.toml", "CHANGELOG.md"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, tmp_path / name)

    for step in steps():
        path = tmp_path / step["file"]
        before, anchor, after = path.read_text(encoding="utf-8").partition(step["anchor"])
        assert anchor, f"{step['file']} has no line `{step['anchor']}`"
        anchor, code = (anchor + "\n", step["code"]) if step["side"] == "below" else (step["code"], anchor)
        path.write_text(before + anchor + code + after.removeprefix("\n" * (step["side"] == "below")))

    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "added, trained and compared" in done.stdout
