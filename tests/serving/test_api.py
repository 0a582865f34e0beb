"""The interface for programs: a clip in, where it is, its result, gone; and what is refused."""

import errno
import json
import os
import queue
import re
import resource
import socket
import time
from pathlib import Path

import pytest

from qinn.results.clip_score import ClipScore
from qinn.serving import app, connections, jobs, server
from qinn.serving.jobs import Patience
from qinn.serving.scoring import OURS

from .conftest import Served, serving, until


def test_a_clip_is_scored_and_nothing_stays_of_it(served: Served, clip):
    sent = served.send(clip, "holiday.mp4", words="one two")
    assert sent.status_code == 202
    url = sent.headers["location"]
    assert sent.json()["state"] in ("waiting", "running")
    assert served.client.get(f"{url}/result").status_code in (200, 409)
    states = served.followed(url)
    assert states[-1]["state"] == "done"
    assert served.spooled() == []
    score = ClipScore.from_json(served.client.get(f"{url}/result").json())
    assert (score.clip, score.seconds > 0.9) == ("holiday.mp4", True)
    assert [word.text for word in score.words] == ["one", "two"]
    assert "data-begin" in served.client.get(f"{url}/fragment").text
    page = served.client.get(f"{url}/page")
    assert page.headers["content-disposition"].startswith("attachment")
    assert page.text.lower().startswith("<!doctype html>")
    assert served.client.delete(url).status_code == 204
    assert served.client.get(url).status_code == 404
    assert served.client.delete(url).status_code == 404


class _Lingering(type(Path())):
    """A file that takes its time to go, on a disk that is busy, say."""

    def unlink(self, missing_ok: bool = False) -> None:
        time.sleep(0.3)
        super().unlink(missing_ok)


@pytest.mark.parametrize(("content", "state"), [(None, "done"), (b"no film at all", "failed")])
def test_a_clip_is_over_once_nothing_is_left_of_it(served: Served, clip, monkeypatch, content, state):
    spool = served.server.jobs.spool
    monkeypatch.setattr(spool, "place", lambda name: _Lingering(spool.folder / name))
    url = served.send(content or clip).headers["location"]
    assert served.followed(url)[-1]["state"] == state
    assert served.spooled() == []
    before = served.workers
    assert served.client.delete(url).status_code == 204  # and nothing that works on the next one ends with it
    assert served.scored(clip).status_code == 200
    assert served.workers == before


def test_a_cut_is_scored(served: Served, clip):
    assert served.scored(clip, begin=0.2, end=0.7).json()["seconds"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"begin": 2, "end": 1}, "`end` must lie behind `begin`."),
        ({"begin": "x"}, "`begin`: "),
        ({"begin": -1}, "`begin`: "),
        ({"end": "nan"}, "`end`: "),
        ({"words": "x" * 5001}, "`words`: "),
        ({"name": "x" * 1001}, "`name`: "),
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused_in_a_sentence(served: Served, clip, given, said):
    answer = served.client.post("/api/v1/clips", params=given, content=clip)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(said)
    assert answer.json()["error"].endswith(".")
    assert served.spooled() == []


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"no film at all", "b.mp4", "`b.mp4` is no clip that can be read"),
        (os.urandom(4096), "noise.webm", "`noise.webm` is no clip that can be read"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "list.mp4", "`list.mp4` is no clip"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "list.mp4", "`list.mp4` is no clip"),
        (
            b'<svg xmlns="http://www.w3.org/2000/svg"/>',
            "x.mp4",
            "`x.mp4` is no clip that can be read: it is a text",
        ),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "x.mp4", "`x.mp4` is no clip"),
    ],
    ids=["text", "noise", "playlist", "concatenation", "drawing", "picture"],
)
def test_what_is_no_clip_is_refused_by_its_name(served: Served, content, name, said):
    answer = served.scored(content, name)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(said)
    assert str(served.server.jobs.spool.folder) not in answer.text
    assert served.spooled() == []


def test_an_empty_body_is_refused(served: Served):
    answer = served.send(b"")
    assert (answer.status_code, answer.json()["error"]) == (422, "`a.mp4` is empty.")


def test_names_never_reach_the_disk_and_are_shown_as_text(served: Served, clip):
    sent = served.send(clip, "../../x/\x1b[31m`evil`.mp4").json()
    assert sent["name"] == "\\x1b[31m'evil'.mp4"
    assert set(served.spooled()) <= {sent["id"]}
    served.client.delete(f"/api/v1/clips/{sent['id']}")
    assert len(served.send(clip, "x" * 500 + ".mp4").json()["name"]) == 121


def test_what_lies_with_the_server_says_no_place_of_it(served: Served, clip):
    for name in ("leak.mp4", "odd.mp4"):
        answer = served.scored(clip, name)
        assert answer.status_code == 422
        assert answer.json()["error"].startswith(
            "The clip could not be scored for a reason that lies with this server"
        )
    assert any("/etc/passwd" in line for line in served.said)


@pytest.mark.slow
def test_a_process_that_dies_costs_one_answer(served: Served, clip):
    answer = served.scored(clip, "crash.mp4")
    assert answer.json()["error"].startswith("`crash.mp4` ended the process that read it")
    assert served.scored(clip).status_code == 200


@pytest.mark.slow
def test_too_much_is_refused_before_and_while_it_arrives(monkeypatch):
    written: list[int] = []
    with serving(max_megabytes=0.01) as served:
        remove = served.server.jobs.remove

        def removed(job):
            written.append(job.clip.path.stat().st_size if job.clip.path.exists() else 0)
            remove(job)

        monkeypatch.setattr(served.server.jobs, "remove", removed)
        stated = served.send(bytes(10_001))
        streamed = served.send(iter([bytes(4_000)] * 4))
        for answer in (stated, streamed):
            assert answer.status_code == 413
            assert answer.json()["error"].startswith("The clip has more than 0.01 MB")
        assert served.spooled() == []
        # and the place in the queue is free again
        assert served.server.jobs.counts()["arriving"] == 0
        # nor was more of it written than a clip may have, which one of that size is
        assert len(written) == 1
        assert written[0] <= 10_000
        assert served.scored(bytes(10_000), "b.mp4").json()["error"].startswith("`b.mp4` is no clip")


@pytest.mark.slow
def test_who_sends_too_slowly_is_not_waited_for(served: Served, monkeypatch):
    monkeypatch.setattr(app, "SECONDS_BETWEEN_PIECES", 0.3)

    def dripping():
        yield b"x"
        time.sleep(1.5)
        yield b"x"

    assert served.send(dripping()).status_code == 408
    assert served.spooled() == []
    monkeypatch.setattr(app, "SECONDS_FOR_A_BODY", 0.5)

    def never_ending():
        for _ in range(200):
            yield b"x"
            time.sleep(0.1)

    started = time.monotonic()
    assert served.send(never_ending()).status_code == 408
    assert time.monotonic() - started < 15
    assert served.spooled() == []


def test_a_clip_for_which_there_is_no_space_is_refused(served: Served):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        answer = served.send(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert answer.status_code == 507
    assert answer.json()["error"].startswith("The server has no space for the clip")
    assert (served.spooled(), served.server.jobs.counts()["arriving"]) == ([], 0)


def test_a_crowd_is_told_to_come_again(served: Served, monkeypatch):
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 3)
    crowd = [connected(served) for _ in range(4)]
    try:
        assert until(lambda: served.client.get("/").status_code == 503)
        answer = served.client.get("/api/v1/about")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        assert answer.json() == {"error": "Too many ask at the same time; come again in 10 s."}
        assert "content-security-policy" in answer.headers
    finally:
        for one in crowd:
            one.close()
    assert until(lambda: served.client.get("/api/v1/about").status_code == 200)


def connected(served: Served) -> socket.socket:
    host, port = served.server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def test_a_sender_that_goes_away_leaves_nothing(served: Served):
    with connected(served) as connection:
        head = (
            "POST /api/v1/clips HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nAuthorization: Bearer "
        )
        connection.sendall(f"{head}{served.server.token}\r\n\r\nx".encode())
        assert until(lambda: served.server.jobs.counts()["arriving"] == 1)
        assert until(served.spooled)
    assert until(lambda: not served.spooled())
    assert until(lambda: served.server.jobs.counts()["arriving"] == 0)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHo"], ids=["nothing", "half a head"])
def test_who_asks_nothing_is_hung_up_on(served: Served, monkeypatch, sent):
    monkeypatch.setattr(connections, "SECONDS_FOR_A_HEAD", 0.3)
    with connected(served) as connection:
        connection.sendall(sent)
        assert connection.recv(1) == b""


def test_a_second_request_that_drips_in_is_hung_up_on_too(served: Served, monkeypatch):
    monkeypatch.setattr(connections, "SECONDS_FOR_A_HEAD", 0.3)
    with connected(served) as connection:
        connection.sendall(b"GET /icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answered = b""
        while b"</svg>" not in answered:
            answered += connection.recv(2**16)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            _drip(connection)


def _drip(connection: socket.socket) -> None:
    for _ in range(200):
        connection.sendall(b"G")
        time.sleep(0.05)


def test_the_interface_is_described(served: Served):
    described = served.client.get("/api/v1/openapi.json").json()
    paths = described["paths"]
    assert set(paths) == {
        "/api/v1/about",
        "/api/v1/clips",
        "/api/v1/clips/{id}",
        "/api/v1/clips/{id}/events",
        "/api/v1/clips/{id}/result",
        "/api/v1/clips/{id}/fragment",
        "/api/v1/clips/{id}/page",
    }
    assert described["security"] == [{"token": []}]
    named = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    referred = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(described)))
    assert {"#/components/schemas/ClipScore", "#/components/schemas/Error"} <= referred <= named
    post = paths["/api/v1/clips"]["post"]
    assert set(post["responses"]) == {*("202", "403", "408", "413", "421", "422", "429", "503", "507")}
    assert "application/octet-stream" in post["requestBody"]["content"]
    status = served.client.get("/api/v1/about").json()
    assert status["run"] == "a run of a test"
    stated = set(described["components"]["schemas"]["Status"]["properties"])
    assert stated == set(served.server.jobs.status(served.server.jobs.reserve("x", None, None, None)))


def test_there_is_nothing_else(served: Served):
    for path in (
        "/docs",
        "/redoc",
        "/openapi.json",
        "/page/index.html",
        "/%2e%2e/pyproject.toml",
        "/score_in_process.py",
        "/page.js/",
        "/api/v1/about/",
    ):
        answer = served.client.get(path)
        assert (answer.status_code, answer.json()) == (404, {"error": "There is nothing here."})
    assert served.client.put("/api/v1/clips").status_code == 405


@pytest.mark.slow
def test_one_after_the_other_and_an_honest_answer_when_there_is_no_room(clip):
    with serving(waiting=1) as served:
        first = served.send(clip, "slow.mp4").headers["location"]
        assert until(lambda: served.status(first)["state"] == "running")
        second = served.send(clip, "b.mp4").headers["location"]
        assert served.status(second) | {"id": ""} == {
            "id": "",
            "name": "b.mp4",
            "state": "waiting",
            "ahead": 1,
            "stage": None,
            "share": None,
            "error": None,
        }
        full = served.send(clip, "c.mp4")
        assert full.status_code == 429
        assert int(full.headers["retry-after"]) >= 1
        assert full.json()["error"].startswith(
            "2 clips are being scored or wait for it, and no more can wait; come again"
        )
        # giving up the first ends its process; the second one's turn comes
        before = served.workers
        assert served.client.delete(first).status_code == 204
        assert served.followed(second)[-1]["state"] == "done"
        assert served.workers != before
        assert served.spooled() == []


@pytest.mark.slow
def test_whoever_goes_away_or_never_comes_back_has_his_clip_given_up(clip):
    with serving(patience=Patience(unwatched=0.3)) as served:
        url = served.send(clip, "slow.mp4").headers["location"]
        with served.client.stream("GET", f"{url}/events") as events:
            lines = events.iter_lines()  # closes the stream when it goes
            assert next(lines)
            assert until(lambda: served.server.jobs.counts()["running"] == 1)
            time.sleep(2)  # as long as somebody watches, nothing ends
            assert served.server.jobs.counts()["running"] == 1
        assert until(lambda: served.server.jobs.counts()["running"] == 0)
        assert served.client.get(url).status_code == 404
        served.send(clip, "slow.mp4")
        for job in served.server.jobs._jobs.values():
            job.asked -= Patience().unasked
        assert until(lambda: not any(served.server.jobs.counts().values()))
        assert until(lambda: not served.spooled())
        assert served.scored(clip).status_code == 200


@pytest.mark.slow
def test_what_takes_too_long_or_grows_is_replaced(clip):
    with serving(patience=Patience(working=1.0)) as served:
        answer = served.scored(clip, "slow.mp4")
        assert answer.json()["error"] == "`slow.mp4` took too long and was given up; cut it."
    with serving() as served:
        assert served.scored(clip).status_code == 200
        before = served.workers
        assert served.scored(clip, "grow.mp4").status_code == 200
        assert served.workers == before or served.server.jobs.replaced
        assert served.scored(clip, "grow.mp4").status_code == 200
        assert until(lambda: served.server.jobs.replaced >= 1)
        assert served.scored(clip).status_code == 200
    with serving(patience=Patience(memory=2**20)) as served:
        assert (
            served.scored(clip, "slow.mp4")
            .json()["error"]
            .startswith("`slow.mp4` needs more memory than it may")
        )


@pytest.mark.slow
def test_results_are_forgotten_after_a_while_and_never_too_many(clip, monkeypatch):
    monkeypatch.setattr("qinn.serving.jobs._MOST_KEPT", 1)
    with serving(patience=Patience(kept=1.0)) as served:
        first = served.send(clip).headers["location"]
        served.followed(first)
        second = served.send(clip).headers["location"]
        served.followed(second)
        assert until(lambda: served.client.get(first).status_code == 404)
        time.sleep(1.6)
        assert served.client.get(second).status_code == 404


@pytest.mark.slow
def test_clips_are_kept_only_where_that_is_asked_for(clip, tmp_path):
    with serving(keep=tmp_path / "kept") as served:
        assert "kept in" in served.said[2]
        assert served.client.get("/api/v1/about").json()["kept"] is True
        kept = []
        for name in ("mine.MP4", "mine.exe"):
            url = served.send(clip, name).headers["location"]
            served.followed(url)
            kept.append(url)
        served.send(b"garbage", "b.mp4")
        found = sorted(path.name for path in (tmp_path / "kept").rglob("*") if path.is_file())
        assert found == ["clip", "clip.mp4", "score.json", "score.json"]
        assert next((tmp_path / "kept").rglob("clip.mp4")).read_bytes() == clip
        assert not any(
            place.stat().st_mode & 0o077 for place in (tmp_path / "kept", *(tmp_path / "kept").iterdir())
        )
        assert served.client.delete(kept[0]).status_code == 204
        assert not list((tmp_path / "kept").rglob("clip.mp4"))
        # What is kept can still be deleted when its result was forgotten.
        served.server.jobs._jobs.clear()
        assert [served.client.delete(kept[1]).status_code for _ in range(2)] == [204, 404]
        assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.slow
def test_a_run_that_is_away_for_a_while_scores_again_when_it_is_back(clip, tmp_path):
    with serving(run=str(tmp_path)) as served:
        (tmp_path / "gone").touch()
        [process] = served.server.jobs.processes
        process.kill()
        [*_, said] = served.followed(served.send(clip).headers["location"])
        assert (said["state"], said["error"]) == ("failed", OURS)
        (tmp_path / "gone").unlink()
        assert served.scored(clip).status_code == 200


@pytest.mark.slow
def test_what_cannot_be_kept_or_is_deleted_meanwhile_leaves_nothing(clip, tmp_path, monkeypatch):
    kept, move = tmp_path / "kept", jobs.shutil.move
    with serving(keep=kept) as served:

        def full(source, target):
            target.write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(jobs.shutil, "move", full)
        url = served.send(clip).headers["location"]
        assert served.followed(url)[-1]["state"] == "done"
        assert list(kept.iterdir()) == []
        assert served.said[-1] == "a clip and its result could not be kept: No space left on device"

        # A clip may be scored before its sender hears where it is.
        address = queue.SimpleQueue()

        def deleting(source, target):
            move(source, target)
            assert served.client.delete(address.get(timeout=60)).status_code == 204

        monkeypatch.setattr(jobs.shutil, "move", deleting)
        deleted = served.send(clip).headers["location"]
        address.put(deleted)
        assert until(lambda: served.client.get(deleted).status_code == 404)
        assert until(lambda: list(kept.iterdir()) == [])
