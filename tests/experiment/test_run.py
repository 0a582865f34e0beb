"""A run: what it writes, how it continues, what it refuses."""

import json
import re
import shutil
import subprocess
import time
from dataclasses import asdict

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

import qinn
from qinn.data.stores.store import Store
from qinn.data.subsets.batching import batch_of
from qinn.data.subsets.cross_validation import fixed_fold
from qinn.errors import ArgumentError, CheckpointError, ConfigError, DataError, QinnError
from qinn.evaluation.intervals import bootstrap_intervals
from qinn.evaluation.metrics import metrics
from qinn.experiment import absence_sweep, folds, provenance
from qinn.experiment.build import resolved
from qinn.experiment.evaluation import evaluate_run
from qinn.experiment.prediction import predict_store
from qinn.experiment.run import config_text, run
from qinn.results.files import read_json
from qinn.results.folder import RunFolder
from qinn.results.summary import ModalityRecord, commits_of
from qinn.task import Task
from qinn.training import fit as fitting

from ..tiny import QINN, TRAINING, made_before, tiny_config, write_tiny_store

SCORE = Task("regression", -3.0, 3.0, "mosi")
FAST = {"models": {"concatenation": {"kind": "concatenation"}}, "training": {**TRAINING, "max_epochs": 1}}
asked = provenance.commit.__wrapped__  # not what this process was told at first


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_run_folder_holds_everything_that_its_numbers_come_from(tiny_run):
    fold = "folds/000"
    assert files(tiny_run) == sorted(
        [
            "config.yaml",
            "explanation.json",
            "explanation.parquet",
            "metrics.json",
            "predictions.parquet",
            "reference.json",
            "run.json",
            *(
                f"{fold}/{name}"
                for name in (
                    "checkpoints/last.ckpt",
                    "explanation.json",
                    "explanation.parquet",
                    "fold.json",
                    "history.csv",
                    "test.parquet",
                    "valid.parquet",
                    "weights.safetensors",
                )
            ),
        ]
    )


def test_the_summary_names_the_data_the_code_and_the_seed(tiny_run, tiny_store):
    summary = RunFolder(tiny_run).summary()
    store = Store.open(tiny_store)
    assert summary.format == "qinn-run"
    assert summary.version == 2
    assert summary.device["kind"] == "cpu"
    assert summary.status == "complete"
    assert (summary.name, summary.label, summary.model) == ("tiny", "QiNN-QJ", "qinn")
    assert summary.seed == 0
    assert summary.data.sha256 == store.sha256
    assert summary.data.task.scale == "mosi"
    assert summary.data.modalities["audio"] == ModalityRecord(3, "synthetic-1", True)
    assert {"qinn", "torch", "python"} <= set(summary.versions)
    (fold,) = summary.folds
    assert (fold.num_train, fold.num_valid, fold.num_test) == (24, 10, 10)
    assert fold.data_sha256 == store.sha256
    assert fold.monitor == "valid_loss"
    assert summary.cpu_seconds == fold.cpu_seconds > 0


def test_predictions_are_of_the_test_samples_and_the_metrics_follow_from_them(tiny_run, tiny_store):
    table = pq.read_table(tiny_run / "predictions.parquet")
    test = fixed_fold(Store.open(tiny_store)).test
    assert table.column_names == ["id", "fold", "group", "label", "output_0", "trajectory_std_0"]
    assert table["id"].to_pylist() == list(test.ids)
    assert table["label"].to_pylist() == test.labels.tolist()
    assert table["group"].to_pylist() == test.groups.tolist()
    assert set(table["fold"].to_pylist()) == {"fixed"}
    assert min(table["trajectory_std_0"].to_pylist()) >= 0
    stated = read_json(tiny_run / "metrics.json")
    outputs = np.asarray(table["output_0"])[:, None]
    labels = np.asarray(table["label"])
    for name, value in metrics(SCORE, labels, outputs).items():
        found = stated["test"][name]["value"]
        assert found == (None if value is None else pytest.approx(value))
    again = bootstrap_intervals(
        SCORE,
        labels,
        outputs,
        groups=np.array(table["group"].to_pylist()),
        num_resamples=100,
        level=0.95,
        seed=0,
    )
    assert stated["test"] == {name: asdict(interval) for name, interval in again.items()}
    assert stated["selection"]["split"] == "valid"


def test_the_configuration_in_the_folder_is_complete(tiny_run, tiny_store):
    content = yaml.safe_load((tiny_run / "config.yaml").read_text())
    assert content["training"]["learning_rate"] == 2e-3
    assert content["models"]["QiNN-QJ"]["evolution"] == "jumps"
    assert content["data"]["store"] == str(tiny_store)


def test_provenance_names_no_path_and_no_host_of_this_machine(tiny_run, monkeypatch):
    summary = read_json(tiny_run / "run.json")
    for key in ("versions", "machine", "commit", "data", "folds"):
        assert not re.search(r"(^|[\s\"'])/\w", json.dumps(summary[key])), key
    assert set(summary["machine"]) == {"system", "architecture", "cores"}
    monkeypatch.setattr("sys.argv", ["/opt/venv/bin/qinn", "train", "config.yaml"])
    assert provenance.command() == "qinn train config.yaml"


def test_the_commit_is_none_outside_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert asked() is None


def test_the_commit_of_a_checkout_says_if_files_differ(monkeypatch, tmp_path):
    module = tmp_path / "src" / "qinn" / "experiment" / "provenance.py"
    module.parent.mkdir(parents=True)
    module.write_text("as committed")

    def git(*arguments):
        identity = ["-c", "user.name=A", "-c", "user.email=a@b"]
        return subprocess.run(["git", *identity, "-C", tmp_path, *arguments], check=True, capture_output=True)

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "All of it")
    monkeypatch.setattr(provenance, "__file__", str(module))
    monkeypatch.setattr(provenance, "_LOADED", time.time() + 3600)
    found = asked()
    assert re.fullmatch(r"[0-9a-f]{40}", found)
    with monkeypatch.context() as patch:  # loaded before the files were written as they are now
        patch.setattr(provenance, "_LOADED", time.time() - 3600)
        assert asked() == f"{found}+changes"
    git("config", "status.showUntrackedFiles", "no")
    (tmp_path / "notes").write_text("no part of the program")
    assert asked() == found
    for changed in (module, tmp_path / "src" / "qinn" / "new.py"):
        before = module.read_text()
        changed.write_text("changed")
        assert asked() == f"{found}+changes"
        module.write_text(before)

    def slow(command, **_):
        raise subprocess.TimeoutExpired(command, 1)

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", slow)
        assert asked() == "unknown"
    with monkeypatch.context() as patch:  # as of another user, say
        patch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        assert asked() == "unknown"
    monkeypatch.setenv("PATH", "")
    assert asked() == "unknown"


def test_a_password_stands_in_no_result(monkeypatch):
    url = "postgresql://me:SEC/R@ET@host/db?sslmode=on&password=SECRET"
    monkeypatch.setattr("sys.argv", ["/opt/bin/qinn", "tune", "--storage", url, "--trials", "3"])
    said = "qinn tune --storage postgresql://me@host/db?sslmode=on&password= --trials 3"
    assert provenance.command() == said
    assert provenance.without_passwords("sqlite:///a@b/c:d.db") == "sqlite:///a@b/c:d.db"


def test_a_link_to_nowhere_beside_the_source_is_no_source(monkeypatch, tmp_path):
    (tmp_path / "a.py").write_text("a")
    monkeypatch.setattr(qinn, "__file__", str(tmp_path / "__init__.py"))
    before = provenance.code_digest.__wrapped__()
    (tmp_path / ".#a.py").symlink_to("me@nowhere.1")
    assert provenance.code_digest.__wrapped__() == before


def test_a_process_has_one_commit_whatever_is_committed_while_it_works(monkeypatch):
    before = provenance.commit()
    monkeypatch.setattr(provenance, "__file__", "/nowhere/provenance.py")
    assert asked() is None
    assert provenance.commit() == before


def test_a_run_names_every_commit_that_trained_a_part_of_it(tiny_store, tmp_path, monkeypatch):
    config = tiny_config(tiny_store, **FAST, data={"store": str(tiny_store), "split": "fold"})
    folder = tmp_path / "run"
    note = folder / "folds" / "001" / "commits.json"

    def killed(*_, **__):
        raise KeyboardInterrupt

    def interrupted(commit, patched=None, **options):
        with monkeypatch.context() as patch:
            patch.setattr(provenance, "commit", lambda: commit)
            if patched is not None:
                patch.setattr(*patched, killed)
            with pytest.raises(KeyboardInterrupt):
                run(config, folder, **options)

    interrupted("first", on_fold=killed)
    interrupted("second", (fitting, "fit"))
    assert read_json(note) == {"commits": ["second"]}
    # The second one left no checkpoint, and so has no part in what the third one trains.
    interrupted("third", (folds, "predict"))
    assert read_json(note) == {"commits": ["third"]}
    interrupted(None, on_fold=lambda done, _: killed() if done == 2 else None)
    assert not note.exists()
    note.write_text('{"commits": ["third"]}')  # as a kill right after the fold's record leaves it
    interrupted("fourth", (folds, "predict"))
    assert not note.exists()
    damaged = folder / "folds" / "002" / "commits.json"
    damaged.write_text('{"commits": [3]}')
    monkeypatch.setattr(provenance, "commit", lambda: None)
    said = [
        read_json(one / "fold.json")["commits"]
        for one in sorted((run(config, folder).path / "folds").iterdir())
    ]
    assert said[:4] == [["first"], ["third", None], ["unknown", None], [None]]
    assert not list(folder.glob("folds/*/commits.json"))
    summary = RunFolder(folder).summary()
    assert summary.commit == "first, third, no checkout, unknown"
    assert commits_of([summary]) == ("first", "third", "no checkout", "unknown")
    whole = run(config, tmp_path / "whole").summary()
    assert whole.commit is None
    assert commits_of([whole]) == ("no checkout",)


@pytest.mark.parametrize(
    "said",
    ["", "{", "{}", "[]", "null", "[" * 100_000]
    + [f'{{"commits": {one}}}' for one in ("null", '"ab"', "[[1]]", '["a, b"]', '[""]')],
    ids=range(11),
)
def test_a_damaged_note_of_commits_costs_no_checkpoint(said, tmp_path):
    (tmp_path / "refit" / "checkpoints").mkdir(parents=True)
    (tmp_path / "refit" / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "commits.json").write_text(said)
    assert folds._begun_at(tmp_path) == ("unknown", provenance.commit())


def test_a_complete_run_is_returned_untouched(tiny_run, tiny_store):
    before = {name: (tiny_run / name).stat().st_mtime_ns for name in files(tiny_run)}
    assert run(tiny_config(tiny_store), tiny_run).path == tiny_run
    assert {name: (tiny_run / name).stat().st_mtime_ns for name in files(tiny_run)} == before


def test_a_run_of_another_configuration_in_the_same_folder_is_refused(tiny_run, tiny_store):
    other = tiny_config(tiny_store, training={**TRAINING, "max_epochs": 3})
    with pytest.raises(CheckpointError, match="holds a run of another configuration"):
        run(other, tiny_run)


def test_other_data_in_the_same_folder_are_refused(tmp_path):
    write_tiny_store(tmp_path / "store")
    config = tiny_config(tmp_path / "store", **FAST)
    run(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "store")
    write_tiny_store(tmp_path / "store", seed=1)
    with pytest.raises(CheckpointError, match=r"on other data than .* holds now"):
        run(config, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(CheckpointError, match="trained on other data than the store holds now"):
        run(config, tmp_path / "run")


def test_a_resumed_run_skips_the_folds_that_are_done(tiny_store, tmp_path, monkeypatch):
    config = tiny_config(tiny_store, **FAST, data={"store": str(tiny_store), "split": "fold"})
    fitted = []
    fit = fitting.fit

    def counted(*arguments, **options):
        fitted.append(options["folder"].name)
        if len(fitted) == 3:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    monkeypatch.setattr(fitting, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run")
    assert not RunFolder(tmp_path / "run").is_complete
    with pytest.raises(CheckpointError, match="was interrupted: repeat its command"):
        RunFolder(tmp_path / "run").summary()
    progress = []
    done = run(config, tmp_path / "run", on_fold=lambda *counts: progress.append(counts))
    assert fitted == ["000", "001", "002", "002", "003", "004"]
    assert progress == [(number, 5) for number in range(1, 6)]
    summary = done.summary()
    assert [fold.name for fold in summary.folds] == ["0", "1", "2", "3", "4"]
    table = pq.read_table(done.predictions_file)
    assert sorted(table["id"].to_pylist()) == sorted(Store.open(tiny_store).strings("id"))
    store = Store.open(tiny_store)
    folds = dict(zip(store.strings("id"), store.strings("fold"), strict=True))
    assert table["fold"].to_pylist() == [folds[name] for name in table["id"].to_pylist()]


def test_leaving_one_group_out_tests_every_sample_once(tiny_store, tmp_path):
    config = tiny_config(
        tiny_store,
        models={"constant": {"kind": "constant"}},
        data={"store": str(tiny_store), "split": "group"},
    )
    done = run(config, tmp_path / "run")
    table = pq.read_table(done.predictions_file)
    assert table["fold"].to_pylist() == table["group"].to_pylist()
    assert len(set(table["id"].to_pylist())) == 44
    assert table["trajectory_std_0"].null_count == 44
    assert not done.explanation_file.exists()


def test_explanations_of_all_folds_are_pooled(tiny_store, tmp_path):
    config = tiny_config(
        tiny_store,
        models={"qinn": {**QINN, "evolution": "none"}},
        training={**TRAINING, "max_epochs": 1},
        data={"store": str(tiny_store), "split": "fold", "modalities": ["text", "audio"]},
    )
    done = run(config, tmp_path / "run")
    table = pq.read_table(done.explanation_table)
    assert table.num_rows == 44
    content = read_json(done.explanation_file)
    assert content["samples"] == 44
    assert content["mean"]["score"] == pytest.approx(float(np.mean(table["score"])))


def test_explaining_can_be_switched_off(tiny_store, tmp_path):
    config = tiny_config(
        tiny_store,
        training={**TRAINING, "max_epochs": 1},
        evaluation={"num_resamples": 100, "explain": False},
    )
    assert not run(config, tmp_path / "run").explanation_file.exists()


def test_a_classification_run_has_one_output_per_class(class_run):
    table = pq.read_table(class_run / "predictions.parquet")
    likely = ["probability:negative", "probability:positive"]
    assert table.column_names == [
        *("id", "fold", "group", "label", "class", *likely),
        *("output_0", "output_1", "trajectory_std_0", "trajectory_std_1"),
    ]
    shares = np.stack([table[name] for name in likely], axis=1)
    logits = np.stack([table["output_0"], table["output_1"]], axis=1)
    assert shares == pytest.approx(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    assert table["class"].to_pylist() == [["negative", "positive"][row.argmax()] for row in shares]
    right = np.array(table["class"].to_pylist()) == np.array(table["label"].to_pylist())
    assert read_json(class_run / "metrics.json")["test"]["accuracy"]["value"] == pytest.approx(right.mean())
    assert set(read_json(class_run / "metrics.json")["test"]) == {
        "accuracy",
        "balanced_accuracy",
        "f1_macro",
        "f1_weighted",
        "auc",
        "log_loss",
    }


def test_a_run_has_one_model_and_one_seed(tiny_store, tmp_path):
    with pytest.raises(ConfigError, match="A run has one model and one seed"):
        run(tiny_config(tiny_store, seeds=[0, 1]), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"data": {"store": "STORE", "modalities": ["smell"]}}, ConfigError, "`smell`"),
        ({"data": {"store": "STORE", "modalities": ["text", "text"]}}, ArgumentError, "distinct"),
        ({"data": {"store": "STORE", "modalities": []}}, QinnError, "modalities"),
        ({"models": {"one": {"kind": "unimodal", "modality": "smell"}}}, ConfigError, "`smell`"),
        ({"models": {"q": {**QINN, "state_dims": {"text": 2}}}}, ConfigError, "state_dims"),
        ({"encoder": {"kind": {"text": "gru"}}}, ConfigError, "encoder.kind"),
        ({"training": {**TRAINING, "loss": "cross_entropy"}}, ArgumentError, "`cross_entropy` cannot train"),
        ({"training": {**TRAINING, "monitor": "accuracy"}}, ArgumentError, "`monitor` must be"),
    ],
)
def test_a_configuration_that_does_not_fit_the_data_leaves_nothing(
    changes, error, words, tiny_store, tmp_path
):
    if "data" in changes:
        changes = {"data": {**changes["data"], "store": str(tiny_store)}}
    with pytest.raises(error, match=re.escape(words)):
        run(tiny_config(tiny_store, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_groups_that_leak_between_splits_leave_nothing(tmp_path):
    from qinn.data.stores.store import Modality, StoreWriter

    with StoreWriter(
        tmp_path / "store", name="leaky", task=SCORE, modalities={"text": Modality(2)}, layout="test"
    ) as writer:
        for number, split in enumerate(("train", "train", "valid", "test", "test")):
            writer.add(
                str(number), {"text": np.ones((1, 2))}, split=split, label=0.5 * number, group=str(number % 3)
            )
    with pytest.raises(DataError, match="is in the splits"):
        run(tiny_config(tmp_path / "store"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_with_other_things_is_refused(tiny_store, tmp_path):
    (tmp_path / "thesis.tex").write_text("do not touch")
    with pytest.raises(CheckpointError, match="is not empty and holds no run"):
        run(tiny_config(tiny_store), tmp_path)
    assert files(tmp_path) == ["thesis.tex"]


def test_what_a_killed_start_has_left_does_not_block_the_repeat(tiny_store, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.yaml.12ab.partial").write_text("half of")
    run(tiny_config(tiny_store, models={"constant": {"kind": "constant"}}), tmp_path / "run")
    assert not list((tmp_path / "run").glob(".*"))


def test_the_checkpoints_of_another_run_are_refused(tiny_store, tmp_path):
    config = tiny_config(tiny_store, training={**TRAINING, "max_epochs": 1})
    other = tiny_config(tiny_store, models={"QiNN-QJ": {**QINN, "evolution": "unitary"}}, training=TRAINING)
    for one, name in ((config, "mine"), (other, "other")):
        run(one, tmp_path / name)
    mine, theirs = (tmp_path / name / "folds" / "000" for name in ("mine", "other"))
    (mine / "fold.json").unlink()
    (mine.parents[1] / "run.json").unlink()
    shutil.copy(theirs / "checkpoints" / "last.ckpt", mine / "checkpoints" / "last.ckpt")
    with pytest.raises(CheckpointError, match="it belongs to another model, seed or data set; delete"):
        run(config, tmp_path / "mine")


def test_the_same_configuration_gives_the_same_run(tiny_store, tmp_path):
    config = tiny_config(tiny_store, **FAST)
    first, second = run(config, tmp_path / "a"), run(config, tmp_path / "b")
    assert pq.read_table(first.predictions_file) == pq.read_table(second.predictions_file)
    assert read_json(first.metrics_file) == read_json(second.metrics_file)
    assert config_text(resolved(config, Store.open(tiny_store))) == first.config_file.read_text()


def test_a_refit_changes_the_weights_after_the_validation_samples_were_predicted(
    tiny_store, tmp_path, monkeypatch
):
    plain = run(tiny_config(tiny_store), tmp_path / "plain")
    again = run(tiny_config(tiny_store, training={**TRAINING, "refit": True}), tmp_path / "refit")
    valid = [(one.fold(0) / "valid.parquet").read_bytes() for one in (plain, again)]
    weights = [(one.fold(0) / "weights.safetensors").read_bytes() for one in (plain, again)]
    assert valid[0] == valid[1]
    assert weights[0] != weights[1]
    assert evaluate_run(again.path).largest_difference == 0.0
    with pytest.raises(ConfigError, match="fitted to its validation samples"):
        evaluate_run(again.path, split="valid")
    monkeypatch.setattr(absence_sweep, "_swept", lambda *_: pytest.fail("computed"))
    with pytest.raises(ConfigError, match="fitted to its validation samples"):
        absence_sweep.sweep_absent([again.path], tmp_path / "sweep", split="valid")


def test_pooled_sequences_are_pooled_wherever_the_run_is_used(tiny_store, tmp_path):
    store = Store.open(tiny_store)
    data = {"store": str(tiny_store), "pool": ["audio"]}
    done = run(tiny_config(tiny_store, data=data), tmp_path / "run")
    assert done.summary().data.modalities["audio"] == ModalityRecord(6, store.tiers["audio"], False)
    assert evaluate_run(done.path).largest_difference == 0.0
    scores = [row["score"] for row in predict_store(done.path, tiny_store, split="test")]
    stored = pq.read_table(done.predictions_file)["output_0"].to_pylist()
    assert scores == pytest.approx(stored, abs=1e-6)
    fold = fixed_fold(store).pool(["audio"])
    raw = batch_of(fixed_fold(store).test, [0, 1, 2, 3]).features["audio"]
    pooled = batch_of(fold.test, [0, 1, 2, 3]).features["audio"]
    assert pooled.lengths.tolist() == (raw.lengths > 0).tolist()
    for steps, length, vector in zip(raw.values, raw.lengths, pooled.values[:, 0], strict=True):
        if length:
            wanted = [*steps[:length].mean(0), *steps[:length].std(0, correction=0)]
            np.testing.assert_allclose(vector, wanted, atol=1e-6)
    with pytest.raises(ConfigError, match=r"`data.pool` names `smell`"):
        run(tiny_config(tiny_store, data={**data, "pool": ["smell"]}), tmp_path / "other")


def test_a_run_made_before_a_key_was_renamed_is_read_and_resumed(tiny_run, tiny_store, tmp_path):
    import shutil

    import yaml

    from qinn.experiment.prediction import predict_store

    old = shutil.copytree(tiny_run, tmp_path / "old")
    made_before(old)
    content = yaml.safe_load((old / "config.yaml").read_text(encoding="utf-8"))
    del content["encoder"]["head_dropout"]
    content["encoder"]["modality_dropout"] = {}
    (old / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    assert predict_store(old, tiny_store) == predict_store(tiny_run, tiny_store)
    assert run(tiny_config(tiny_store), old).path == old
