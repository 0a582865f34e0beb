"""`qinn data convert` and `qinn data split` as one types them."""

import json
import sys
from pathlib import Path

import pytest

from qinn import cli
from qinn.data.stores.store import Store


@pytest.fixture
def qinn(monkeypatch, capsys):
    """Run the command; return exit code, output and error stream."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["qinn", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return (0 if end.value.code is None else end.value.code), captured.out, captured.err

    return call


def test_a_store_is_converted_and_what_is_lost_is_said(qinn, tiny_store: Path, tmp_path: Path) -> None:
    code, out, err = qinn(
        "data", "convert", tiny_store, "--to", tmp_path / "a.pkl", "--max-length", "audio=2"
    )
    assert code == 0
    assert "audio: 44 × 2 × 3" in out
    assert "wrote" in err
    assert "no token ids" in err
    code, out, _ = qinn("data", "convert", tiny_store, "--to", tmp_path / "a.parquet", "--json")
    assert json.loads(out)["format"] == "parquet"
    code, _, err = qinn("data", "convert", tiny_store, "--to", tmp_path / "a.pkl")
    assert code == 2
    assert "exists already" in err
    assert qinn("data", "convert", tiny_store, "--to", tmp_path / "a.pkl", "--overwrite")[0] == 0


def test_a_store_is_divided_and_the_parts_are_shown(qinn, tiny_store: Path, tmp_path: Path) -> None:
    code, out, err = qinn(
        "data", "split", tiny_store, "--to", tmp_path / "a", "--fractions", 0.5, 0.25, 0.25, "--seed", 4
    )
    assert code == 0
    assert "train" in out
    assert "warning: " in out
    assert "seed 4" in err
    assert set(Store.open(tmp_path / "a").strings("split")) == {"train", "valid", "test"}
    code, out, _ = qinn(
        "data", "split", tiny_store, "--to", tmp_path / "b", "--folds", 3, "--no-stratify", "--json"
    )
    assert set(json.loads(out)["sizes"]) == {"0", "1", "2"}
    code, _, err = qinn("data", "split", tiny_store, "--to", tmp_path / "c", "--fractions", 1, 1, 1)
    assert code == 2
    assert "add up to 1" in err
