"""Every command works on a model that runs a transformer: import, train, evaluate, predict, explain, report."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("transformers", reason="the optional extra qinn[text] is not installed")

from qinn import cli
from qinn.data.stores.store import Store

from ..tiny import QINN, TRAINING
from ..tiny_transformer import write_tiny_transformer

TEXTS = ["The film was GOOD", "very bad", "unlike goodness", "电影好", "not good", "bad !"]


@pytest.fixture
def qinn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., str]:
    """Run a command that must succeed, in a folder of its own; return its output."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: Any) -> str:
        monkeypatch.setattr(sys, "argv", ["qinn", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        assert end.value.code in (0, None), captured.err
        return captured.out

    return call


@pytest.mark.slow
def test_from_texts_to_a_report_and_new_predictions_without_the_encoder(
    qinn: Callable[..., str], tmp_path: Path
) -> None:
    write_tiny_transformer(tmp_path / "encoder")
    rows = [
        f"s{row},{row % 7 - 3},{('train', 'valid', 'test')[row % 3]},{TEXTS[row % 6]}" for row in range(30)
    ]
    (tmp_path / "table.csv").write_text("id,label,split,text\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "new.csv").write_text("id,text\nn1,The film\nn2,\u597d good\n", encoding="utf-8")
    encoding = [
        "--text-column",
        "text",
        "--lowercase",
        "--encode-text",
        "folder:encoder",
        "--text-unit",
        "ids",
    ]
    options = ["--scale", "mosi", *encoding]
    qinn("data", "import", "table", "table.csv", "--to", "store", "--split-column", "split", *options)
    qinn("data", "import", "table", "new.csv", "--to", "new", "--no-labels", *options)
    assert Store.open(tmp_path / "store").words(0, "text") == ["", "The", "film", "was", "GOOD", ""]
    content = {
        "name": "tokens",
        "data": {"store": "store"},
        "encoder": {
            "kind": {"text": "transformer"},
            "hidden_dim": 4,
            "transformer": {"model": "folder:encoder"},
        },
        "models": {"QiNN-QJ": QINN, "text": {"kind": "unimodal", "modality": "text"}},
        "training": {**TRAINING, "max_epochs": 1},
        "evaluation": {"num_resamples": 100},
    }
    (tmp_path / "tokens.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    qinn("compare", "tokens.yaml")
    shutil.rmtree(tmp_path / "encoder")
    run = tmp_path / "runs" / "tokens" / "qinn-qj" / "seed-0"
    assert json.loads(qinn("evaluate", run, "--json"))["largest_difference"] < 1e-6
    qinn("predict", run, "new", "--to", "new.parquet")
    qinn("explain", run, "--to", "explained")
    qinn("report", "runs/tokens")
    assert (tmp_path / "new.parquet").is_file()
    assert (tmp_path / "explained" / "explanation.parquet").is_file()
    assert list(tmp_path.glob("**/report.html"))
