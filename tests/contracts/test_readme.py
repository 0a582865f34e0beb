"""What the README shows is run: its Python as it stands, its commands on files that stand for the reader's."""

import contextlib
import io
import re
import shutil
import sys
from pathlib import Path

import pytest
from readme import BLOCKS, commands, configuration, pythons, write_files_of_a_reader

from qinn import cli

# What sets up or takes minutes: tests of packaging and CI do it, and `make readme` all of it with the built wheel.
ELSEWHERE = {"git clone", "make demo", "make demo-clips", "make test", "pip install"}


def test_every_block_is_of_a_known_kind():
    assert {language for language, _ in BLOCKS} == {"", "python", "yaml"}


def test_what_is_run_elsewhere_is_the_stated_rest():
    others = {" ".join(words[:2]) for words in commands() if words[0] != "qinn"}
    assert others == ELSEWHERE


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(pythons())))
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
    write_files_of_a_reader(tmp_path, 60)
    # Shorter than what a reader would train, else as it stands.
    Path("mine.yaml").write_text(
        configuration().replace("[0, 1, 2, 3, 4]", "[0, 1]") + "training: {max_epochs: 1}\n"
    )
    ours = [words for words in commands() if words[0] == "qinn"]
    assert len(ours) == 12
    for words in ours:
        if words[-1] == "new/clips.csv":
            Path("new").mkdir()
            shutil.copytree("frames", "new/frames")
            for name in ("clips.csv", "audio.npz"):
                shutil.copy(name, "new")
        monkeypatch.setattr(sys, "argv", ["2" if word == "20" else word for word in words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code, (words, capsys.readouterr().err)
