"""The page about clips names what the command has, and the list says what is there."""

import json
import re
import sys
from pathlib import Path

import pytest

from qinn.cli import main
from qinn.experiment.clip_tables import ColumnOptions
from qinn.face.extracting import options_of_extraction
from qinn.features.clip import Limits
from qinn.features.extraction import ClipOptions
from qinn.features.makers import feature_makers
from qinn.stated_options import options_of

PAGE = (Path(__file__).parents[2] / "docs" / "clips.md").read_text(encoding="utf-8")
OF_THE_COMMAND = {"--to", "--text", "--work", "--workers", "--fail-fast", "--landmarks", "--no-deps"}
OF_OTHERS = {
    "--seconds",
    "--tiers",
    "--stages",
    "--output",
    "--run",
    "--page",
    "--words",
    "--absent",
    "--level",
    "--begin",
    "--end",
    "--json",
}


def test_the_page_names_all_options_and_no_others():
    stated = {one.flag for one in options_of_extraction()}
    named = set(re.findall(r"--[a-z][a-z-]+", PAGE))
    assert named <= stated | OF_THE_COMMAND | OF_OTHERS
    assert {one.flag for one in (*options_of(ClipOptions), *options_of(ColumnOptions))} <= named


def test_the_page_has_the_tiers_and_the_weights_of_now():
    for options in (ClipOptions(), ClipOptions(face="pixels")):
        for tier in options.tiers.values():
            assert f"`{tier}`" in PAGE
    for maker in feature_makers():
        if maker.modality in ("speech", "vision") and maker.size:
            command = maker.install.partition(" && ")[2]
            assert f"| `{maker.name}` | {maker.licence} | {maker.size / 1e6:.0f} MB | `{command}` |" in PAGE
    limits = Limits()
    assert (
        f"{limits.max_channels} channels, {limits.max_streams} streams and {limits.max_frame_rate:g} pictures"
        in PAGE
    )
    assert limits.max_pixels == 4096 * 2304
    assert "4096 × 2304 pixels" in PAGE


def command(capsys, monkeypatch, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["qinn", *arguments])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_list_says_what_is_there_and_what_installs_the_rest(capsys, monkeypatch):
    code, out, err = command(capsys, monkeypatch, "features", "list", "--json")
    assert code == 0
    found = {one["name"]: one for one in json.loads(out)}
    assert found["face-mesh"]["licence"] == "Apache-2.0"
    code, out, err = command(capsys, monkeypatch, "features", "list")
    assert code == 0
    for name, one in found.items():
        assert name in out
        assert (f"{name} is installed by: " in err) is not one["is_there"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.mp4"], "`nowhere.mp4` does not exist"),
        (["."], "has no clips"),
        ([".", "--face", "openface"], "Option `--face` must be"),
        ([".", "--fps", "0"], "0"),
        ([".", "--label-column", "score"], "go with a table of clips"),
    ],
)
def test_mistakes_are_one_sentence(capsys, monkeypatch, tmp_path, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(
        capsys, monkeypatch, "features", "extract", *arguments, "--to", "store", "--text", "hash"
    )
    assert code == 2
    assert sentence in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []
