"""A run as the job of another process, see `qinn.experiment.workers`."""

import sys
from pathlib import Path
from typing import Any

from qinn.experiment.workers import Tell

__all__ = ["do"]


def do(job: dict[str, Any], tell: Tell) -> None:
    """Do a run: its configuration as YAML, its folder, what it shares, whether others are replaced, and the command."""
    import yaml

    from qinn.experiment.config import parse_config
    from qinn.experiment.run import run

    sys.argv = job["argv"]  # the run's record names the command that was given
    run(
        parse_config(yaml.safe_load(job["config"]), "comparison"),
        job["folder"],
        overwrite=job["overwrite"],
        encodings=None if job["encodings"] is None else Path(job["encodings"]),
    )
