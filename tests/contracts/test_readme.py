"""What the README shows is run: its Python as it stands, its commands on files that stand for the reader's."""

import contextlib
import io
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qinn import cli

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
# What sets up or takes minutes: tests of packaging and CI do it.
ELSEWHERE = {"git clone", "make demo", "make test", "pip install"}


def commands() -> Iterator[list[str]]:
    """Every command line of the README, without comments; a line that ends with a backslash goes on."""
    for language, block in BLOCKS:
        if not language and re.match(r"\S*qinn |git |make |pip ", block):
            for line in block.replace("\\\n", " ").splitlines():
                yield shlex.split(line.removeprefix(".venv/bin/"), comments=True)


def test_every_block_is_of_a_known_kind():
    assert {language for language, _ in BLOCKS} == {"", "python", "yaml"}


def test_what_is_run_elsewhere_is_the_stated_rest():
    others = {" ".join(words[:2]) for words in commands() if words[0] != "qinn"}
    assert others == ELSEWHERE


@pytest.mark.slow
@pytest.mark.parametrize("number", range(sum(language == "python" for language, _ in BLOCKS)))
def test_the_python_runs_and_prints_what_is_said(number):
    place = [index for index, (language, _) in enumerate(BLOCKS) if language == "python"][number]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(BLOCKS[place][1], "README.md", "exec"), {})
    stated = BLOCKS[place + 1][1] if printed.getvalue() else ""
    number_in_it = re.compile(r"-?\d+\.\d+")
    assert number_in_it.sub("#", printed.getvalue()) == number_in_it.sub("#", stated)
    # Another machine rounds otherwise, and training amplifies that.
    found, said = (list(map(float, number_in_it.findall(text))) for text in (printed.getvalue(), stated))
    assert found == pytest.approx(said, abs=0.1)


@pytest.mark.slow
def test_the_commands_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _files_of_a_reader(tmp_path)
    (yaml,) = (block for language, block in BLOCKS if language == "yaml")
    # Shorter than what a reader would train, else as it stands.
    Path("mine.yaml").write_text(yaml.replace("[0, 1, 2, 3, 4]", "[0, 1]") + "training: {max_epochs: 1}\n")
    ours = [words for words in commands() if words[0] == "qinn"]
    assert len(ours) == 10
    for words in ours:
        if words[-1] == "stores/new":
            shutil.copytree("stores/mine", "stores/new")
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code, (words, capsys.readouterr().err)


def _files_of_a_reader(folder: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["id,label,split,speaker"]
    (folder / "frames").mkdir()
    for row in range(60):
        split = "train" if row < 36 else "valid" if row < 48 else "test"
        lines.append(f"clip{row},{random.uniform(-3, 3):.2f},{split},s{row // 4}")
        np.save(folder / "frames" / f"clip{row}.npy", random.normal(size=(4, 6)))
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    offsets = np.arange(61) * 5
    np.savez(folder / "audio.npz", mfcc=random.normal(size=(300, 3)), offsets=offsets)
