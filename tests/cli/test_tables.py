"""Tables in terminals of any width."""

import re

import pytest

from qinn.cli import runs
from qinn.cli.output import console

MEASURED = {"mean": 0.543, "sd": 0.011, "low": -0.416, "high": 0.670}
TASK = {"kind": "regression", "low": -3.0, "high": 3.0, "scale": "mosi", "classes": []}


def content(dynamics: dict | None) -> dict:
    names = ("mae", "corr", "acc2_has0", "f1_has0")
    entry = {"num_parameters": 6837, "cpu_seconds": 0.2, "remarks": [], "dynamics": dynamics}
    entry["metrics"] = dict.fromkeys(names, MEASURED)
    models = {"unitary cell": entry, "linear map": entry}
    stated = {"name": "along", "level": 0.95, "reference": "unitary cell", "data": {"task": TASK}}
    return {
        **stated,
        "models": models,
        "paired": {"linear map": {name: {"p_value_holm": 0.01} for name in names}},
    }


@pytest.mark.parametrize(
    "dynamics", [None, {"contraction": 0.0057, "rotation": 0.14}], ids=["pooled", "stream"]
)
@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_no_interval_and_no_heading_is_broken(capsys, monkeypatch, tmp_path, dynamics, width):
    monkeypatch.setattr(console, "width", width)
    runs._show_comparison(content(dynamics), tmp_path, as_json=False)
    out = capsys.readouterr().out
    shown = 4 if width >= 140 else 1 if dynamics and width < 100 else 2
    assert len(re.findall(r"\[-0\.416, 0\.670\]", out)) == 2 * shown
    assert "parameters" in out
    assert ("contraction ┃" in out) == (dynamics is not None)
    assert "…" not in out.split("* differs")[0]
