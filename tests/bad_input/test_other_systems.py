"""Without the modules of POSIX, as on Windows: stores open, runs predict, files are imported and converted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HIDDEN = ("fcntl", "resource", "pwd", "grp", "termios")
HOOK = """
import sys, mmap, os

HIDDEN = {hidden!r}

class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in HIDDEN:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Hiding())
# What Windows lacks as well, as far as torch can do without it here.
for name in ("MADV_DONTNEED", "MADV_SEQUENTIAL"):
    delattr(mmap, name)
for name in ("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "fchmod", "mkfifo"):
    delattr(os, name)
from qinn import cli
import contextlib, io, json, traceback
said = {{}}
for name, commands in json.loads(sys.stdin.read()).items():
    said[name] = []
    for command in commands:
        sys.argv = ["qinn", *map(str, command)]
        err = io.StringIO()
        code = 0
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            try:
                cli.main()
            except SystemExit as end:
                code = end.code or 0
            except BaseException:
                code = "none"
                traceback.print_exc()
        said[name].append([code, err.getvalue()])
print(json.dumps(said))
"""


def write_source(folder: Path) -> list[object]:
    (folder / "t.csv").write_text("id,label\na,1\nb,-1\n")
    np.savez(folder / "f.npz", a=np.ones((2, 3)))
    return ["table", folder / "t.csv", "--scale", "mosi", "--feature", f"a={folder / 'f.npz'}:a"]


COMMANDS = ("import", "inspect", "verify", "convert", "synthesize", "predict", "evaluate", "pickle")


@pytest.fixture(scope="module")
def said(tiny_run: Path, tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list]]:
    """Exit codes and errors of commands, all of them in one process: what takes time is its imports."""
    folder = tmp_path_factory.mktemp("other")
    commands = {
        "import": [["data", "import", *write_source(folder), "--to", folder / "s", "--overwrite"]] * 2,
        "inspect": [["data", "inspect", tiny_store]],
        "verify": [["data", "verify", tiny_store]],
        "convert": [
            ["data", "convert", tiny_store, "--to", folder / f"c{end}"] for end in (".npz", ".parquet")
        ],
        "synthesize": [
            ["data", "synthesize", "--to", folder / "y"]
            + [part for split in ("train", "valid", "test") for part in (f"--num-{split}", 4)]
        ],
        "predict": [["predict", tiny_run, tiny_store, "--to", folder / "p.csv"]],
        "evaluate": [["evaluate", tiny_run]],
        "pickle": [
            ["data", "convert", tiny_store, "--to", folder / "m.pkl"],
            ["data", "import", folder / "m.pkl", "--to", folder / "again"],
        ],
    }
    assert tuple(commands) == COMMANDS
    done = subprocess.run(
        [sys.executable, "-c", HOOK.format(hidden=HIDDEN)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        input=json.dumps(commands, default=str),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_work_without_the_modules_of_posix(command, said):
    for code, err in said[command]:
        assert code in ((0, 1) if command == "inspect" else (0,)), err
        assert "Traceback" not in err


def test_a_file_is_written_where_folders_cannot_be_opened(monkeypatch, tmp_path):
    """As on Windows, where a folder has no descriptor that could be synced or locked."""
    from qinn.atomic_writing import complete_file, locked_folder

    opened = os.open

    def refusing(path, flags, *rest):
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, *rest)

    monkeypatch.setattr("qinn.atomic_writing.os.open", refusing)
    monkeypatch.setattr("qinn.atomic_writing.fcntl", None)
    with complete_file(tmp_path / "a.txt", overwrite=False) as stream:
        stream.write(b"all")
    assert (tmp_path / "a.txt").read_bytes() == b"all"
    folder, descriptor = locked_folder(tmp_path / "store")
    assert folder.is_dir()
    assert descriptor is None
