"""The server from its start to its end, however that comes."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import pytest

from qinn.errors import CheckpointError, ConfigError, OutputError
from qinn.serving.options import ServeOptions
from qinn.serving.server import Server
from qinn.serving.spool import Spool

from .conftest import ROOT, TOKEN, Served, serving, until

STAND_IN = "tests.serving.stand_in"


def test_a_run_that_cannot_score_is_refused_before_anything_listens(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT))
    server = Server("no-run", ServeOptions(port=0, keep=tmp_path / "kept"), module=STAND_IN)
    with pytest.raises(CheckpointError, match="`no-run` is no run"):
        server.__enter__()
    assert not server.jobs.spool.folder.exists()
    assert not (tmp_path / "kept").exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url, trust_env=False)


def test_what_cannot_be_had_is_refused(served: Served, tmp_path, monkeypatch):
    port = int(served.server.url.rpartition(":")[2])
    with pytest.raises(
        ConfigError, match=rf"^Nothing can listen at `127.0.0.1`, port {port}: address already in use; choose"
    ):
        Server("some-run", ServeOptions(port=port))
    with pytest.raises(
        ConfigError,
        match=r"^Nothing can listen at `256\.0\.0\.1`.* an address of this machine by the option `host`",
    ):
        Server("some-run", ServeOptions(host="256.0.0.1", port=0))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError):
        Server("some-run", ServeOptions(port=0, keep=tmp_path / "file"))
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path)
    with pytest.raises(OutputError, match=r"Cannot write `.*`: permission denied in `.*`; choose a folder"):
        Server("some-run", ServeOptions(port=0, keep=tmp_path))


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 15, "with spaces in it ok", "ünïcode-letters-here", "x" * 201]
)
def test_a_token_that_can_be_guessed_or_not_sent_is_refused(token):
    with pytest.raises(ConfigError, match="Option `token` must be 16 to 200 letters"):
        ServeOptions(token=token)


def test_tokens_are_made_anew():
    servers = [Server("some-run", ServeOptions(port=0)) for _ in range(2)]
    assert servers[0].token != servers[1].token
    assert len(servers[0].token) >= 32
    for server in servers:
        server.close()


@pytest.mark.slow
def test_others_are_let_in_with_a_warning_only():
    with serving(host="0.0.0.0", name=("lab.example",)) as served:
        assert any(line.startswith("warning: whoever reaches this machine") for line in served.said)
        port = served.server.url.rpartition(":")[2]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert client.get("/", headers={"Host": "lab.example"}).status_code == 200
            assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
            assert client.get("/api/v1/about", headers={"Host": "lab.example"}).status_code == 403
            head = {"Host": "lab.example", "Authorization": f"Bearer {TOKEN}"}
            assert client.get("/api/v1/about", headers=head).json()["private"] is False


def test_what_a_killed_server_left_is_removed_by_the_next(tmp_path):
    left = Spool(tmp_path)
    left.place("clip").write_bytes(b"secret")
    mine = Spool(tmp_path)
    assert (mine.removed, left.folder.is_dir()) == (0, True)  # it lives
    os.close(left._lock)  # as the system does it for who is killed
    (tmp_path / "qinn-serve-link").symlink_to(tmp_path)
    (tmp_path / "qinn-serve-mine").mkdir()
    (tmp_path / "qinn-serve-mine" / "thesis").write_text("no lock of ours")
    again = Spool(tmp_path)
    assert (again.removed, left.folder.exists()) == (1, False)
    assert (tmp_path / "qinn-serve-mine" / "thesis").is_file()
    assert again.folder.stat().st_mode & 0o077 == 0
    for spool in (mine, again):
        spool.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["qinn-serve-link", "qinn-serve-mine"]


PROGRAM = """
import signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
import qinn.serving.server as server
server.Server.__init__.__kwdefaults__["module"] = "tests.serving.stand_in"
sys.argv[:] = ["qinn", "serve", "--run", "some-run", "--port", "0", "--token", TOKEN]
from qinn.cli import main
main()
"""


def children(process: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == process:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_however_it_ends_no_process_and_no_clip_is_left(clip, tmp_path, number, code):
    process = subprocess.Popen(
        [sys.executable, "-c", f"TOKEN = {TOKEN!r}\n{PROGRAM}"],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
            "TMPDIR": str(tmp_path),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
        },
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    with process.stderr:
        said = [process.stderr.readline() for _ in range(3)]
        url = re.fullmatch(rf"(http://127\.0\.0\.1:\d+)/#{TOKEN}\n", said[1])
        assert url is not None, said
        with httpx.Client(
            headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60, trust_env=False
        ) as client:
            place = client.post(f"{url[1]}/api/v1/clips", params={"name": "slow.mp4"}, content=clip).headers[
                "location"
            ]
            assert until(lambda: client.get(url[1] + place).json()["state"] == "running")
        workers = children(process.pid)
        assert len(workers) == 1
        [spool] = tmp_path.glob("qinn-serve-*")
        assert len(list(spool.iterdir())) == 2
        process.send_signal(number)
        assert process.wait(20) == code
        rest = process.stderr.read()
    assert until(lambda: not Path(f"/proc/{workers[0]}").exists(), 10)
    assert "Traceback" not in rest
    if number == signal.SIGKILL:
        assert Spool(tmp_path).removed == 1
    else:
        assert rest.endswith("repeat the command to start it again.\n")
        assert not list(tmp_path.glob("*qinn-serve-*"))
    assert tempfile.gettempdir() != str(tmp_path)


@pytest.mark.slow
def test_the_server_itself_does_without_heavy_libraries():
    heavy = {"torch", "matplotlib", "pyarrow", "pandas", "scipy", "av", "transformers"}
    code = f"import sys; import qinn.serving.app; print(sorted({heavy} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
