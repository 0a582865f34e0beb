"""Records come back from their files as they were, and what is not theirs is refused in a sentence."""

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from qinn.errors import CheckpointError, QinnError
from qinn.evaluation.metric_names import metrics_of
from qinn.explain.activity import Activity
from qinn.results.as_json import OPTIONAL, OUTSIDE, document, plain
from qinn.results.comparison import ComparisonResult, ModelResult, read_comparison
from qinn.results.documents import parsed, read_document, write_document
from qinn.results.metric_columns import SIGNIFICANCE, PairedDifference, SeedMetric, mark
from qinn.results.summary import DataRecord, ModalityRecord
from qinn.task import Task

from ..tiny import made_before, rewritten

MOSI = Task("regression", -3.0, 3.0, "mosi")


@dataclass(frozen=True, kw_only=True)
class Inner:
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Outer:
    format: str = "thing"
    version: int = 2
    inner: Inner
    count: int = 0
    hidden: int | None = field(default=None, metadata=OPTIONAL)
    place: str = field(default="", metadata=OUTSIDE)
    files: dict[str, str] = field(default_factory=dict)


def read(path: Path) -> Outer:
    return read_document(path, Outer, format="thing", what="a thing", newest=2, remedy="make it again")


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "thing.json"
    written = Outer(inner=Inner(values=(1.0, 2.5)), count=3)
    write_document(path, replace(written, place="here"))
    assert read(path) == written
    assert list(json.loads(path.read_text())) == [
        "format",
        "version",
        "inner",
        "count",
        "files",
        "content_sha256",
    ]
    write_document(path, replace(written, hidden=1))
    assert read(path).hidden == 1


def test_version_one_has_no_digests_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "thing.json"
    write_document(path, Outer(inner=Inner(values=())))
    made_before(tmp_path, "thing.json")
    assert read(path).version == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one.update(format="other"), "does not describe a thing; check the path"),
        (lambda one: one.update(version=3), "version 3, .* reads versions 1 to 2; install a newer qinn"),
        (lambda one: one.update(version=True), "with format version True, .*; make it again"),
        (lambda one: one.pop("inner"), r"\(`inner`: field required\); make it again"),
        (lambda one: one.update(count="3"), r"\(`count`: .*integer"),
        (lambda one: one.update(count=True), r"\(`count`: .*integer"),
        (lambda one: one["inner"].update(values=[1.0, "x"]), r"\(`inner\.values\.1`: .*number"),
        (lambda one: one.update(inner=[]), r"\(`inner`: "),
    ],
)
def test_what_is_not_the_record_is_named(change, words: str, tmp_path: Path) -> None:
    path = tmp_path / "thing.json"
    write_document(path, Outer(inner=Inner(values=(1.0,))))
    rewritten(path, change)
    with pytest.raises(CheckpointError, match=words) as caught:
        read(path)
    assert f"`{path}`" in str(caught.value)


@pytest.mark.parametrize("change", ['"count": 4', '"count": "four"'])
def test_a_changed_document_is_refused_before_it_is_understood(change: str, tmp_path: Path) -> None:
    path = tmp_path / "thing.json"
    write_document(path, Outer(inner=Inner(values=(1.0,)), count=3))
    path.write_text(path.read_text().replace('"count": 3', change))
    with pytest.raises(CheckpointError, match="is not what was written"):
        read(path)


def test_a_task_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    content = plain(DataRecord("d", "0", MOSI, {"text": ModalityRecord(3, "", True)}, "fixed"))
    content["task"]["low"] = 4.0
    with pytest.raises(CheckpointError, match="must have low < high"):
        parsed(json.dumps(content).encode(), tmp_path / "d.json", DataRecord, remedy="repeat the run")


def compared(folder: Path) -> ComparisonResult:
    metric = {"mae": SeedMetric(mean=0.7, sd=None, n=1, low=0.6, high=0.8)}
    entry = ModelResult(model="q", num_parameters=9, seeds=(0,), runs=("r",), seconds=1.0, metrics=metric)
    return ComparisonResult(
        name="c",
        reference="ours",
        data=DataRecord("d", "0", MOSI, {"text": ModalityRecord(3, "", True)}, "fixed"),
        num_test=9,
        num_groups=None,
        models={"ours": entry, "other": replace(entry, dynamics=Activity(jumps=0.5))},
        paired={"other": {"mae": PairedDifference(0.1, 0.0, 0.2, 0.01, None, 0.95, 9, p_value_holm=0.02)}},
        versions={"qinn": "0"},
        files={},
        folder=folder,
    )


def test_a_comparison_comes_back_as_it_was(tmp_path: Path) -> None:
    written = compared(tmp_path)
    written.write()
    assert read_comparison(tmp_path) == written
    stated = json.loads((tmp_path / "comparison.json").read_text())
    assert "folder" not in stated
    assert "times" not in stated["data"]["modalities"]["text"]
    assert stated["models"]["other"]["dynamics"]["jumps"] == 0.5


@pytest.mark.parametrize("reference", ["nobody", "other"])
def test_a_reference_that_was_not_compared_is_damage(reference: str, tmp_path: Path) -> None:
    compared(tmp_path).write()
    rewritten(tmp_path / "comparison.json", lambda content: content.update(reference=reference))
    with pytest.raises(CheckpointError, match="not among the models and tests"):
        read_comparison(tmp_path)


def test_marks_follow_the_direction_of_the_metric_and_the_level() -> None:
    test = compared(Path()).paired["other"]["mae"]
    known = metrics_of(MOSI)
    assert (mark(test, known["mae"]), mark(test, known["corr"])) == ("▼", "▲")
    assert mark(replace(test, difference=-0.1), known["mae"]) == "▲"
    assert mark(replace(test, p_value_holm=SIGNIFICANCE), known["mae"]) == ""
    assert mark(replace(test, p_value_holm=None), known["mae"]) == mark(None, known["mae"]) == ""
    assert mark(replace(test, difference=None), known["mae"]) == ""


def test_the_rows_of_a_frame_have_metrics_and_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = compared(Path()).frame_rows()
    assert (ours["model"], ours["metric"], ours["mean"], ours["p_value_holm"]) == ("ours", "mae", 0.7, None)
    assert (other["difference"], other["p_value_holm"]) == (0.1, 0.02)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(QinnError, match=r"`pandas`, which is not installed; `pip install .qinn\[frames\]"):
        compared(Path()).to_frame()


def test_a_frame_is_a_frame_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    assert isinstance(compared(Path()).to_frame(), pandas.DataFrame)


def test_a_notebook_sees_the_table() -> None:
    result = compared(Path())
    assert result._repr_html_() == result.table().to_html()
    assert document(result)["name"] == "c"
