"""The sweep over rates of absence in figures and in the report, and samples that lack a modality."""

import copy
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qinn.errors import ArgumentError, CheckpointError
from qinn.report.absence_figures import RateCurve, absent_rate_figure, sweep_figures, write_sweep_figures
from qinn.report.explanation_figures import entropy_figure, negativity_figure
from qinn.report.page import write_report
from qinn.results.explanation import read_explanation
from qinn.results.files import write_json
from qinn.results.sweep import SWEEP_FILE, ProtocolRecord, read_sweep

from .conftest import MOSI, PROVENANCE, Shape, data_of

RATES = [0.0, 0.5]


def metric(mean, sd=0.01):
    return {"mean": mean, "sd": sd, "sd_masks": 0.0, "low": None, "high": None, "note": ""}


def sweep(labels=("QiNN-QJ", "late fusion", "constant"), p_value=0.01):
    empty = {
        "finite": True,
        "in_range": True,
        "prediction": 0.31,
        "prediction_sd": 0.02,
        "training_mean": 0.25,
        "training_median": 0.2,
        "training_sd": 1.1,
        "distance": 0.06,
        "distance_sd": 0.01,
        "distance_from_median": 0.11,
        "metrics": {name: {"mean": 1.37, "sd": None, "n": 2, "num_undefined": 0} for name in ("mae", "corr")},
    }
    test = {"difference": 0.1, "low": 0.0, "high": 0.2, "p_value": p_value, "mcnemar_p_value": None}
    test |= {"level": 0.95, "num_units": 40, "note": "", "p_value_holm": p_value}
    models = {
        label: {
            "seeds": [0, 1],
            "rates": [
                {"mae": metric(0.8 + 0.1 * step), "corr": metric(None if label == "constant" else 0.5)}
                for step in range(2)
            ],
            "empty": copy.deepcopy(empty),
        }
        for label in labels
    }
    return {
        "format": "qinn-missing-sweep",
        "version": 1,
        "name": "demo comparison",
        "reference": labels[0],
        "data": data_of(Shape()),
        "split": "test",
        "rates": RATES,
        "mask_seeds": [0, 1, 2],
        "num_test": 40,
        "models": models,
        "paired": {label: [{"mae": dict(test), "corr": dict(test)}] * 2 for label in labels[1:]},
        **PROVENANCE,
    }


def curve(name="qinn", values=(0.5, 0.7), deviations=(0.1, np.nan)):
    return RateCurve(name, np.array(values), np.array(deviations))


def test_a_figure_draws_every_model_and_describes_itself():
    svg = absent_rate_figure(RATES, [curve(), curve("b")], metric="mae", better="lower")
    assert svg.startswith("<svg")
    assert "mae of 2 models over the rate of absence; lower is better" in svg
    assert svg == absent_rate_figure(RATES, [curve(), curve("b")], metric="mae", better="lower")
    more = absent_rate_figure(RATES, [curve(str(n)) for n in range(16)], metric="mae", better="lower")
    assert more.count("<path") > svg.count("<path")


def test_a_figure_without_models_or_with_another_number_of_rates_is_refused():
    with pytest.raises(ArgumentError, match="at least one model"):
        absent_rate_figure(RATES, [], metric="mae", better="lower")
    three = curve(values=(1.0, 2.0, 3.0), deviations=(0.1, 0.1, 0.1))
    with pytest.raises(ArgumentError, match="one value for each of 2 rates, but `qinn` has 3"):
        absent_rate_figure(RATES, [three], metric="mae", better="lower")


def test_a_metric_that_no_model_has_is_not_drawn(tmp_path):
    for content, drawn in ((sweep(labels=("constant",)), ["mae"]), (sweep(), ["mae", "corr"])):
        write_json(tmp_path / SWEEP_FILE, content)
        assert list(sweep_figures(read_sweep(tmp_path))) == drawn


def test_figures_are_written_beside_the_data(tmp_path):
    write_json(tmp_path / SWEEP_FILE, sweep())
    assert [path.name for path in write_sweep_figures(tmp_path)] == ["mae.svg", "corr.svg"]
    write_json(tmp_path / SWEEP_FILE, sweep(labels=("constant",)))
    write_sweep_figures(tmp_path)
    assert [path.name for path in tmp_path.glob("*.svg")] == [
        "mae.svg"
    ]  # of a sweep that is replaced none is left
    with pytest.raises(CheckpointError, match="holds no finished sweep"):
        write_sweep_figures(tmp_path / "none")
    broken = sweep()
    del broken["models"]["constant"]["rates"][0]["mae"]["mean"]
    write_json(tmp_path / SWEEP_FILE, broken)
    with pytest.raises(CheckpointError, match="lacks or contradicts something"):
        write_sweep_figures(tmp_path)


@pytest.fixture
def page_of(make_comparison, tmp_path):
    def make(content):
        folder = make_comparison({"QiNN-QJ": {}, "late fusion": {"explained": False}}, seeds=(0, 1))
        if content is not None:
            write_json(folder / ProtocolRecord().folder / SWEEP_FILE, content)
        return write_report([folder], tmp_path / "page.html").read_text(encoding="utf-8")

    return make


def test_the_report_of_a_comparison_shows_its_sweep(page_of):
    page = page_of(sweep())
    assert "Missing modalities" in page
    assert "mae over the rate of absence" in page
    assert "0.900 ▼" in page
    assert "has the mean 0.250" not in page
    assert "The training labels have the mean 0.250, the median 0.200" in page
    assert "0.310" in page


def test_only_significant_differences_are_marked(page_of):
    page = page_of(sweep(p_value=0.5))
    assert "0.900 ▼" not in page
    assert "0.900" in page


def test_a_comparison_without_a_sweep_has_no_such_part(page_of):
    assert "Missing modalities" not in page_of(None)


def test_a_classification_shows_distances_of_distributions(page_of):
    content = sweep()
    for entry in content["models"].values():
        entry["empty"] |= {"prediction": {"calm": 0.5}, "training": {"calm": 0.4}}
    page = page_of(content)
    assert "total variation between the predicted class probabilities" in page


def test_a_damaged_sweep_is_one_clear_error(page_of):
    content = sweep()
    del content["models"]["late fusion"]["empty"]["distance"]
    with pytest.raises(CheckpointError, match="run `qinn sweep-absent` again"):
        page_of(content)


def without_modalities(folder, rows):
    """Make some explained samples lack audio."""
    table = pq.read_table(folder / "explanation.parquet")
    absent = ["audio" if row in rows else "" for row in range(table.num_rows)]
    columns = {"absent": pa.array(absent)}
    for name in table.column_names:
        values = table[name]
        if name.startswith(("entropy:", "entropy_trajectory_maximum:")):
            known = values.to_numpy().copy()
            known[list(rows)] = np.nan
            values = pa.array(known)
        columns[name] = values
        if name.startswith("mutual_information:"):
            columns[name.replace("mutual_information", "negativity")] = 0.5 * values.to_numpy()
    pq.write_table(pa.table(columns), folder / "explanation.parquet")
    return folder


def test_samples_that_lack_a_modality_are_named_and_left_out_of_entropies(make_run, tmp_path):
    run = without_modalities(make_run(), set(range(0, 40, 2)))
    page = write_report([run], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "20 samples that lack a modality are left out" in page
    assert "a mixed state, so no entanglement entropies" in page
    assert "Logarithmic negativity of every pair" in page
    assert "nan" not in page.lower().replace("finance", "").split("<svg")[0]
    explanation = read_explanation(run)
    assert explanation.absent[0] == "audio"
    assert entropy_figure(explanation) is not None


def test_nothing_but_incomplete_samples_have_no_entropy_figure(make_run):
    explanation = read_explanation(without_modalities(make_run(), set(range(40))))
    assert entropy_figure(explanation) is None
    assert negativity_figure(explanation) is not None


def test_explanations_from_before_are_still_read(make_run):
    explanation = read_explanation(make_run())
    assert explanation.absent == ()
    assert negativity_figure(explanation) is None
    assert json.dumps(sweep())
    assert MOSI.kind == "regression"
