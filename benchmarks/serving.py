"""Load and damage for `qinn serve`: does everybody get an answer, and does the server stay up and small?

Three parts: many clients at once, a fifth of what they send faulty; mutated files through decoding alone, in a process
with the limits of the server's; mutated files through a server. The run should have built-in extractors, as that of
`qinn demo clips`, or most of the time goes into recognising speech.
"""

import argparse
import json
import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from clip_mutations import FOREIGN, KINDS, mutated, originals, write_film
from record import write_record

from qinn.experiment.process_limits import resident_memory
from qinn.experiment.workers import Worker, WorkerDiedError
from qinn.serving.scoring import ScoringSettings

_MARK = "QINN_SERVING_TRIAL"
_QINN = [sys.executable, "-c", "import sys; sys.argv[0] = 'qinn'; from qinn.cli import main; main()"]
_PATIENCE = 900.0
_FAULTS = ("garbage", "truncated", "empty", "playlist", "gone")


class _Served:
    """A server in a process of its own, watched."""

    def __init__(self, run: Path, *options: str) -> None:
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        environment = {**os.environ, _MARK: self.mark, "COLUMNS": "300"}
        command = [*_QINN, "serve", "--run", str(run), "--port", "0", "--max-seconds", "30", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert self.process.stderr is not None
        self.said: list[str] = []
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()

        def read(stream: Any) -> None:
            for line in stream:
                self.said.append(line)
                lines.put(line)

        self.reader = threading.Thread(target=read, args=(self.process.stderr,), daemon=True)
        self.reader.start()
        self.url = ""
        while not self.url:
            line = lines.get(timeout=_PATIENCE)
            if "/#" in line:
                self.url, _, self.token = line.strip().partition("/#")
        self.peaks = {"server": 0, "worker": 0}
        self.is_over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def marked(self) -> list[int]:
        """Processes of this trial."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if (
                    entry.name.isdigit()
                    and f"{_MARK}={self.mark}".encode() in (entry / "environ").read_bytes()
                ):
                    found.append(int(entry.name))
        return found

    def _watch(self) -> None:
        while not self.is_over.wait(0.3):
            for number in self.marked():
                kind = "server" if number == self.process.pid else "worker"
                self.peaks[kind] = max(self.peaks[kind], resident_memory(number) or 0)

    def ask(self, method: str, path: str, content: bytes | None = None) -> tuple[int, bytes, dict[str, str]]:
        request = urllib.request.Request(self.url + path, content, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), dict(error.headers)

    def score(self, name: str, content: bytes, refused: Callable[[], object]) -> tuple[str, str]:
        """Send a clip, come again while the queue is full, and return what came of it."""
        while True:
            code, body, head = self.ask("POST", f"/api/v1/clips?name={name}", content)
            if code != 429:
                break
            refused()
            time.sleep(min(float(head["retry-after"]), 2.0) * random.uniform(0.2, 1.0))
        if code != 202:
            return ("refused", json.loads(body)["error"]) if code in (413, 422) else (f"status {code}", "")
        place = f"/api/v1/clips/{json.loads(body)['id']}"
        self.ask("GET", f"{place}/events")
        code, body, _ = self.ask("GET", f"{place}/result")
        self.ask("DELETE", place)
        if code == 200:
            return "scored", ""
        return ("refused", json.loads(body)["error"]) if code == 422 else (f"status {code}", "")

    def send_half(self, content: bytes) -> None:
        """Begin to send a clip and go away."""
        import socket

        host, port = self.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=_PATIENCE) as connection:
            head = f"POST /api/v1/clips HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
            head += f"Authorization: Bearer {self.token}\r\n\r\n"
            connection.sendall(head.encode() + content[: len(content) // 2])

    def close(self) -> dict[str, Any]:
        """End it and say what is left."""
        self.is_over.set()
        alive = self.process.poll() is None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        limit = time.monotonic() + 5
        self.reader.join(5)
        if self.process.stderr is not None and not self.reader.is_alive():
            self.process.stderr.close()
        while (left := self.marked()) and time.monotonic() < limit:
            time.sleep(0.1)
        return {
            "alive at the end": alive,
            "exit code after SIGTERM": code,
            "orphan processes": len(left),
            "tracebacks": sum("Traceback" in line for line in self.said),
            "peak memory in MB": {name: round(peak / 1e6) for name, peak in self.peaks.items()},
        }


def load(run: Path, folder: Path, uploads: int, clients: int) -> dict[str, Any]:
    """Send many clips from many clients, a fifth of them faulty."""
    films = [
        write_film(folder / f"{number}-{name}", *codecs).read_bytes()
        for number, (name, codecs) in enumerate(list(KINDS.items())[:4])
    ]
    served = _Served(run)
    outcomes: Counter[str] = Counter()
    sentences: Counter[str] = Counter()
    times: list[float] = []
    full = 0
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    lock = threading.Lock()
    for number in range(uploads):
        numbers.put(number)

    def refused() -> None:
        nonlocal full
        with lock:
            full += 1

    first = time.perf_counter()
    served.score("first.mp4", films[0], refused)
    first = time.perf_counter() - first
    later = time.perf_counter()
    served.score("second.mp4", films[0], refused)
    later = time.perf_counter() - later

    def client() -> None:
        while True:
            try:
                number = numbers.get_nowait()
            except queue.Empty:
                return
            film = films[number % len(films)]
            fault = _FAULTS[number // 5 % len(_FAULTS)] if number % 5 == 0 else ""
            content = {
                "": film,
                "garbage": random.Random(number).randbytes(5000),
                "truncated": film[: len(film) // 3],
                "empty": b"",
                "playlist": b"#EXTM3U\nfile:///etc/passwd\n",
                "gone": film,
            }[fault]
            began = time.perf_counter()
            try:
                if fault == "gone":
                    served.send_half(content)
                    outcome, sentence = "sender gone", ""
                else:
                    outcome, sentence = served.score(f"{number}.mp4", content, refused)
            except OSError as error:
                outcome, sentence = f"no answer: {error}", ""
            with lock:
                outcomes[f"{fault or 'whole'}: {outcome}"] += 1
                times.append(time.perf_counter() - began)
                if sentence:
                    sentences[sentence.split("` ")[-1]] += 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    code, body, _ = served.ask("GET", "/api/v1/about")
    return {
        "uploads": uploads,
        "clients": clients,
        "outcomes": dict(outcomes.most_common()),
        "sentences": dict(sentences.most_common(12)),
        "without an answer": sum(
            count for name, count in outcomes.items() if "no answer" in name or "status" in name
        ),
        "told to come again": full,
        "seconds": round(took, 1),
        "seconds of the first clip": round(first, 2),
        "seconds of the second clip": round(later, 2),
        "longest answer in seconds": round(max(times), 1),
        "clips left": json.loads(body)["clips"] if code == 200 else None,
        **served.close(),
    }


def decoding(folder: Path, files: int) -> dict[str, Any]:
    """Decode mutated files in a process with the server's limits."""
    originals(folder)
    outcomes: Counter[str] = Counter()
    failures: list[dict[str, Any]] = []
    limits = ScoringSettings(run=Path(), max_seconds=20.0).limits
    worker, peak, died, out_of_time = Worker("clip_mutations", limits), 0, 0, 0
    for number in range(files):
        job = {"number": number, "folder": str(folder), "place": str(folder / "mutated")}
        try:
            found = worker.ask(job)
        except WorkerDiedError as error:
            died += 1
            out_of_time += error.out_of_time
            worker.close()
            worker = Worker("clip_mutations", limits)
            found = {"outcome": "process ended", "detail": str(error), "done": ""}
        if number % 20 == 0:
            peak = max(peak, worker.resident_memory or 0)
        outcomes[found["outcome"]] += 1
        if found["outcome"] in (FOREIGN, "process ended"):
            failures.append({"number": number, **found})
    worker.close()
    return {
        "files": files,
        "outcomes": dict(outcomes.most_common()),
        "processes that ended": died,
        "of these out of time": out_of_time,
        "peak memory in MB": round(peak / 1e6),
        "failures": failures[:20],
    }


def serving_mutated(run: Path, folder: Path, files: int) -> dict[str, Any]:
    """Send mutated files to a server, one after the other."""
    clips = originals(folder)
    served = _Served(run)
    outcomes: Counter[str] = Counter()
    ended = ours = 0
    for number in range(files):
        name, content, _ = mutated(clips, 1_000_000 + number)
        try:
            outcome, sentence = served.score(name, content, lambda: None)
        except OSError as error:
            outcome, sentence = f"no answer: {error}", ""
        outcomes[outcome] += 1
        ended += "ended the process" in sentence
        ours += "lies with this server" in sentence
    said = [line.strip() for line in served.said if "could not be scored" in line]
    return {
        "files": files,
        "outcomes": dict(outcomes.most_common()),
        "processes that ended": ended,
        "mistakes of ours": ours,
        "of these": said[:10],
        **served.close(),
    }


def main() -> int:
    """Do the parts that were asked for; those that were not stay in the file as they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run that scores clips")
    parser.add_argument("--uploads", type=int, default=200, help="clips of many clients; 0 leaves them out")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--decoded", type=int, default=2000, help="mutated files through decoding")
    parser.add_argument("--served", type=int, default=200, help="mutated files through a server")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    started = time.perf_counter()
    results: dict[str, Any] = {}
    if arguments.output is not None and arguments.output.exists():
        before = json.loads(arguments.output.read_text(encoding="utf-8"))
        results = {name: before[name] for name in ("load", "decoding", "serving") if name in before}
    with tempfile.TemporaryDirectory(prefix="qinn-serving-trial-") as place:
        folder = Path(place)
        parts = {
            "load": (
                arguments.uploads,
                lambda: load(arguments.run, folder, arguments.uploads, arguments.clients),
            ),
            "decoding": (arguments.decoded, lambda: decoding(folder, arguments.decoded)),
            "serving": (arguments.served, lambda: serving_mutated(arguments.run, folder, arguments.served)),
        }
        for name, (number, part) in parts.items():
            if number:
                results[name] = part()
                print(name, json.dumps(results[name], indent=1), flush=True)
    if arguments.output is not None:
        question = "Does everybody get an answer, and does the server stay up and small?"
        write_record(arguments.output, started, question=question, **results)
    return 1 if any(map(_is_wrong, results.values())) else 0


def _is_wrong(part: dict[str, Any]) -> bool:
    bad = ("without an answer", "orphan processes", "failures", "mistakes of ours", "tracebacks")
    return any(part.get(name) for name in bad) or not part.get("alive at the end", True)


if __name__ == "__main__":
    sys.exit(main())
