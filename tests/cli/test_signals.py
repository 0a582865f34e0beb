"""Signals that ask a command to end: exit code, one sentence, nothing left, and the repeat ends as if undisturbed."""

import os
import pkgutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml
from kills import contents, differences

import qinn.atomic_writing
from qinn import cli, interruption
from qinn.interruption import Interrupted, supervise
from qinn.training.loop import TrainingLoop

from ..tiny import tiny_content

SOURCE = Path(__file__).parents[2] / "src"
CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
CONTINUED, STARTED = "to continue where it stopped", "to start it again"


@pytest.fixture(autouse=True)
def signals_of_a_terminal():
    """Handlers as in a process that a person started, and a test that fails by being killed takes no other along."""
    before = {number: signal.getsignal(number) for number in interruption.NUMBERS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    handlers = {number: signal.getsignal(number) for number in interruption.NUMBERS}
    yield
    assert {number: signal.getsignal(number) for number in interruption.NUMBERS} == handlers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def qinn(monkeypatch, capfd):
    """Run the command in this process; return exit code and what it said on the error stream."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["qinn", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        return code, capfd.readouterr().err

    return call


def send(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(0.01)  # gives the handler its turn


def at_call(monkeypatch, owner, name, signal_name, number=1):
    """Send a signal at the given call of a function, before it does its work."""
    function, calls = getattr(owner, name), iter(range(1, 10_000))

    def wrapped(*arguments, **options):
        if next(calls) == number:
            send(signal_name)
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, wrapped)


def prepared(folder, tiny_store, tiny_run):
    """Make the files that the commands below name."""
    folder.mkdir()
    (folder / "store").symlink_to(tiny_store)
    (folder / "run").symlink_to(tiny_run)
    models = {"one": {"kind": "concatenation"}, "two": {"kind": "late_fusion"}}
    content = tiny_content("store", models=models)
    content["training"] = {**content["training"], "max_epochs": 3, "refit": True, "checkpoint_seconds": 0}
    (folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    rows = [f"{row},{row % 5 - 2},{('train', 'valid', 'test')[row % 3]}" for row in range(30)]
    (folder / "table.csv").write_text("\n".join(["id,label,split", *rows]) + "\n")
    np.save(folder / "text.npy", np.arange(60.0).reshape(30, 2))


COMMANDS = {
    "train": ["train", "config.yaml", "--to", "out"],
    "compare": ["compare", "config.yaml", "--to", "out"],
    "import": [
        "data",
        "import",
        "table",
        "table.csv",
        "--to",
        "out",
        "--feature",
        "text=text.npy",
        "--scale",
        "mosi",
    ],
    "synthesize": [
        "data",
        "synthesize",
        "--to",
        "out",
        "--num-train",
        "20",
        "--num-valid",
        "5",
        "--num-test",
        "5",
    ],
    "convert": ["data", "convert", "store", "--to", "out", "--format", "parquet"],
    "describe": ["data", "describe", "store", "--html", "out/page.html"],
    "predict": ["predict", "run", "store", "--to", "out/table.csv"],
    "explain": ["explain", "run", "--to", "out"],
    "report": ["report", "run", "--to", "out/page.html"],
    "sweep-absent": ["sweep-absent", "run", "--to", "out", "--rates", "0,0.5", "--masks", "1"],
}
# Command, signal, and at which complete file or folder being written (or training step) it arrives.
WRITES = [
    ("train", "SIGTERM", 1),
    ("train", "SIGINT", 3),
    ("train", "SIGTERM", 8),
    ("compare", "SIGTERM", 12),
    ("import", "SIGTERM", 2),
    ("synthesize", "SIGHUP", 3),
    ("convert", "SIGINT", 1),
    ("describe", "SIGTERM", 1),
    ("predict", "SIGTERM", 1),
    ("explain", "SIGTERM", 2),
    ("report", "SIGINT", 1),
    ("sweep-absent", "SIGTERM", 2),
]


@pytest.fixture(scope="module")
def undisturbed():
    """What each command leaves where nothing disturbs it; whoever needs it first puts it in."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize(("command", "name", "number"), WRITES, ids=str)
def test_a_signal_while_a_file_is_written_ends_the_command_and_the_repeat_ends_undisturbed(
    command, name, number, qinn, undisturbed, tiny_store, tiny_run, tmp_path, monkeypatch
):
    for folder in ("undisturbed", "disturbed"):
        prepared(tmp_path / folder, tiny_store, tiny_run)
    if command not in undisturbed:
        monkeypatch.chdir(tmp_path / "undisturbed")
        assert qinn(*COMMANDS[command])[0] == 0
        undisturbed[command] = contents(tmp_path / "undisturbed" / "out")
    monkeypatch.chdir(tmp_path / "disturbed")
    with monkeypatch.context() as patched:
        at_call(patched, qinn_flush_owner(command), "flush", name, number)
        code, said = qinn(*COMMANDS[command])
    aim = CONTINUED if command in ("train", "compare", "sweep-absent") else STARTED
    *before, last = said.splitlines(keepends=True)
    assert (code, last) == (CODES[name], f"error: {WORDS[name]}; repeat the command {aim}.\n")
    assert [line for line in before if not line.startswith(("note: ", "runs: "))] == []
    left = {path.name for path in (tmp_path / "disturbed").rglob(".*.partial")}
    assert left <= ({".outputs.partial"} if command == "sweep-absent" else set())
    assert qinn(*COMMANDS[command])[0] == 0
    assert not differences(contents(tmp_path / "disturbed" / "out"), undisturbed[command])


def qinn_flush_owner(command):
    """The module whose `flush` a command calls: the arrays of stores import it by name."""
    import qinn.data.stores.step_arrays

    return qinn.data.stores.step_arrays if command in ("import", "synthesize") else qinn.atomic_writing


@pytest.mark.slow
@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_signal_in_a_training_step_ends_the_command_and_the_repeat_goes_on(
    command, name, qinn, undisturbed, tiny_store, tiny_run, tmp_path, monkeypatch
):
    for folder in ("undisturbed", "disturbed"):
        prepared(tmp_path / folder, tiny_store, tiny_run)
    if command not in undisturbed:
        monkeypatch.chdir(tmp_path / "undisturbed")
        assert qinn(*COMMANDS[command])[0] == 0
        undisturbed[command] = contents(tmp_path / "undisturbed" / "out")
    monkeypatch.chdir(tmp_path / "disturbed")
    with monkeypatch.context() as patched:
        at_call(patched, TrainingLoop, "step", name, 4)
        code, said = qinn(*COMMANDS[command])
    assert (code, said) == (CODES[name], f"error: {WORDS[name]}; repeat the command {CONTINUED}.\n")
    epochs, run_epoch = [], TrainingLoop.run_epoch
    monkeypatch.setattr(
        TrainingLoop, "run_epoch", lambda self, *given: (epochs.append(self.epoch), run_epoch(self, *given))
    )
    assert qinn(*COMMANDS[command])[0] == 0
    assert epochs[:2] == [1, 2]
    assert not differences(contents(tmp_path / "disturbed" / "out"), undisturbed[command])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    ("command", "place"),
    [
        (["evaluate", "run"], "qinn.experiment.evaluation.predict_parts"),
        (["demo", "--to", "out"], "qinn.data.stores.writing.StoreWriter.add_many"),
        (["info", "run"], "qinn.describe"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_signal_in_the_middle_of_a_computation_ends_the_command(
    command, place, name, qinn, tiny_store, tiny_run, tmp_path, monkeypatch
):
    prepared(tmp_path / "here", tiny_store, tiny_run)
    monkeypatch.chdir(tmp_path / "here")
    owner, function = place.rsplit(".", 1)
    at_call(monkeypatch, pkgutil.resolve_name(owner), function, name)
    code, said = qinn(*command)
    aim = CONTINUED if command[0] == "demo" else STARTED
    assert (code, said) == (CODES[name], f"error: {WORDS[name]}; repeat the command {aim}.\n")
    assert not (tmp_path / "here" / "out" / "store").exists()


AT_IMPORT = """
import os, signal, sys
class Hook:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["AT_IMPORT_OF"]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), getattr(signal, os.environ["SEND"]))
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Hook())
sys.argv[0] = "qinn"
from qinn.cli import main
main()
"""


def in_process(program, *arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", **environment},
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "command"),
    [
        ("typer", "SIGINT", ["--version"]),
        ("rich.table", "SIGTERM", ["--version"]),
        ("numpy._core._multiarray_umath", "SIGINT", ["info", "nothing"]),
        ("torch", "SIGTERM", ["train", "config.yaml"]),
        ("torch.nn.functional", "SIGINT", ["train", "config.yaml"]),
        ("qinn.training.fit", "SIGTERM", ["train", "config.yaml", "--to", "out"]),
    ],
)
def test_a_signal_while_modules_are_imported_ends_the_command(
    module, name, command, tiny_store, tiny_run, tmp_path
):
    prepared(tmp_path / "here", tiny_store, tiny_run)
    done = in_process(AT_IMPORT, *command, cwd=tmp_path / "here", AT_IMPORT_OF=module, SEND=name)
    assert done.returncode == CODES[name], done.stderr
    aim = CONTINUED if command[0] == "train" else STARTED
    assert done.stderr == f"error: {WORDS[name]}; repeat the command {aim}.\n"
    assert not done.stdout


SUPERVISED = """
import os, signal, sys, time
from qinn.interruption import say, supervise
signal.signal(signal.SIGINT, signal.default_int_handler)
def send(name):
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(0.05)
def work():
{work}
supervise(work, lambda number: say("the end"))
print("went on")
"""
WORK = {
    "swallowed by a library": """
    while True:
        try:
            send("SIGTERM")
        except BaseException:
            time.sleep(600)
""",
    "lost in a destructor": """
    class Lost:
        def __del__(self):
            send("SIGTERM")
    lost = Lost()
    del lost
    time.sleep(600)
""",
    "in a computation that checks for no signal": """
    import hashlib, threading
    threading.Thread(target=lambda: (time.sleep(0.2), send("SIGTERM")), daemon=True).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
""",
    "turned into another error": """
    try:
        send("SIGTERM")
    except BaseException:
        raise ImportError("numpy failed to import")
""",
    "again during a slow shutdown": """
    import threading
    try:
        send("SIGTERM")
    finally:
        threading.Thread(target=lambda: (time.sleep(0.7), send("SIGINT")), daemon=True).start()
        time.sleep(600)
""",
    "while a thread fails of what it takes away": """
    import threading
    thread = threading.Thread(target=lambda: [][0] if gone.wait() else None)
    gone = threading.Event()
    thread.start()
    try:
        send("SIGTERM")
    finally:
        gone.set()
        thread.join()
""",
    "twice at once": """
    try:
        send("SIGTERM")
    finally:
        send("SIGTERM")
        print("tidied up", flush=True)
""",
}


@pytest.fixture(scope="module")
def supervised():
    """How each work ended and after how many seconds; all at once, since most of them only wait."""

    def end(work):
        started = time.perf_counter()
        return in_process(SUPERVISED.format(work=work)), time.perf_counter() - started

    with ThreadPoolExecutor(len(WORK)) as pool:
        return dict(zip(WORK, pool.map(end, WORK.values()), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("work", WORK)
def test_wherever_a_signal_arrives_the_end_comes_within_seconds_and_in_one_line(work, supervised):
    done, seconds = supervised[work]
    assert (done.returncode, done.stderr) == (143, "error: the end\n")
    assert done.stdout == ("tidied up\n" if work == "twice at once" else "")
    assert seconds < (3 if "again" in work or "twice" in work else 6)


def test_ignored_signals_stay_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    supervise(lambda: send("SIGHUP"), lambda number: None)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_handlers_and_hooks_are_those_of_before_however_it_ends():
    def state():
        hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
        return signal.getsignal(signal.SIGINT), *hooks

    def fail():
        raise ValueError("mine")

    before = state()
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    supervise(lambda: None, print)
    with pytest.raises(ValueError, match="mine"):
        supervise(fail, print)
    with pytest.raises(SystemExit) as end:
        supervise(lambda: send("SIGTERM"), lambda number: None)
    assert end.value.code == 143
    assert state() == before
    assert signal.set_wakeup_fd(wakeup) == wakeup


def test_outside_the_main_thread_work_just_runs():
    done = []
    thread = threading.Thread(target=lambda: supervise(lambda: done.append(1), print))
    thread.start()
    thread.join()
    assert done == [1]


def test_no_library_takes_an_interruption_for_its_own():
    assert not issubclass(Interrupted, Exception | KeyboardInterrupt | SystemExit)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_handlers_are_put_in_place_is_not_lost(number):
    code = f"""
import os, signal, threading
from qinn.interruption import say, supervise
class Eager(threading.Thread):
    def start(self):
        os.kill(os.getpid(), {int(number)})
        super().start()
threading.Thread = Eager
def work():
    raise SystemExit(3)
supervise(work, lambda number: say(str(number)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (128 + number, f"error: {int(number)}\n")
