"""Tables and bars in terminals of any width."""

import io
import re

import pytest
from rich.console import Console

from qinn.cli import output, training
from qinn.cli.output import console
from qinn.explain.activity import Activity
from qinn.results.comparison import ComparisonResult, ModelResult
from qinn.results.metric_columns import PairedDifference, SeedMetric
from qinn.results.summary import DataRecord
from qinn.task import Task

MEASURED = SeedMetric(mean=0.543, sd=0.011, n=3, low=-0.416, high=0.670)
TASK = Task("regression", -3.0, 3.0, "mosi")


def compared(dynamics: Activity | None) -> ComparisonResult:
    names = ("mae", "corr", "acc2_has0", "f1_has0")
    entry = ModelResult(
        model="qinn",
        num_parameters=6837,
        seeds=(0, 1, 2),
        runs=("a", "b", "c"),
        seconds=1.0,
        cpu_seconds=0.2,
        dynamics=dynamics,
        metrics=dict.fromkeys(names, MEASURED),
    )
    test = PairedDifference(0.1, 0.0, 0.2, 0.01, None, 0.95, 40, p_value_holm=0.01)
    return ComparisonResult(
        name="along",
        reference="unitary cell",
        data=DataRecord("d", "a" * 64, TASK, {}, "fixed"),
        num_test=40,
        num_groups=None,
        models={"unitary cell": entry, "linear map": entry},
        paired={"linear map": dict.fromkeys(names, test)},
        versions={},
        commit=None,
        machine={},
        command="",
    )


@pytest.mark.parametrize(
    "dynamics", [None, Activity(contraction=0.0057, rotation=0.14)], ids=["pooled", "stream"]
)
@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_no_interval_and_no_heading_is_broken(capsys, monkeypatch, tmp_path, dynamics, width):
    monkeypatch.setattr(console, "width", width)
    training.show_comparison(compared(dynamics), as_json=False)
    out = capsys.readouterr().out
    shown = 4 if width >= 140 else 1 if dynamics and width < 100 else 2
    assert len(re.findall(r"\[−0\.416, 0\.670\]", out)) == 2 * shown
    assert "parameters" in out
    assert ("contraction ┃" in out) == (dynamics is not None)
    assert "…" not in out.split("▲ better")[0]


@pytest.mark.parametrize(("last", "shown"), [(("ours, seed 0",), "runs (last: ours, seed 0)"), ((), "runs ")])
def test_a_bar_says_how_many_are_done_and_what_was_last(last, shown, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(output, "stderr", Console(file=stream, force_terminal=True, width=120))
    with output.progress_bar("runs") as show:
        show(3, 7, *last)
    printed = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", stream.getvalue())
    assert shown in printed
    assert "3/7" in printed
