"""Without the modules of POSIX, as on Windows: stores open, runs predict, files are imported and converted."""

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
sys.argv = ["qinn", *sys.argv[1:]]
cli.main()
"""


def qinn(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = HOOK.format(hidden=HIDDEN)
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def write_source(folder: Path) -> list[object]:
    (folder / "t.csv").write_text("id,label\na,1\nb,-1\n")
    np.savez(folder / "f.npz", a=np.ones((2, 3)))
    return ["table", folder / "t.csv", "--scale", "mosi", "--feature", f"a={folder / 'f.npz'}:a"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["import", "inspect", "verify", "convert", "synthesize", "predict", "evaluate", "pickle"]
)
def test_commands_work_without_the_modules_of_posix(command, tiny_run, tiny_store, tmp_path):
    commands = {
        "import": [["data", "import", *write_source(tmp_path), "--to", tmp_path / "s", "--overwrite"]] * 2,
        "inspect": [["data", "inspect", tiny_store]],
        "verify": [["data", "verify", tiny_store]],
        "convert": [
            ["data", "convert", tiny_store, "--to", tmp_path / f"c{end}"] for end in (".npz", ".parquet")
        ],
        "synthesize": [
            [
                "data",
                "synthesize",
                "--to",
                tmp_path / "y",
                "--num-train",
                4,
                "--num-valid",
                4,
                "--num-test",
                4,
            ]
        ],
        "predict": [["predict", tiny_run, tiny_store, "--to", tmp_path / "p.csv"]],
        "evaluate": [["evaluate", tiny_run]],
        "pickle": [
            ["data", "convert", tiny_store, "--to", tmp_path / "m.pkl"],
            ["data", "import", tmp_path / "m.pkl", "--to", tmp_path / "again"],
        ],
    }
    for arguments in commands[command]:
        done = qinn(*arguments)
        assert done.returncode in ((0, 1) if command == "inspect" else (0,)), done.stderr
        assert "Traceback" not in done.stderr


def test_a_file_is_written_where_folders_cannot_be_opened(monkeypatch, tmp_path):
    """As on Windows, where a folder has no descriptor that could be synced or locked."""
    from qinn.placement import complete_file, locked_folder

    opened = os.open

    def refusing(path, flags, *rest):
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, *rest)

    monkeypatch.setattr("qinn.placement.os.open", refusing)
    monkeypatch.setattr("qinn.placement.fcntl", None)
    with complete_file(tmp_path / "a.txt", overwrite=False) as stream:
        stream.write(b"all")
    assert (tmp_path / "a.txt").read_bytes() == b"all"
    folder, descriptor = locked_folder(tmp_path / "store")
    assert folder.is_dir()
    assert descriptor is None
