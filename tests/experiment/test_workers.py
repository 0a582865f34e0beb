"""Workers: they say what went wrong, and end within seconds with the process that asked for them."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from qinn.errors import CheckpointError, DataError, QinnError
from qinn.experiment import workers
from qinn.experiment.comparison import compare
from qinn.experiment.process_limits import ProcessLimits
from qinn.experiment.run import config_text
from qinn.experiment.workers import Worker, WorkerDiedError, run_in_workers

from ..tiny import TRAINING, tiny_config

SOURCE = Path(__file__).parents[2] / "src"
MARK = "QINN_TEST_OF_WORKERS"
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")


def marked(mark):
    """Processes with a mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_until(condition, seconds):
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.05)
    return condition()


@pytest.fixture
def endless(tiny_store):
    """An experiment of two models that goes on until it is ended."""
    return tiny_config(
        tiny_store,
        models={"one": {"kind": "concatenation"}, "two": {"kind": "late_fusion"}},
        training={**TRAINING, "max_epochs": 100_000, "patience": 0},
    )


@pytest.fixture
def mark(request, monkeypatch):
    """Mark the processes that a test starts, and end those that it leaves."""
    value = f"{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv(MARK, value)
    yield value
    for number in marked(value):
        os.kill(number, signal.SIGKILL)


def test_errors_of_runs_come_back_as_they_are(tiny_store, tmp_path):
    text = config_text(tiny_config(tiny_store))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("mine")
    with pytest.raises(CheckpointError, match="is not empty and holds no run"):
        run_in_workers([(text, tmp_path / "taken", None)], 1)
    gone = text.replace(str(tiny_store), str(tmp_path / "no store"))
    with pytest.raises(DataError, match="no store"):
        run_in_workers([(gone, tmp_path / "new", None)], 2)


@pytest.mark.parametrize(
    "error",
    [
        DataError("damaged"),
        OSError(28, "No space left on device", "disk"),
        ZeroDivisionError("a mistake in the code"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_survives_the_way_between_processes(error):
    found = workers._to_error(workers._from_error(error))
    assert type(found) is (RuntimeError if isinstance(error, ZeroDivisionError) else type(error))
    assert str(error) in str(found)


TRAINED, BEGUN = "seed-0/folds/000/checkpoints/last.ckpt", "seed-0/config.yaml"
# Signal, whether to the whole group, exit code, and which file every run has by then (nothing: its worker starts). Who
# is killed handles nothing, so that his workers learn it in the same way in a training and before.
ENDS = {
    "SIGTERM to the parent": (signal.SIGTERM, False, 143, TRAINED),
    "SIGINT to the group": (signal.SIGINT, True, 130, TRAINED),
    "SIGKILL to the parent": (signal.SIGKILL, False, -9, BEGUN),
    "SIGHUP to the group at the start": (signal.SIGHUP, True, 129, ""),
    "SIGINT to the group at the start": (signal.SIGINT, True, 130, ""),
    "SIGKILL to the parent at the start": (signal.SIGKILL, False, -9, ""),
}
# What the tests were started to ignore (in the background, by nohup) their children would ignore too.
QINN = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL); "
QINN += "signal.signal(signal.SIGINT, signal.default_int_handler); sys.argv[0] = 'qinn'; "
QINN += "from qinn.cli import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_however_a_comparison_ends_its_workers_end_with_it(end, endless, mark, tmp_path):
    number, to_group, code, file = ENDS[end]
    (tmp_path / "config.yaml").write_text(config_text(endless))
    process = subprocess.Popen(
        [sys.executable, "-c", QINN, "compare", "config.yaml", "--to", "out", "--workers", "2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    with process.stderr:
        assert wait_until(
            (lambda: all((tmp_path / "out" / model / file).exists() for model in ("one", "two")))
            if file
            else (lambda: len(marked(mark)) == 3),
            120,
        )
        (os.killpg if to_group else os.kill)(process.pid, number)
        assert process.wait(10) == code
        said = process.stderr.read()
    assert wait_until(lambda: not marked(mark), 5)
    assert "Traceback" not in said
    assert said.count("\n") == (code > 0)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "file"), [(signal.SIGKILL, BEGUN), (signal.SIGTERM, TRAINED)])
def test_a_killed_worker_is_said_in_a_sentence_and_the_others_end(number, file, endless, mark, tmp_path):
    def kill():
        wait_until((tmp_path / "out" / "one" / file).exists, 120)
        os.kill(max(marked(mark)), number)

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(QinnError, match="killed from outside"):
        compare(endless, tmp_path / "out", workers=2)
    assert wait_until(lambda: not marked(mark), 5)


@pytest.mark.slow
def test_an_interruption_of_a_python_program_leaves_no_worker(endless, mark, tmp_path):
    def interrupt():
        wait_until(lambda: len(marked(mark)) == 2, 60)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        compare(endless, tmp_path / "out", workers=2)
    signal.signal(signal.SIGINT, before)
    assert wait_until(lambda: not marked(mark), 5)


@pytest.mark.slow
def test_a_comparison_works_outside_the_main_thread_and_without_a_guarded_main_module(tiny_store, tmp_path):
    config = tiny_config(tiny_store, models={"constant": {"kind": "constant"}}, seeds=[0, 1])
    (tmp_path / "config.yaml").write_text(config_text(config))
    (tmp_path / "program.py").write_text(
        "import threading\n"
        "from qinn.experiment.comparison import compare\n"
        "from qinn.experiment.config import read_config\n"
        "work = lambda: compare(read_config('config.yaml'), 'out', workers=2)\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start(); thread.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "comparison.json").is_file()


GREEDY = """
import os


def do(job, tell):
    tell(["begun", job["what"]])
    if job["what"] == "time":
        while True:
            pass
    if job["what"] == "memory":
        return len(bytearray(job["bytes"]))
    if job["what"] == "files":
        kept = [open(os.devnull) for _ in range(1000)]
    if job["what"] == "size":
        with open(job["file"], "wb") as stream:
            stream.write(bytes(2**21))
    if job["what"] == "environment":
        return dict(os.environ)
    if job["what"] == "nonsense":
        for number in range(3, 20):
            try:
                os.write(number, b"[1]\\n")
            except OSError:
                pass
    return None
"""
LIMITS = ProcessLimits(cpu_seconds=1.0, memory=2**30, file_bytes=2**20, files=64)


@pytest.fixture
def greedy(tmp_path, monkeypatch):
    (tmp_path / "greedy_jobs.py").write_text(GREEDY)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("SECRET_OF_OURS", "HF_TOKEN"):
        monkeypatch.setenv(name, "token")
    worker = Worker("greedy_jobs", LIMITS)
    yield worker
    worker.close()


def test_a_process_with_limits_stays_within_them(greedy, tmp_path):
    told = []
    seen = greedy.ask({"what": "environment"}, told.append)
    assert not {"SECRET_OF_OURS", "HF_TOKEN"} & set(seen)
    assert told == [["begun", "environment"]]
    assert greedy.ask({"what": "memory", "bytes": 2**20}) == 2**20
    with pytest.raises(QinnError, match="not enough memory"):
        greedy.ask({"what": "memory", "bytes": 3 * 2**30})
    with pytest.raises(OSError, match="Too many open files"):
        greedy.ask({"what": "files"})
    with pytest.raises(OSError, match="File too large"):
        greedy.ask({"what": "size", "file": str(tmp_path / "large")})
    assert (greedy.resident_memory or 0) > 2**20
    with pytest.raises(WorkerDiedError, match="more computing time") as caught:
        greedy.ask({"what": "time"})
    assert caught.value.out_of_time


def test_each_job_has_its_own_time(tmp_path, monkeypatch):
    (tmp_path / "busy_jobs.py").write_text(
        "import time\n\n\ndef do(job, tell):\n    end = time.process_time() + 0.5\n"
        "    while time.process_time() < end:\n        pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    worker = Worker("busy_jobs", LIMITS)
    for _ in range(3):
        worker.ask({})
    worker.close()


def test_a_worker_whose_answers_make_no_sense_is_ended(greedy):
    with pytest.raises(WorkerDiedError):
        greedy.ask({"what": "nonsense"})
    assert greedy.process.poll() is not None


def test_an_environment_without_limits_is_ours(tmp_path, monkeypatch):
    (tmp_path / "greedy_jobs.py").write_text(GREEDY)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("SECRET_OF_OURS", "HF_TOKEN"):
        monkeypatch.setenv(name, "token")
    worker = Worker("greedy_jobs")
    assert worker.ask({"what": "environment"})["SECRET_OF_OURS"] == "token"
    worker.close()
