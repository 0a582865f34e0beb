"""Tables: what is marked as best, and what is counted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qinn.evaluation.metrics import metrics
from qinn.report.numbering import inline_svg
from qinn.report.page import read_results
from qinn.results.comparison import ComparisonResult, ModelResult
from qinn.results.metric_columns import PairedDifference, SeedMetric
from qinn.results.run import read_run
from qinn.results.summary import DataRecord
from qinn.task import Task

MOSI = Task("regression", -3.0, 3.0, "mosi")


def comparison_of(
    means: dict[str, float | None], p_values: dict[str, float | None], name: str
) -> ComparisonResult:
    """A comparison of one metric; the reference is called ours."""
    models = {
        label: ModelResult(
            model="qinn",
            num_parameters=1,
            seeds=(0,),
            runs=("run",),
            seconds=1.0,
            metrics={name: SeedMetric(mean=mean, sd=None, n=1)},
        )
        for label, mean in means.items()
    }
    paired = {
        label: {name: PairedDifference(0.1, None, None, value, None, 0.95, 9, p_value_holm=value)}
        for label, value in p_values.items()
    }
    return ComparisonResult(
        name="c",
        reference="ours",
        data=DataRecord("d", "a" * 64, MOSI, {}, "fixed"),
        num_test=9,
        num_groups=None,
        models=models,
        paired=paired,
        versions={},
        commit=None,
        machine={},
        command="",
    )


@pytest.mark.parametrize(
    ("name", "means", "p_values", "best"),
    [
        ("mae", {"ours": 0.7, "a": 0.8, "b": 0.9}, {"a": 0.01, "b": 0.01}, "ours"),
        ("mae", {"ours": 0.7, "a": 0.8, "b": 0.9}, {"a": 0.30, "b": 0.01}, None),
        ("mae", {"ours": 0.7, "a": 0.6, "b": 0.9}, {"a": 0.01, "b": 0.30}, "a"),
        ("mae", {"ours": 0.7, "a": 0.6, "b": 0.5}, {"a": 0.01, "b": 0.30}, None),
        ("corr", {"ours": 0.7, "a": 0.6, "b": 0.5}, {"a": 0.01, "b": 0.01}, "ours"),
        ("corr", {"ours": 0.7, "a": 0.8, "b": 0.5}, {"a": 0.01, "b": 0.01}, "a"),
        ("corr", {"ours": 0.7, "a": 0.6, "b": None}, {"a": 0.01, "b": None}, None),
        ("corr", {"ours": None, "a": None, "b": None}, {"a": None, "b": None}, None),
        ("mae", {"ours": 0.7}, {}, None),
        ("mae", {"ours": 0.7, "a": 0.8}, {"a": 0.05}, None),
    ],
)
def test_best_is_marked_only_where_the_tests_support_it(
    name: str, means: dict[str, float | None], p_values: dict[str, float | None], best: str | None
) -> None:
    assert comparison_of(means, p_values, name).supported_best(name) == best


def test_marks_in_the_table_follow_the_tests(make_comparison: Callable[..., Path]) -> None:
    folder = make_comparison(
        {
            "far worse": {"noise": 3.0, "explained": False},
            "better": {"noise": 0.2, "explained": False},
            "same": {"noise": 3.0, "explained": False, "seed": 1},
        }
    )
    [result], _ = read_results([folder])
    table = result.table()
    assert table.header[:5] == ("model", "parameters", "CPU s", "mae ↓", "corr ↑")
    rows = {row[0].text: row for row in table.rows}
    # The runs are of an earlier version.
    assert [row[2].text for row in table.rows] == ["–"] * 3
    assert rows["better"][3].strong
    assert rows["better"][3].detail.endswith(" ▲")
    assert not any(cell.strong or "▲" in cell.detail or "▼" in cell.detail for cell in rows["same"])
    reversed_folder = make_comparison(
        {"better": {"noise": 0.2, "explained": False}, "far worse": {"noise": 3.0, "explained": False}}
    )
    [result], _ = read_results([reversed_folder])
    rows = {row[0].text: row for row in result.table().rows}
    assert rows["better"][3].strong
    assert rows["far worse"][3].detail.endswith(" ▼")
    paired = result.paired_table()
    assert paired is not None
    assert [row[0].text for row in paired.rows] == ["far worse"]
    assert paired.rows[0][1].strong


def test_removals_are_scored_on_their_own_samples(make_run: Callable[..., Path]) -> None:
    run = read_run(make_run())
    assert run.explanation is not None
    table = run.removal_table()
    assert table is not None
    rows = {row[0].text: [cell.text for cell in row] for row in table.rows}
    without = run.explanation.counterfactuals["without text"]
    expected = metrics(run.task, run.labels, without)["mae"]
    shift = run.explanation.shifts()["without text"]
    assert rows["text"][1].replace("−", "-") == f"{shift.mean():+.3f}"
    assert rows["text"][2:4] == [f"{np.abs(shift).mean():.3f}", f"{expected:.3f}"]
    assert rows["nothing (intact model)"][3] == f"{run.test['mae'].value:.3f}"


def test_fixed_split_has_no_table_of_folds(make_run: Callable[..., Path]) -> None:
    assert read_run(make_run("one", explained=False)).folds_table() is None
    folds = read_run(make_run("three", num_folds=3, trained=False, explained=False)).folds_table()
    assert folds is not None
    assert [row[0].text for row in folds.rows] == ["speaker 0", "speaker 1", "speaker 2"]
    assert folds.rows[0][5].text == folds.rows[0][6].text == "–"


def test_inlined_figure_keeps_its_references_and_loses_its_header() -> None:
    document = (
        '<?xml version="1.0"?><!DOCTYPE svg PUBLIC "x" "http://www.w3.org/x.dtd">'
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 200" width="300pt" height="200pt">'
        "<metadata><a>http://purl.org</a></metadata><!-- a label -->"
        '<defs><path id="p"/></defs><g clip-path="url(#c)"><use xlink:href="#p"/></g>'
        "<text>url(#c)</text></svg>"
    )
    assert inline_svg(document, prefix="f1", label='"x"') == (
        '<svg role="img" aria-label="&#34;x&#34;" style="max-width:300pt" viewBox="0 0 300 200">'
        '<defs><path id="f1-p"/></defs><g clip-path="url(#f1-c)"><use xlink:href="#f1-p"/></g>'
        "<text>url(#c)</text></svg>"
    )
