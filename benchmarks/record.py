"""How the benchmarks write their results: the contents after what made them, where and with which versions."""

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch
from checkout import ROOT, changes

from qinn.experiment import provenance
from qinn.results.summary import UNKNOWN_COMMIT


def write_record(path: Path, started: float, **contents: Any) -> None:
    """Write results as JSON, with the command, the commit, the machine, the versions and the seconds since ``started``.

    Args:
        path: The file; its folder is made if missing.
        started: `time.perf_counter` at the start.
        **contents: The results, in order.
    """
    commit = provenance.commit()
    is_clean = commit not in (None, UNKNOWN_COMMIT) and "+" not in commit
    if is_clean and changes(ROOT):  # of the benchmarks themselves, say
        commit += "+changes"
    record = {
        "command": f"python benchmarks/{Path(sys.argv[0]).name} " + " ".join(sys.argv[1:]),
        "commit": commit,
        "machine": {
            "processor": platform.machine(),
            "system": platform.system(),
            "threads": torch.get_num_threads(),
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "seconds": round(time.perf_counter() - started, 1),
        **contents,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
