"""Killing commands: the trials cover what they should, the judge sees what went wrong, and a handful is made."""

import contextlib
import shutil
import signal
import sys
from collections import Counter

import pytest
import torch
from kills import COMMANDS, SIGNALS, Ground, Trial, _verdict, contents, differences, other_file_system

from qinn import cli

TERM, KILL = signal.SIGTERM, signal.SIGKILL
SENTENCE = "error: terminated; repeat the command to start it again.\n"


def test_every_command_gets_every_signal_in_the_trials_that_are_made():
    trials = [Trial.of(number) for number in range(120)]
    assert {(trial.command, trial.signal) for trial in trials} == {
        (name, number) for name in COMMANDS for number in SIGNALS
    }
    assert trials == [Trial.of(number) for number in range(120)]
    assert 40 < sum(trial.to_group for trial in trials) < 80
    assert min(Counter(trial.command for trial in trials).values()) >= 4


@pytest.mark.parametrize(
    ("number", "code", "said", "seconds", "outcome", "faults"),
    [
        (KILL, -9, "", 3.0, "killed", 0),
        (KILL, 1, "", 3.0, "killed", 1),
        (TERM, 143, SENTENCE, 3.0, "interrupted", 0),
        (TERM, 143, "note: words\n" + SENTENCE, 3.0, "interrupted", 0),
        (TERM, 143, "", 3.0, "interrupted", 1),
        (TERM, 143, 2 * SENTENCE, 3.0, "interrupted", 1),
        (TERM, 1, SENTENCE, 3.0, "interrupted", 1),
        (TERM, -15, "", 3.0, "interrupted", 2),
        (TERM, -15, "", 0.1, "before the first line", 0),
        (TERM, None, "", 3.0, "interrupted", 2),
        (TERM, 143, "Traceback (most recent call last)\n" + SENTENCE, 3.0, "interrupted", 1),
        (TERM, 0, "", 3.0, "finished", 0),
    ],
)
def test_the_judge_tells_a_right_end_from_a_wrong_one(number, code, said, seconds, outcome, faults):
    found, named = _verdict(number, code, said, seconds)
    assert (found, len(named)) == (outcome, faults)


def test_contents_differ_in_results_and_not_in_times(tmp_path):
    def write(folder, seconds, value, weight):
        folder.mkdir()
        (folder / "run.json").write_text(
            f'{{"value": {value}, "folds": [{{"seconds": {seconds}}}], "started": "{seconds}"}}'
        )
        (folder / "table.md").write_text(
            f"| model | CPU s | mae |\n|---|---|---|\n| a | {seconds} | {value} |\n\n- A note.\n"
        )
        state = {"weights": {"weight": torch.tensor([weight])}, "cpu_seconds": seconds}
        torch.save({"state": state}, folder / "last.ckpt")
        return contents(folder)

    first = write(tmp_path / "first", 1.0, 3, 0.5)
    assert not differences(write(tmp_path / "later", 2.0, 3, 0.5), first)
    assert differences(write(tmp_path / "value", 1.0, 4, 0.5), first) == [
        "`run.json` is another",
        "`table.md` is another",
    ]
    assert differences(write(tmp_path / "weight", 1.0, 3, 0.6), first) == ["`last.ckpt` is another"]
    (tmp_path / "first" / "more").touch()
    assert differences(contents(tmp_path / "first"), first) == ["`more` is too much"]
    assert differences({}, {"gone": ""}) == ["`gone` is missing"]


class SwiftGround(Ground):
    """What nobody kills runs in this process, which has everything imported; what is killed is a real command."""

    def run(self, arguments, folder):
        if folder.name in {f"undisturbed {name}" for name, one in COMMANDS.items() if not one.during}:
            super().run(arguments, folder)  # how long it takes says when it is killed
            return
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
            patch.setattr(sys, "argv", ["qinn", *arguments])
            try:
                cli.main()
            except SystemExit as end:
                if end.code:
                    raise RuntimeError(f"qinn {' '.join(arguments)} ended with {end.code}") from None


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    temporary = other_file_system(folder)
    ground = SwiftGround(folder / "ground", temporary)
    ground.prepare(finished=False)
    yield ground
    if temporary is not None:
        # No checkpoint went through it; torch's own folder is left by whoever is killed.
        assert not [path for path in temporary.rglob("*") if path.is_file()]
        shutil.rmtree(temporary)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "number", "to_group", "moment"),
    [
        ("data import", signal.SIGTERM, False, 0.6),
        ("checkpoint", signal.SIGKILL, False, 0.0),
        ("checkpoint", signal.SIGINT, True, 0.0),
    ],
)
def test_a_killed_command_ends_as_it_should_and_its_repeat_undisturbed(
    command, number, to_group, moment, ground
):
    _, faults = ground.judge(Trial(0, command, number, to_group, moment))
    assert not faults
