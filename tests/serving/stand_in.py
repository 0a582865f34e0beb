"""What stands in for the scorer in tests of the server: it decodes clips for real, and does what their names say."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from qinn.errors import CheckpointError, ClipError
from qinn.experiment.workers import Tell
from qinn.features.clip import Limits, decode

from ..clip_scores import made_score

_kept: list[bytearray] = []


def do(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    if "load" in job:
        if job["load"].endswith("no-run") or Path(job["load"], "gone").exists():
            raise CheckpointError(f"`{job['load']}` is no run.")
        tiers = {"text": "hash@1/words", "audio": "acoustic@2/10Hz", "vision": "pixels@1/10fps"}
        stages = ["decoding", "sound", "speech", "text", "scoring", "reasons"]
        if job["load"].endswith("no-words"):
            del tiers["text"], stages[2:4]
        return {"name": "a run of a test", "tiers": tiers, "kind": "regression", "stages": stages}
    name = job["name"]
    tell(["decoding", 0.5])
    if "crash" in name:
        os.abort()
    if "slow" in name:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            tell(["decoding", 0.25])
            time.sleep(0.05)
    if "grow" in name:
        _kept.append(bytearray(os.urandom(2**20)) * 300)
    if "leak" in name:
        raise ClipError(f"`{job['path']}` and `/etc/passwd` are not for you.")
    if "odd" in name:
        return {"schema": "of another kind"}
    found = decode(
        job["path"],
        name=name,
        see=lambda picture: None,
        begin=job["begin"],
        end=job["end"],
        limits=Limits(max_seconds=job["max_seconds"]),
    )
    if "steady" in name:
        time.sleep(0.5)
    tell(["reasons", None])
    made = made_score(clip=name, seconds=found.seconds, begin=job["begin"] or 0.0)
    if job["words"]:
        word = made.words[0]
        said = [
            replace(word, text=text, begin=0.1 * at, end=0.1 * at + 0.1)
            for at, text in enumerate(job["words"])
        ]
        made = replace(made, words=tuple(said))
    if found.picture is None:
        made = replace(made, quality=replace(made.quality, width=None, height=None))
    return made.to_json() | {"notes": [f"process {os.getpid()}"]}
