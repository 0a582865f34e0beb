"""Single changes of runs, comparisons and stores are noticed or change no output; the long run is ``make edits``."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from edits import EDITS

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_single_changes_are_refused_in_a_sentence_or_change_nothing() -> None:
    # A process of its own: it forks, which one with threads of other tests should not.
    command = [sys.executable, str(ROOT / "benchmarks" / "edits.py"), "--edits", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", EDITS)
def test_an_edit_is_decided_by_its_number(kind: str, tiny_store: Path, tmp_path: Path) -> None:
    found = []
    for turn in range(2):
        place = tmp_path / str(turn) / "place"
        shutil.copytree(tiny_store, place)
        EDITS[kind](place / "text.values.npy", random.Random(3))
        found.append({path.name: path.read_bytes() for path in place.iterdir()})
    assert found[0] == found[1]
    assert found[0] != {path.name: path.read_bytes() for path in tiny_store.iterdir()}
