"""Mutated files of every reader are refused by name or read as they say; the long run is ``make fuzz``.

The process that reads them has limits, so that a crash, a hang or an allocation without bound is seen as such.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzzing import pickles, sandbox
from fuzzing.blocks import mutate_blocks
from fuzzing.sandbox import FAILURES, Sandbox, Verdict
from fuzzing.targets import TARGETS, mutated

QUICK = 24
RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "fuzz.json"


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox() as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TARGETS if name != "run folder"])
def test_mutated_files_are_refused_by_name_or_read_as_they_say(name: str, box: Sandbox) -> None:
    failures = [verdict for verdict in box.judge(name, range(QUICK)) if verdict.failed]
    assert not failures, "\n".join(f"{each.number} {each.outcome}: {each.detail}" for each in failures)


@pytest.mark.parametrize("name", ["mmsa unaligned", "table csv", "features h5", "configuration"])
def test_a_mutation_is_decided_by_its_number_alone(name: str, tmp_path: Path) -> None:
    target = TARGETS[name](tmp_path)
    numbers = range(len(target.hostile), len(target.hostile) + 30)
    first = [mutated(target, number)[0] for number in numbers]
    assert first == [mutated(target, number)[0] for number in numbers]
    assert sum(files != target.files for files in first) > 20


def test_blocks_change_almost_always_and_never_fail() -> None:
    data = bytes(range(256))
    changed = [mutate_blocks(data, random.Random(seed)) for seed in range(300)]
    assert sum(each != data for each in changed) > 270
    for seed in range(100):
        mutate_blocks(b"", random.Random(seed))


def test_instructions_of_a_pickle_are_the_pickle() -> None:
    import pickle

    content = pickle.dumps({"a": [1, 2.5, "x"]}, 2)
    assert b"".join(pickles.split_instructions(content)) == content


PLANTED = (
    ("raise ValueError('not ours')", "foreign exception"),
    ("import os; os.system('true')", "ran code"),
    ("open('canary', 'w').close()", "ran code"),
    ("open('/tmp/elsewhere-of-qinn', 'w')", "ran code"),
    ("import socket; socket.getaddrinfo('localhost', 80)", "ran code"),
    ("big = bytearray(300 * 2**20); big[::4096] = b'x' * len(big[::4096])", "memory"),
    ("bytearray(2**40)", "foreign exception"),
    ("import os; os.kill(os.getpid(), 11)", "crash"),
    ("import ctypes; ctypes.string_at(0)", "crash"),
    ("exec('while True: pass')", "hang"),
    ("from qinn.errors import DataError; raise DataError('Something is wrong.')", "unnamed"),
    ("import warnings; warnings.warn('odd')", "foreign exception"),
    ("return valid", "same contents"),
    ("valid.labels[0] = 2.5; return valid", "silently wrong"),
    ("valid.features['audio'][0][0, 0] += 1; return valid", "silently wrong"),
    ("valid.features['audio'][0][0, 0] = 31337.25; return valid", "foreign data"),
)
PLANT = """
import dataclasses

from fuzzing import sandbox, targets

make = targets.TARGETS["table csv"]
current = None

def planted(place):
    target = make(place)

    def read(folder, store):
        if current is None:
            return target.read(folder, store)
        return bodies[current](target.reference(folder))

    unchanged = {"mutations": (lambda data, chance: data,), "mutable": ("t.csv",)}
    return dataclasses.replace(target, read=read, **unchanged)

def mutated(target, number):
    global current
    current = number
    sandbox.CPU_SECONDS = 0.5 if number in hanging else usual
    return target.files, "t.csv"

usual = sandbox.CPU_SECONDS
targets.mutated = mutated
targets.TARGETS["table csv"] = planted
sandbox._serve()
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> list[Verdict]:
    """What the sandbox says of readers that do one of these, planted into its process."""
    folder = tmp_path_factory.mktemp("planted")
    lines = [f"def body_{number}(valid):\n    {body}\n" for number, (body, _) in enumerate(PLANTED)]
    lines.append(f"bodies = [{', '.join(f'body_{number}' for number in range(len(PLANTED)))}]")
    lines.append(f"hanging = {[number for number, (_, outcome) in enumerate(PLANTED) if outcome == 'hang']}")
    (folder / "planted.py").write_text("\n".join(lines) + PLANT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.setattr(sandbox, "_COMMAND", ("-m", "planted"))
        with Sandbox() as opened:
            return list(opened.judge("table csv", range(len(PLANTED))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "outcome"),
    [pytest.param(number, outcome, id=body) for number, (body, outcome) in enumerate(PLANTED)],
)
def test_the_sandbox_sees_what_must_not_be(number: int, outcome: str, verdicts: list[Verdict]) -> None:
    assert verdicts[number].outcome == outcome, verdicts[number].detail


def test_the_record_of_the_long_run_is_whole_and_without_a_failure() -> None:
    record = json.loads(RECORD.read_text())
    assert record["files"] >= 50_000
    assert set(record["readers"]) == set(TARGETS)
    assert sum(sum(counts.values()) for counts in record["readers"].values()) == record["files"]
    assert record["failures"] == []
    assert not any(record["totals"][outcome] for outcome in FAILURES)
