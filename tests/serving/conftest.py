"""A server with a stand-in for the scorer, in this process; its address, a client and clips."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from qinn.serving.options import ServeOptions
from qinn.serving.server import Server

from ..made_clips import gray, voice, write_clip

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-of-a-test-1234"
PATIENT = 120.0
"""Seconds for what takes less than one on an idle machine."""


@dataclass
class Served:
    """A server and a client that has its token."""

    server: Server
    client: httpx.Client
    said: list[str]

    def send(self, content: Any, name: str = "a.mp4", **given: Any) -> httpx.Response:
        return self.client.post("/api/v1/clips", params={"name": name, **given}, content=content)

    def status(self, url: str) -> dict[str, Any]:
        return self.client.get(url).json()

    def followed(self, url: str) -> list[dict[str, Any]]:
        with self.client.stream("GET", f"{url}/events") as events:
            assert events.headers["content-type"].startswith("text/event-stream")
            return [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]

    def scored(self, content: Any, name: str = "a.mp4", **given: Any) -> httpx.Response:
        """Send a clip, wait for its end and return the result; nothing is left of it."""
        sent = self.send(content, name, **given)
        assert sent.status_code == 202, sent.text
        url = sent.headers["location"]
        self.followed(url)
        found = self.client.get(f"{url}/result")
        assert self.client.delete(url).status_code == 204
        return found

    def forget(self) -> None:
        """Leave nothing of what was sent, wherever it is."""
        jobs = self.server.jobs
        for job in list(jobs._jobs.values()):
            jobs.remove(job)
        assert until(lambda: not self.spooled() and not jobs._running), (self.spooled(), jobs.counts())

    def spooled(self) -> list[str]:
        return sorted(path.name for path in self.server.jobs.spool.folder.iterdir() if path.name != "lock")

    @property
    def workers(self) -> list[int]:
        processes = [one._worker for one in self.server.jobs.processes]
        return [one.process.pid for one in processes if one is not None]


def until(condition: Callable[[], Any], seconds: float = PATIENT) -> Any:
    limit = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < limit:
        time.sleep(0.05)
    return found


@contextmanager
def serving(**options: Any) -> Iterator[Served]:
    said: list[str] = []
    patience = options.pop("patience", None)
    run = options.pop("run", "some-run")
    options = {"port": 0, "token": TOKEN, "max_seconds": 20.0, **options}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        with (
            Server(
                run,
                ServeOptions(**options),
                say=said.append,
                patience=patience,
                module="tests.serving.stand_in",
            ) as server,
            httpx.Client(
                base_url=server.url,
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=PATIENT,
                trust_env=False,
            ) as client,
        ):
            yield Served(server, client, said)


@pytest.fixture(scope="package")
def lasting() -> Iterator[Served]:
    with serving() as found:
        yield found


@pytest.fixture
def served(lasting: Served) -> Served:
    """A server that is started once, with nothing of what earlier tests sent."""
    lasting.forget()
    return lasting


@pytest.fixture(scope="package")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A film of one second."""
    path = tmp_path_factory.mktemp("clips") / "a.mp4"
    return write_clip(path, gray([0, 128, 255] * 8), voice(1.0, 120)).read_bytes()
