"""Finished runs without modalities: evaluation, prediction, explanation, and the sweep over rates."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import qinn
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.data.subsets.absence import Absence
from qinn.data.subsets.batching import batch_of
from qinn.data.subsets.cross_validation import fixed_fold
from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
from qinn.errors import ArgumentError, CheckpointError, ConfigError, DataError
from qinn.evaluation.intervals import bootstrap_intervals
from qinn.evaluation.metrics import metrics
from qinn.evaluation.paired_tests import holm_correction, paired_test
from qinn.evaluation.predict import predict
from qinn.experiment.absence_sweep import parse_rates, sweep_absent
from qinn.experiment.build import build_model
from qinn.experiment.comparison import compare
from qinn.experiment.config import parse_config
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.evaluation import evaluate_run
from qinn.experiment.explanation import explain_run
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.experiment.prediction import predict_store
from qinn.experiment.predictor import Predictor
from qinn.experiment.run import run
from qinn.results.as_json import document
from qinn.results.sweep import Shares, read_sweep
from qinn.task import Task
from qinn.training.fit import fit
from qinn.training.options import FitOptions

from ..tiny import QINN, SIZES, TRAINING, tiny_config, tiny_content

DIMS = {"text": 4, "audio": 3, "vision": 3}
MODELS = {
    "QiNN-QJ": {**QINN, "evolution": "heisenberg", "head": "linear"},
    "late": {"kind": "late_fusion"},
    "constant": {"kind": "constant"},
}
RATES, SEEDS = (0.0, 0.4, 1.0), (0, 5)


@pytest.fixture(scope="module")
def compared(tiny_store, tmp_path_factory):
    """A finished comparison of three models and two seeds."""
    folder = tmp_path_factory.mktemp("missing") / "comparison"
    config = tiny_config(tiny_store, models=MODELS, seeds=[0, 1], reference="late")
    compare(
        config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"explain": False})}),
        folder,
    )
    return folder


@pytest.fixture(scope="module")
def swept(compared):
    seen = []
    content = sweep_absent(
        [compared],
        compared / "missing",
        rates=RATES,
        mask_seeds=SEEDS,
        on_run=lambda *done: seen.append(done),
    )
    assert [done[:2] for done in seen] == [(number, 6) for number in range(1, 7)]
    return content


def expected_outputs(folder, store, absence):
    """Outputs for the test samples without modalities, by the model alone, in the order of the ids."""
    model = Predictor.load(folder).models["fixed"]
    test = fixed_fold(Store.open(store)).test
    mask = absence.mask(test.ids, test.modalities)
    batch = batch_of(test, np.arange(len(test))).lacking(torch.from_numpy(mask))
    with torch.no_grad():
        outputs = model(batch).output.double().numpy()
    order = np.argsort(np.array(test.ids))
    return test.labels[order], outputs[order], np.array(test.groups)[order]


def test_an_evaluation_without_a_modality_stands_beside_the_complete_one(tiny_run, tiny_store):
    absence = Absence(("audio",), 0.3, 2)
    complete, result = evaluate_run(tiny_run), evaluate_run(tiny_run, absence=absence)
    assert result.complete == complete.metrics
    assert result.largest_difference == complete.largest_difference <= 1e-5
    labels, outputs, _ = expected_outputs(tiny_run, tiny_store, absence)
    expected = metrics(Task("regression", -3.0, 3.0, "mosi"), labels, outputs)
    for name, value in expected.items():
        found = result.metrics[name].value
        assert found == (None if value is None else pytest.approx(value, abs=1e-6))
    assert result.metrics != result.complete
    said = result.missing
    assert said.absent["audio"] == 1.0
    assert 0 < said.absent["text"] < 1
    assert (said.modalities, said.rate, said.seed) == (("audio",), 0.3, 2)
    assert complete.missing is None
    json.dumps(document(result), allow_nan=False)


def test_every_model_and_every_split_into_folds_loses_the_same(compared, tiny_run):
    absence = Absence(rate=0.5, seed=1)
    found = [
        evaluate_run(folder, absence=absence).missing
        for folder in (compared / "qinn-qj" / "seed-0", compared / "late" / "seed-1", tiny_run)
    ]
    assert found[0] == found[1] == found[2]


def test_a_seed_of_masks_without_a_rate_is_refused(tiny_run):
    with pytest.raises(ArgumentError, match="`absent_seed` goes with `absent_rate`, which is 0, but it is 0"):
        qinn.evaluate(tiny_run, absent=["text"], absent_seed=0)


def test_a_modality_that_the_data_lack_cannot_be_absent(tiny_run, tiny_store, tmp_path):
    with pytest.raises(ArgumentError, match="but not `voice`"):
        evaluate_run(tiny_run, absence=Absence(("voice",)))
    with pytest.raises(ConfigError, match="so `voice` cannot be absent"):
        predict_store(tiny_run, tiny_store, absent=["voice"])
    with pytest.raises(ArgumentError, match="but not `voice`"):
        explain_run(tiny_run, tmp_path / "no", absent=["voice"])
    assert not (tmp_path / "no").exists()


def write_part(path, dims=DIMS, name="part"):
    generator = np.random.default_rng(3)
    modalities = {name: Modality(dim, "sequence", "synthetic-1") for name, dim in dims.items()}
    task = Task("regression", -3.0, 3.0, "mosi")
    with StoreWriter(path, name=name, task=task, modalities=modalities, layout="test") as writer:
        for row in range(6):
            writer.add(
                f"p{row}", {one: generator.normal(size=(2, dim)) for one, dim in dims.items()}, label=0.5
            )
    return path


def test_a_store_without_a_modality_is_predicted_if_that_is_said(tiny_run, tmp_path):
    path = write_part(tmp_path / "part", {"text": 4, "vision": 3})
    with pytest.raises(CheckpointError, match="or do without it by `--absent audio`"):
        predict_store(tiny_run, path)
    rows = predict_store(tiny_run, path, absent=["audio"])
    assert {row["absent"] for row in rows} == {"audio"}
    whole = write_part(tmp_path / "whole", {"text": 4, "audio": 3, "vision": 3}, name="whole")
    assert {row["absent"] for row in predict_store(tiny_run, whole, absent=["audio"])} == {"audio"}
    result = evaluate_run(tiny_run, split=None, store=whole, absence=Absence(("audio",)))
    assert result.complete["mae"].value != result.metrics["mae"].value
    result = evaluate_run(tiny_run, split=None, store=path, absence=Absence(("audio",)))
    assert result.missing.absent == {"text": 0.0, "audio": 1.0, "vision": 0.0}
    with pytest.raises(CheckpointError, match="none of the modalities of run"):
        predict_store(tiny_run, write_part(tmp_path / "other", {"voice": 2}), absent=list(DIMS))


def test_doing_without_a_modality_is_not_having_it(tiny_run, tiny_store, tmp_path):
    rows = predict_store(tiny_run, tiny_store, split="test", absent=["text"])
    labels, outputs, _ = expected_outputs(tiny_run, tiny_store, Absence(("text",)))
    scores = [row["score"] for row in sorted(rows, key=lambda row: row["id"])]
    assert scores == pytest.approx(outputs[:, 0].tolist(), abs=1e-5)
    assert all("text" in row["absent"].split("+") for row in rows)
    explained = explain_run(tiny_run, tmp_path / "explained", absent=["text"])
    assert explained.absent["text"] == len(labels)
    table = pq.read_table(tmp_path / "explained" / "explanation.parquet")
    found = dict(zip(table["id"].to_pylist(), table["score"].to_pylist(), strict=True))
    assert [found[row["id"]] for row in rows] == pytest.approx([row["score"] for row in rows], abs=1e-5)
    assert table["absent"].to_pylist() == [row["absent"] for row in rows]
    assert np.isnan(table["entropy:text | audio+vision"].to_numpy()).all()
    assert np.isfinite(table["negativity:text : audio"].to_numpy()).all()
    shifts = np.array(table["counterfactual:without text"]) - np.array(table["score"])
    assert np.abs(shifts).max() < 1e-6


def test_rows_name_what_each_sample_lacked(tiny_run, tiny_store):
    rows = predict_store(tiny_run, tiny_store)
    store = Store.open(tiny_store)
    lengths = {name: np.diff(store.offsets(name)) for name in DIMS}
    ids = list(store.strings("id"))
    for row in rows:
        at = ids.index(row["id"])
        assert row["absent"] == "+".join(name for name in DIMS if not lengths[name][at])
    assert any(row["absent"] for row in rows)


def test_a_sweep_states_the_metrics_of_the_masked_samples(swept, compared, tiny_store):
    task = Task("regression", -3.0, 3.0, "mosi")
    assert swept.rates == RATES
    assert swept.reference == "late"
    options = {"num_resamples": 100, "level": 0.95, "seed": 0}
    for index, rate in enumerate(RATES):
        outputs = {}
        for label, slug in (("QiNN-QJ", "qinn-qj"), ("late", "late")):
            found = [
                [
                    expected_outputs(compared / slug / f"seed-{seed}", tiny_store, Absence((), rate, mask))
                    for mask in SEEDS
                ]
                for seed in (0, 1)
            ]
            labels, groups = found[0][0][0], found[0][0][2]
            outputs[label] = np.stack([one[1] for by_mask in found for one in by_mask])
            values = np.array(
                [[metrics(task, labels, one[1])["mae"] for one in by_mask] for by_mask in found]
            )
            entry = swept.models[label].rates[index]["mae"]
            assert entry.mean == pytest.approx(values.mean(), abs=1e-6)
            assert entry.sd == pytest.approx(values.mean(1).std(ddof=1), abs=1e-6)
            assert entry.sd_masks == pytest.approx(values.mean(0).std(ddof=1), abs=1e-6)
            interval = bootstrap_intervals(task, labels, outputs[label], groups=groups, **options)["mae"]
            assert (entry.low, entry.high) == pytest.approx((interval.low, interval.high), abs=1e-6)
        test = paired_test(
            task, labels, outputs["QiNN-QJ"], outputs["late"], groups=groups, num_permutations=100, **options
        )["mae"]
        stated = swept.paired["QiNN-QJ"][index]["mae"]
        assert stated.difference == pytest.approx(test.difference, abs=1e-6)
        assert stated.p_value == pytest.approx(test.p_value)


def test_p_values_are_corrected_over_the_models_rate_by_rate(swept):
    assert set(swept.paired) == {"QiNN-QJ", "constant"}
    for index in range(len(RATES)):
        tests = {label: by_rate[index]["mae"] for label, by_rate in swept.paired.items()}
        corrected = holm_correction({label: test.p_value for label, test in tests.items()})
        for label, test in tests.items():
            assert test.p_value_holm == corrected[label]
            assert test.p_value_holm >= test.p_value


def test_nothing_missing_is_what_the_runs_measured(swept, compared):
    for label, entry in json.loads((compared / "comparison.json").read_text())["models"].items():
        for name, value in entry["metrics"].items():
            found = swept.models[label].rates[0][name]
            expected = value["mean"]
            assert found.mean == (None if expected is None else pytest.approx(expected, abs=1e-6))
            assert found.sd_masks in (None, pytest.approx(0.0))


def test_samples_that_have_nothing_left_stay_and_get_the_prior(swept, tiny_store):
    train = fixed_fold(Store.open(tiny_store)).development.train
    for label, entry in swept.models.items():
        empty = entry.empty
        assert empty.finite
        assert empty.training_mean == pytest.approx(train.labels.mean())
        assert empty.training_median == pytest.approx(np.median(train.labels))
        assert empty.in_range == (-3 <= empty.prediction <= 3)
        assert entry.rates[2]["mae"].mean == pytest.approx(empty.metrics["mae"].mean, abs=1e-6)
        if label == "constant":
            assert empty.distance < 1e-6
    assert swept.absent[2] == Shares(1.0, 1.0)
    assert swept.absent[0].empty == 0.0


def test_a_sweep_is_written_with_a_table_and_read_again(swept, compared):
    folder = compared / "missing"
    assert read_sweep(folder) == swept
    assert json.loads((folder / "sweep.json").read_text()).items() >= document(swept).items()
    table = (folder / "table.md").read_text()
    assert "| late |" in table
    assert "nothing left" in table
    assert "| model | 0 | 0.4 | 1 |" in table


def test_single_runs_of_a_classification_are_swept(class_run, tmp_path):
    content = sweep_absent([class_run], tmp_path / "sweep", rates=(0.5,), mask_seeds=(0,))
    empty = content.models["QiNN-QJ"].empty
    assert sum(empty.prediction.values()) == pytest.approx(1.0)
    assert sum(empty.training.values()) == pytest.approx(1.0)
    expected = 0.5 * sum(abs(empty.prediction[one] - empty.training[one]) for one in empty.training)
    assert empty.distance == pytest.approx(expected)
    assert content.paired == {}
    assert "total variation" in (tmp_path / "sweep" / "table.md").read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rates": ()}, "distinct, rising and between 0 and 1"),
        ({"rates": (0.5, 0.1)}, "distinct, rising"),
        ({"rates": (0.5, 1.5)}, "between 0 and 1"),
        ({"mask_seeds": ()}, "Mask seeds must be distinct"),
        ({"mask_seeds": (1, 1)}, "Mask seeds must be distinct"),
        ({"reference": "nobody"}, r"one of \['QiNN-QJ'\], but it is `nobody`"),
        ({"split": "train"}, "must be `test` or `valid`"),
    ],
)
def test_an_impossible_sweep_is_refused_and_writes_nothing(changes, words, tiny_run, tmp_path):
    with pytest.raises((ArgumentError, ConfigError), match=words):
        sweep_absent([tiny_run], tmp_path / "sweep", **changes)
    assert not (tmp_path / "sweep").exists()


def test_only_runs_on_the_same_samples_are_swept_together(tiny_run, class_run, compared, tmp_path):
    with pytest.raises(DataError, match="is on other data than"):
        sweep_absent([compared / "late" / "seed-0", class_run], tmp_path / "sweep", rates=(0.0,))
    with pytest.raises(ArgumentError, match="`QiNN-QJ` with seed 0 is named twice"):
        sweep_absent([tiny_run, compared], tmp_path / "sweep", rates=(0.0,))
    with pytest.raises(ArgumentError, match="at least one run"):
        sweep_absent([], tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="run `qinn sweep-absent` first"):
        read_sweep(tmp_path)
    (tmp_path / "sweep.json").write_text('{"format": "qinn-missing-sweep", "version": 9}')
    with pytest.raises(CheckpointError, match=r"with format version 9, .* install a newer qinn"):
        read_sweep(tmp_path)


def test_rates_are_read_from_text():
    assert parse_rates("0,0.25, 1") == (0.0, 0.25, 1.0)
    with pytest.raises(ArgumentError, match="numbers separated by commas, but they are `a,b`"):
        parse_rates("a,b")


@pytest.fixture(scope="module")
def textless_store(tmp_path_factory):
    """A store whose training samples have no text, as ICT-MMMO is published."""
    complete = write_synthetic_store(
        tmp_path_factory.mktemp("whole") / "store", SyntheticSpec(**{**SIZES, "absent_rate": 0.0})
    )
    path = tmp_path_factory.mktemp("textless") / "store"
    modalities = {name: Modality(dim, "sequence", "synthetic-1") for name, dim in DIMS.items()}
    splits, groups = complete.strings("split"), complete.strings("group")
    with StoreWriter(
        path, name="textless", task=complete.task, modalities=modalities, layout="test"
    ) as writer:
        for row, identifier in enumerate(complete.strings("id")):
            features = {}
            for name in DIMS:
                if name != "text" or splits[row] != "train":
                    start, stop = complete.offsets(name)[row : row + 2]
                    features[name] = np.array(complete.values(name)[start:stop])
            writer.add(
                identifier, features, label=float(complete.labels[row]), split=splits[row], group=groups[row]
            )
    return path


@pytest.mark.parametrize("model", [QINN, {"kind": "concatenation"}], ids=["qinn", "concatenation"])
def test_a_modality_that_exists_only_in_the_test_is_taken_for_absent_with_a_remark(
    model, textless_store, tmp_path
):
    config = tiny_config(textless_store, models={"m": model})
    done = run(config, tmp_path / "run")
    assert any("No training sample has `text`" in remark for remark in done.summary().remarks)
    result = evaluate_run(done.path)
    assert result.largest_difference <= 1e-6
    assert any("taken for absent in the 10 samples" in remark for remark in result.remarks)
    without = evaluate_run(done.path, absence=Absence(("text",)))
    assert without.metrics == without.complete
    remarks = []
    rows = predict_store(done.path, textless_store, split="test", on_remark=remarks.append)
    assert [
        remark for remark in remarks if "held out" not in remark and "validation" not in remark
    ] == remarks[:1]
    assert {row["absent"] for row in rows} == {"text"}
    if model is QINN:
        explained = explain_run(done.path, tmp_path / "explained")
        assert explained.absent == {"text": 10}
        assert explained.remarks


def test_a_prior_that_no_absence_trains_is_remarked(tmp_path):
    store = write_synthetic_store(tmp_path / "store", SyntheticSpec(**{**SIZES, "absent_rate": 0.0}))
    models = {"m": {**QINN, "absent_state": "prior"}}
    done = run(tiny_config(store.path, models=models), tmp_path / "run")
    assert any("stay maximally mixed" in remark for remark in done.summary().remarks)
    training = {**TRAINING, "absent_rate": 0.5}
    done = run(tiny_config(store.path, models=models, training=training), tmp_path / "other")
    assert done.summary().remarks == ()
    priors = Predictor.load(done.path).models["fixed"].fusion.priors
    assert any(
        (prior.free - torch.eye(2)[:, None] * torch.tensor([[1.0], [0.0]])).abs().max() > 1e-3
        for prior in priors.values()
    )


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"absent_rate": 1.0}, "absent_rate"),
        ({"absent_rate": {"audio": -0.5}}, "absent_rate"),
        ({"absent_rat": 0.5}, "absent_rate"),
    ],
)
def test_impossible_rates_in_a_configuration_are_refused(training, words, tiny_store):
    with pytest.raises(ConfigError, match=words):
        parse_config(tiny_content(tiny_store, training={**TRAINING, **training}), "tiny")


def test_a_rate_for_a_modality_that_the_data_lack_leaves_nothing(tiny_store, tmp_path):
    config = tiny_config(tiny_store, training={**TRAINING, "absent_rate": {"voice": 0.5}})
    with pytest.raises(ArgumentError, match="names `voice`"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_prior_is_refused_where_states_stay_pure(tiny_store):
    models = {"m": {**QINN, "evolution": "linear_map", "absent_state": "prior"}}
    with pytest.raises(ConfigError, match="the linear map knows pure states only"):
        parse_config(tiny_content(tiny_store, models=models), "tiny")


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        {**QINN, "evolution": "heisenberg"},
        {**QINN, "evolution": "heisenberg", "absent_state": "prior"},
        {"kind": "concatenation"},
        {"kind": "tensor_fusion"},
    ],
    ids=["mixed", "prior", "concatenation", "tensor fusion"],
)
def test_a_model_that_learned_to_do_without_says_the_training_mean_for_nothing(model, tmp_path):
    """Of labels far from 0: the mean of the squared error's minimiser is that of the labels."""
    spec = SyntheticSpec(**{**SIZES, "num_train": 400, "num_valid": 100, "absent_rate": 0.0})
    development = fixed_fold(write_synthetic_store(tmp_path / "store", spec)).development
    for part in (development.train, development.valid):
        part.labels = 1.6 + 0.4 * part.labels
    network = build_model(
        MODEL_CONFIGS[model["kind"]].model_validate(model),
        EncoderConfig(hidden_dim=8, dropout=0.0),
        feature_dims=development.train.dims,
        sequences=dict.fromkeys(development.train.dims, True),
        num_outputs=1,
        seed=0,
    )
    options = FitOptions(
        max_epochs=8,
        batch_size=32,
        learning_rate=1e-2,
        loss="mse",
        tensorboard=False,
        absent_rate=0.4,
        absent_all=True,
    )
    task = Task("regression", -3.0, 3.0, "mosi")
    fit(network, development, task=task, options=options, folder=tmp_path / "fit", seed=0)
    empty = predict(network, Absence(rate=1.0).apply(development.valid)).outputs
    assert np.isfinite(empty).all()
    assert np.ptp(empty) < 1e-5
    mean, deviation = development.train.labels.mean(), development.train.labels.std()
    assert abs(empty[0, 0] - mean) < 0.5 * deviation


def test_a_killed_sweep_leaves_nothing_that_looks_complete(tiny_run, tmp_path, monkeypatch):
    from qinn.results import documents

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(documents, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        sweep_absent([tiny_run], tmp_path / "sweep", rates=(0.0,), mask_seeds=(0,))
    with pytest.raises(CheckpointError, match="holds no finished sweep"):
        read_sweep(tmp_path / "sweep")


def test_a_run_folder_that_moved_is_swept_where_it_lies(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "moved")
    first, second = (
        sweep_absent([folder], tmp_path / name, rates=(0.5,), mask_seeds=(0,)).models
        for folder, name in ((tiny_run, "a"), (tmp_path / "moved", "b"))
    )
    assert first == second
