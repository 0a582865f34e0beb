"""The command imports words with a vocabulary of their own, or with that of a store."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qinn import cli
from qinn.data.stores.store import Store

TABLE = [
    "data",
    "import",
    "table",
    "t.csv",
    "--scale",
    "mosi",
    "--split-column",
    "split",
    "--text-column",
    "text",
]


@pytest.fixture
def qinn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[Any, str]]:
    """Run a command in a folder of its own; return its exit code and what it said on the error stream."""
    monkeypatch.chdir(tmp_path)
    rows = ["a,1,train,good film", "b,-1,train,the film", "c,0,test,hidden film"]
    (tmp_path / "t.csv").write_text("id,label,split,text\n" + "\n".join(rows) + "\n", encoding="utf-8")

    def call(*arguments: str) -> tuple[Any, str]:
        monkeypatch.setattr(sys, "argv", ["qinn", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, capsys.readouterr().err

    return call


def test_words_are_imported_with_their_options(qinn: Callable[..., tuple[Any, str]], tmp_path: Path) -> None:
    code, said = qinn(*TABLE, "--to", "one", "--encode-text", "words", "--num-words", "2")
    assert code in (0, None), said
    assert "the vocabulary of `text` is that of 2 training transcripts" in said
    code, said = qinn(*TABLE, "--to", "two", "--encode-text", "words:one")
    assert code in (0, None), said
    one, two = Store.open(tmp_path / "one"), Store.open(tmp_path / "two")
    assert one.manifest["modalities"]["text"]["vocabulary"] == ["film", "good"]
    assert one.sha256 == two.sha256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-words", "2"], "`--num-words` goes with `--encode-text words`, but no text is encoded"),
        (["--encode-text", "words:nowhere"], "No store at `nowhere`"),
        (["--encode-text", "words", "--lexicon", "liwc"], "`--lexicon` must be one of vader"),
    ],
)
def test_options_that_fit_nothing_are_refused_in_a_sentence(
    qinn: Callable[..., tuple[Any, str]], options: list[str], message: str, tmp_path: Path
) -> None:
    code, said = qinn(*TABLE, "--to", "store", *options)
    assert code == 2
    assert message in said
    _, *beneath = said.strip().splitlines()
    assert all(line.startswith("  ") for line in beneath)
    assert not (tmp_path / "store").exists()
