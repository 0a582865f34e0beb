"""The commands about runs and their functions are one: what a command prints, its function returns."""

import csv
import json

import pytest
import yaml

import qinn
from qinn.errors import ArgumentError, CheckpointError, ConfigError

from ..tiny import QINN, TRAINING, tiny_content


@pytest.fixture(scope="module")
def config(tiny_store, tmp_path_factory):
    models = {"late": {"kind": "late_fusion"}, "qinn": QINN}
    content = tiny_content(tiny_store, models=models, training={**TRAINING, "max_epochs": 1})
    path = tmp_path_factory.mktemp("verbs") / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_model_is_trained_by_file_or_content_and_kept(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = qinn.train(config)
    assert str(first.path) == "runs/tiny/late/seed-0"
    assert first.summary().label == "late"
    before = (first.path / "run.json").stat().st_mtime_ns
    again = qinn.train(yaml.safe_load(config.read_text()), first.path, model="late", seed=0)
    assert (again.path / "run.json").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="no model `lat`"):
        qinn.train(config, model="lat")
    with pytest.raises(CheckpointError, match="another configuration"):
        qinn.train(config, first.path, seed=1)


def test_a_run_is_evaluated_as_it_was_and_without_a_modality(tiny_run, tiny_store):
    found = qinn.evaluate(tiny_run)
    stored = json.loads((tiny_run / "metrics.json").read_text())["test"]
    assert found.metrics["mae"].value == pytest.approx(stored["mae"]["value"], abs=1e-6)
    assert not found.differs
    (table,) = found.tables("a run")
    assert table.title == "a run on 10 test samples"
    lacking = qinn.evaluate(tiny_run, store=tiny_store, absent=["text"])
    assert [each.title.split(" samples")[1][:20] for each in lacking.tables("a run")] == [
        ": as they are",
        ", modalities absent ",
    ]


def test_predictions_are_returned_and_written(tiny_run, tiny_store, tmp_path):
    rows = qinn.predict(tiny_run, tiny_store, tmp_path / "p.csv", split="test")
    with (tmp_path / "p.csv").open(newline="") as stream:
        written = list(csv.DictReader(stream))
    assert [row["id"] for row in written] == [row["id"] for row in rows]
    with pytest.raises(ArgumentError, match=r"\.csv or \.parquet"):
        qinn.predict(tiny_run, tiny_store, tmp_path / "p.txt")


def test_what_turns_texts_into_formulas_is_told(tiny_run, tiny_store, tmp_path, monkeypatch):
    monkeypatch.setattr("qinn.face.running.write_predictions", lambda *_, **__: 3)
    said = []
    qinn.predict(tiny_run, tiny_store, tmp_path / "p.csv", split="test", on_remark=said.append)
    assert said[-1].startswith("3 texts begin like a formula")


def test_an_explanation_lies_with_its_figures_and_its_knob(tiny_run, tmp_path):
    found = qinn.explain_run(tiny_run, tmp_path / "explained", couplings="0,1")
    assert [point.coupling for point in found.coupling.points] == [0.0, 1.0]
    assert found.summary.samples == 10
    assert all(path.parent == found.folder and path.is_file() for path in found.figures)
    assert qinn.explain_run(tiny_run, tmp_path / "other").coupling is None


def test_a_configuration_is_compared_swept_and_reported(config, tmp_path):
    compared = qinn.compare(config, to=tmp_path / "compared")
    assert list(compared.models) == ["late", "qinn"]
    for given in ({"data": 1}, {"reference": "late"}, {"training": {}}):
        with pytest.raises(ArgumentError, match=f"`{next(iter(given))}` must be left out"):
            qinn.compare(config, **given)
    swept = qinn.sweep_absent([compared.folder], rates="0,0.5", masks=1)
    assert swept.folder == compared.folder / "missing-rates-0-0.5"
    assert {path.name for path in swept.folder.glob("*.svg")} == {f"{name}.svg" for name in swept.drawn}
    with pytest.raises(ArgumentError, match="name a folder"):
        qinn.sweep_absent([compared.folder, compared.folder])
    page = qinn.write_report([compared.folder], tmp_path / "page.html")
    assert "Comparison: tiny" in page.read_text(encoding="utf-8")
    assert qinn.describe(compared.folder)["kind"] == "comparison"


def test_models_without_samples_are_refused():
    with pytest.raises(ArgumentError, match="`data` must be samples or a store, but it is None"):
        qinn.compare({"a": "late_fusion"})
