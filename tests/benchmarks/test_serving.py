"""The trial of the server: each mutated clip follows from its number, and a short trial finds what it should."""

import json
import sys
from pathlib import Path

import pytest
from clip_mutations import FOREIGN, KINDS, READ, do, mutated, originals

import serving

from ..clip_packages import needs_clips

pytestmark = needs_clips
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("originals")


def test_each_mutation_follows_from_its_number(folder):
    clips = originals(folder)
    assert set(clips) == set(KINDS)
    found = [mutated(clips, number) for number in range(200)]
    assert found == [mutated(clips, number) for number in range(200)]
    assert {name for name, _, _ in found} == set(KINDS)
    assert len({done for _, _, done in found}) == 7
    assert sum(content != clips[name] for name, content, _ in found) > 180


@pytest.mark.slow
def test_a_handful_of_mutated_clips_is_refused_or_read(folder, tmp_path):
    outcomes = [
        do({"number": number, "folder": str(folder), "place": str(tmp_path / "x")}, print)
        for number in range(32)
    ]
    assert FOREIGN not in {one["outcome"] for one in outcomes}, json.dumps(outcomes, indent=1)
    assert READ in {one["outcome"] for one in outcomes}


PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import qinn.serving.server as server
server.Server.__init__.__kwdefaults__["module"] = "tests.serving.stand_in"
sys.argv[0] = "qinn"
from qinn.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="looks into /proc")
def test_a_short_trial_has_an_answer_for_everybody(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "_QINN", [sys.executable, "-c", PROGRAM])
    found = serving.load(Path("some-run"), tmp_path, uploads=30, clients=6)
    assert sum(found["outcomes"].values()) == 30
    assert found["without an answer"] == found["orphan processes"] == found["tracebacks"] == 0
    assert found["exit code after SIGTERM"] == 143
    assert found["outcomes"]["whole: scored"] == 24
    assert (found["outcomes"]["garbage: refused"], found["outcomes"]["empty: refused"]) == (2, 1)
    assert found["outcomes"]["gone: sender gone"] == 1
    assert all(50 < peak < 2000 for peak in found["peak memory in MB"].values())
    assert not any(found["clips left"].values())
