"""Comparisons: every number follows from the predictions on disk."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from qinn.data.stores.store import Store
from qinn.errors import CheckpointError
from qinn.evaluation.intervals import bootstrap_intervals
from qinn.evaluation.metric_names import metrics_of
from qinn.evaluation.over_seeds import Spread, interval_over_seeds
from qinn.evaluation.paired_tests import holm_correction, paired_test
from qinn.evaluation.resampling import resampled_metrics
from qinn.experiment import provenance
from qinn.experiment.comparison import compare, summarize
from qinn.experiment.publishing import publish_run
from qinn.face.describing import describe
from qinn.report.facts import provenance_facts
from qinn.results.as_json import document
from qinn.results.comparison import read_comparison
from qinn.results.files import write_json
from qinn.results.folder import RunFolder
from qinn.results.metric_columns import shown_metrics
from qinn.task import Task

from ..tiny import TRAINING, tiny_config, trusted

MODELS = {
    "Early fusion": {"kind": "concatenation"},
    "late": {"kind": "late_fusion"},
    "constant": {"kind": "constant"},
}


@pytest.fixture(scope="module")
def config(tiny_store):
    return tiny_config(
        tiny_store,
        models=MODELS,
        seeds=[0, 7],
        reference="constant",
        evaluation={"num_resamples": 100, "margins": {"mae": 0.4}},
        training={**TRAINING, "max_epochs": 1, "learning_rate": 0.02},
    )


@pytest.fixture(scope="module")
def compared(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    seen = []
    content = compare(config, folder, on_run=lambda *done: seen.append(done))
    assert [done[:2] for done in seen] == [(number, 6) for number in range(1, 7)]
    return folder, content


def outputs(folder, slug, seed):
    table = pq.read_table(folder / slug / f"seed-{seed}" / "predictions.parquet").sort_by("id")
    return table, np.asarray(table["output_0"])[:, None]


def test_the_numbers_are_those_recomputed_from_the_predictions(compared):
    folder, content = compared
    slugs = {"Early fusion": "early-fusion", "late": "late", "constant": "constant"}
    both = {
        label: np.stack([outputs(folder, slug, seed)[1] for seed in (0, 7)]) for label, slug in slugs.items()
    }
    table, _ = outputs(folder, "late", 0)
    labels, groups = np.asarray(table["label"]), np.array(table["group"].to_pylist())
    task = Store.open(task_store(folder)).task
    options = {"groups": groups, "num_resamples": 100, "level": 0.95, "seed": 0}
    drawing = {key: options[key] for key in ("groups", "num_resamples", "seed")}
    for label, entry in content.models.items():
        errors = [float(np.abs(values[:, 0] - labels).mean()) for values in both[label]]
        stated = entry.metrics["mae"]
        assert stated.mean == pytest.approx(np.mean(errors))
        assert stated.sd == pytest.approx(np.std(errors, ddof=1))
        assert stated.n == 2
        of_samples = bootstrap_intervals(task, labels, both[label], **options)["mae"]
        # Sums in another order differ in the last bit on some processors.
        slack = 1e-12
        assert stated.low - slack <= of_samples.low < of_samples.high <= stated.high + slack
        drawn = resampled_metrics(task, labels, both[label], **drawing)["mae"]
        interval = interval_over_seeds(drawn, 0.95, metrics_of(task)["mae"])
        assert (stated.low, stated.high) == (interval.low, interval.high)
    tests = {
        label: paired_test(task, labels, both[label], both["constant"], **options)
        for label in ("Early fusion", "late")
    }
    for name in ("mae", "acc7"):
        drawn = {label: resampled_metrics(task, labels, one, **drawing)[name] for label, one in both.items()}
        spreads = {label: Spread.of(drawn[label].minus(drawn["constant"])) for label in tests}
        larger = {label: max(tests[label][name].p_value, spreads[label].p_value()) for label in tests}
        holm, within = holm_correction(larger), {}
        for label, results in tests.items():
            found, spread, half = content.paired[label][name], spreads[label], spreads[label].half_width(0.95)
            assert found.difference == results[name].difference == pytest.approx(spread.value)
            if spread.standard_error == 0:  # no sample tells the two apart
                assert (found.low, found.high, found.detectable) == (None, None, None)
                within[label] = None
                continue
            assert (found.low, found.high) == pytest.approx((spread.value - half, spread.value + half))
            assert (found.p_value, found.p_value_holm) == (results[name].p_value, holm[label])
            assert found.p_value_seeds == spread.p_value()
            assert (found.standard_error, found.degrees) == (spread.standard_error, spread.degrees)
            assert found.detectable is None  # swaps of three groups can show nothing at 0.05 / 2
            half = spread.half_width(0.9)
            ends = (found.low_equivalent, found.high_equivalent)
            assert ends == pytest.approx((spread.value - half, spread.value + half))
            assert found.margin == {"mae": 0.4, "acc7": None}[name]
            within[label] = spread.equivalence_p_value(0.4) if name == "mae" else None
            assert found.p_value_equivalent == within[label]
        corrected = holm_correction(within)
        assert {label: content.paired[label][name].p_value_equivalent_holm for label in tests} == corrected


@pytest.mark.parametrize(("units", "said"), [(6, "with 6 groups and 2 models against"), (7, None)])
def test_that_no_difference_can_be_shown_is_said_in_place_of_the_smallest_one(compared, units, said):
    """Swaps of g groups have no p-value below 2/2^g, which Holm doubles here: 6 groups reach 0.0625, 7 do 0.031."""
    _, content = compared
    paired = {
        label: {
            name: replace(one, num_units=units, detectable=None if said else 0.1)
            for name, one in tests.items()
        }
        for label, tests in content.paired.items()
    }
    notes = replace(content, paired=paired).paired_table().notes
    assert any("the smallest true difference" in one for one in notes) is (said is None)
    found = [one for one in notes if one.startswith("Nothing can be better or worse here")]
    assert len(found) == (said is not None)
    assert all(str(said) in one and "no p-value below 0.062 is" in one for one in found)


def test_a_difference_that_no_metric_can_have_is_not_called_detectable(compared):
    _, content = compared
    paired = {
        label: {name: replace(one, detectable=1.01) for name, one in tests.items()}
        for label, tests in content.paired.items()
    }
    [row, *_] = replace(content, paired=paired).paired_table(["mae", "acc2_has0"]).rows
    said = [cell.more.split("; ")[-1] for cell in row[1:]]
    assert said == ["detectable 1.010", "nothing detectable"]


def task_store(folder):
    from qinn.experiment.config import read_config

    return read_config(folder / "config.yaml").data.store


def test_the_comparison_says_what_was_compared(compared, config):
    folder, content = compared
    assert content == read_comparison(folder)
    assert json.loads((folder / "comparison.json").read_text()).items() >= document(content).items()
    assert content.reference == "constant"
    assert set(content.paired) == {"Early fusion", "late"}
    assert content.models["Early fusion"].runs == ("early-fusion/seed-0", "early-fusion/seed-7")
    assert content.models["constant"].num_parameters == 0
    assert content.num_test == 10
    assert content.num_groups == 3
    assert content.task.scale == "mosi"


def test_the_table_has_a_row_for_each_model(compared):
    folder, content = compared
    text = (folder / "table.md").read_text()
    names = shown_metrics(content.task)
    tables = [
        table.to_markdown()
        for table in (content.table(names), content.paired_table(names), content.ensemble_table(names))
    ]
    assert text == "\n".join(tables)
    lines = text.splitlines()
    assert lines[0].split(" | ")[:4] == ["| model", "parameters", "CPU s", "mae ↓"]
    assert [line.split(" | ")[0] for line in lines[2:5]] == [
        "| Early fusion",
        "| late",
        "| constant (reference)",
    ]
    assert "(10 samples in 3 groups): mean ± standard deviation over 2 seeds" in text
    assert "unclipped" in text


def test_the_table_says_what_training_took_and_a_dash_where_a_run_does_not(compared):
    folder, content = compared
    runs = [RunFolder(folder / run).summary() for run in content.models["late"].runs]
    for summary in runs:
        [fold] = summary.folds
        assert summary.cpu_seconds == fold.cpu_seconds > 0
    mean = sum(summary.cpu_seconds for summary in runs) / 2
    assert content.models["late"].cpu_seconds == pytest.approx(mean)

    def shown(content):
        [row] = [line for line in content.table().to_markdown().splitlines() if line.startswith("| late |")]
        return row.split(" | ")[2]

    assert shown(content) == f"{mean:.1f}"
    unknown = replace(content.models["late"], cpu_seconds=None)
    assert shown(replace(content, models={**content.models, "late": unknown})) == "–"


def test_a_comparison_that_is_done_trains_nothing_again(compared, config, monkeypatch):
    folder, content = compared
    monkeypatch.setattr("qinn.training.fit.fit", None)
    assert compare(config, folder).models == content.models


@pytest.mark.slow
def test_what_is_made_of_runs_of_two_commits_names_both(tiny_store, tmp_path, monkeypatch):
    def compared_at(commit, seeds):
        monkeypatch.setattr(provenance, "commit", lambda: commit)
        models = {"early": {"kind": "concatenation"}}
        changed = tiny_config(
            tiny_store,
            models=models,
            seeds=seeds,
            training={**TRAINING, "max_epochs": 1},
            evaluation={"num_resamples": 100},
            simple_rows=False,
        )
        return compare(changed, tmp_path / "compared")

    compared_at("aaaa", [0])
    result = compared_at("bbbb", [0, 1])
    assert (result.commit, result.trained_at) == ("bbbb", ("aaaa", "bbbb"))
    said = describe(result.folder)
    assert (said["commit"], said["trained at"]) == ("bbbb", "aaaa, bbbb")
    facts = dict(provenance_facts(result, trained_at=result.trained_at))
    assert (facts["trained at commit"], facts["made of them at"]) == ("aaaa, bbbb", "bbbb")
    published = publish_run(result.folder / "early", tmp_path / "published")
    assert "Commit: `aaaa`, `bbbb`" in (published / "README.md").read_text()


@pytest.mark.slow
def test_two_workers_find_what_one_finds(compared, tiny_store, tmp_path):
    from qinn.experiment.comparison import run_path

    folder, _ = compared
    few = tiny_config(
        tiny_store,
        models={label: MODELS[label] for label in ("Early fusion", "late")},
        training={**TRAINING, "max_epochs": 1, "learning_rate": 0.02},
    )
    seen = []
    compare(few, tmp_path, workers=2, on_run=lambda done, total, label: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    for label in few.models:
        here, there = (
            pq.read_table(run_path(where, label, 0) / "predictions.parquet") for where in (tmp_path, folder)
        )
        assert here == there


def test_a_folder_with_other_files_is_refused_and_left_alone(config, tmp_path):
    (tmp_path / "config.yaml").write_text("mine: true\n")
    with pytest.raises(CheckpointError, match=r"holds `config.yaml`, which is not of this comparison"):
        compare(config, tmp_path)
    assert (tmp_path / "config.yaml").read_text() == "mine: true\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.yaml"]


def test_a_comparison_killed_before_its_last_file_is_finished(compared, config, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(compared[0], folder)
    (folder / "comparison.json").unlink()
    assert compare(config, folder).models.keys() == config.models.keys()


def test_a_comparison_killed_while_it_wrote_a_file_is_finished(compared, config, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(compared[0], folder)
    (folder / "comparison.json").unlink()
    for name in ("table.md", "config.yaml", "comparison.json"):
        (folder / f".{name}.12ab.partial").write_text("half of")
    compare(config, folder)
    assert not list(folder.glob(".*"))


def test_an_unfinished_run_is_not_summarised(config, compared, tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        summarize(config, tmp_path)


def test_runs_on_other_samples_are_not_compared(config, compared, tmp_path):
    import shutil

    folder, _ = compared
    shutil.copytree(folder, tmp_path / "copy")
    victim = RunFolder(tmp_path / "copy" / "late" / "seed-7")
    table = pq.read_table(victim.predictions_file)
    pq.write_table(table.slice(1), victim.predictions_file)
    gone = table["id"][0]
    with pytest.raises(CheckpointError, match=r"late/seed-7/predictions\.parquet` is not the file"):
        summarize(config, tmp_path / "copy")
    trusted(victim.path)
    with pytest.raises(CheckpointError, match=f"sample `{gone}` of the store is not among the predictions"):
        summarize(config, tmp_path / "copy")


@pytest.mark.parametrize("content", [None, {"format": "other"}, [1]])
def test_what_is_no_comparison_is_refused(content, tmp_path):
    if content is not None:
        write_json(tmp_path / "comparison.json", content)
    with pytest.raises(CheckpointError, match=r"no finished comparison|does not describe a comparison"):
        read_comparison(tmp_path)


@pytest.mark.parametrize(
    "task",
    [
        Task("regression", -3.0, 3.0, "mosi"),
        Task("regression", -1.0, 1.0, "sims"),
        Task("regression", 0.0, 5.0, "plain"),
        Task("classification", classes=("a", "b")),
    ],
    ids=lambda task: f"{task.kind} {task.scale}",
)
def test_every_shown_metric_belongs_to_the_task(task):
    from qinn.evaluation.metric_names import metrics_of

    assert set(shown_metrics(task)) <= set(metrics_of(task))
