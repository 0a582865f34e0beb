"""Tuning sees no test sample, gives every model the same budget, goes on where it was killed, and says all it did."""

import json
import shutil

import numpy as np
import pytest

import qinn
from qinn.data.stores.manifest import Modality
from qinn.data.stores.writing import StoreWriter
from qinn.digests import file_digest
from qinn.errors import CheckpointError, ConfigError
from qinn.experiment.comparison import compare
from qinn.experiment.config import TrainingConfig, parse_config, read_config
from qinn.experiment.encoder_config import TransformerConfig
from qinn.experiment.model_configs import parse_model
from qinn.experiment.tuning import tune
from qinn.experiment.tuning_config import TuneConfig, searched
from qinn.explain.activity import activity_of
from qinn.results.tuning import read_tuning
from qinn.task import Task

from ..tiny import tiny_content

MODELS = {
    "early": {"kind": "concatenation"},
    "low rank": {"kind": "low_rank_fusion"},
    "mean": {"kind": "constant"},
}
SPACE = {"hidden_dim": [2, 4], "rank": {"low": 1, "high": 3}, "batch_size": [6, 12]}


def config_of(store, **tuning):
    training = {"max_epochs": 1, "batch_size": 12, "tensorboard": False}
    content = {**tiny_content(store, models=MODELS, training=training), "tune": {"trials": 3, **tuning}}
    return parse_config({**content, "tune": {"space": SPACE, **content["tune"]}}, "tiny")


def write_store(path, seed):
    """Samples whose training and validation parts are the same for every seed, and whose test part is not."""
    with StoreWriter(
        path,
        name="s",
        task=Task("regression", -9.0, 9.0, "plain"),
        modalities={"text": Modality(3, "vector"), "audio": Modality(2, "vector")},
        layout="t",
    ) as writer:
        for number in range(30):
            split = ("train", "train", "valid", "test", "test")[number % 5]
            generator = np.random.default_rng([number, seed if split == "test" else 0])
            features = {"text": generator.normal(size=3), "audio": generator.normal(size=2)}
            writer.add(f"s{number:02}", features, split=split, label=float(generator.normal()))
    return path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    config = config_of(write_store(folder / "store", 0))
    seen = []
    result = tune(config, folder / "out", on_trial=lambda *one: seen.append(one))
    return config, result, seen


def told(result):
    return {
        label: [(one.value, dict(one.choices), one.failure) for one in model.trials]
        for label, model in result.models.items()
    }


def test_every_model_has_the_same_budget_and_its_own_configuration_first(tuned):
    _, result, seen = tuned
    assert list(result.models) == ["early", "low rank"]
    assert [len(model.trials) for model in result.models.values()] == [3, 3]
    assert all(model.trials[0].choices == {} for model in result.models.values())
    assert [one[:2] for one in seen] == [(number, 6) for number in range(1, 7)]
    assert [one[2] for one in seen[:2]] == ["trial 0 of early", "trial 0 of low rank"]
    keys = {*("learning_rate", "weight_decay", "dropout", "hidden_dim", "rank", "batch_size")}
    assert set(result.models["low rank"].trials[1].choices) == keys
    assert set(result.models["early"].trials[1].choices) == keys - {"rank"}
    for model in result.models.values():
        values = [one.value for one in model.trials]
        assert values[model.best] == min(values)
        # Each trial draws anew.
        assert model.trials[1].choices != model.trials[2].choices


def test_another_test_split_changes_nothing(tuned, tmp_path):
    config, result, _ = tuned
    other = write_store(tmp_path / "store", 1)
    data = config.data.model_copy(update={"store": other})
    again = tune(config.model_copy(update={"data": data}), tmp_path / "out")
    assert again.data.sha256 != result.data.sha256
    assert told(again) == told(result)


def test_a_killed_search_goes_on_as_if_nothing_had_happened(tuned, tmp_path, monkeypatch):
    config, result, _ = tuned
    kept = f"sqlite:///{tmp_path}/kept.db"

    def killed(done, *_):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(config, tmp_path / "out", storage=kept, on_trial=killed)
    # In the middle of a trial, which is made again.
    with monkeypatch.context() as patch:
        patch.setattr("qinn.training.fit.fit", lambda *_, **__: killed(3))
        with pytest.raises(KeyboardInterrupt):
            tune(config, tmp_path / "out", storage=kept)
    assert not (tmp_path / "out" / "tuned.yaml").exists()
    seen = []
    again = tune(config, tmp_path / "out", storage=kept, on_trial=lambda *one: seen.append(one[0]))
    assert told(again) == told(result)
    assert seen == [4, 5, 6]
    monkeypatch.setattr("qinn.experiment.provenance.commit", lambda: "another")
    longer = tune(config, tmp_path / "out", trials=4, storage=kept)
    assert longer.commit == (f"{again.commit}, another" if again.commit else "no checkout, another")
    assert {label: trials[:3] for label, trials in told(longer).items()} == told(result)
    assert again.storage == kept


def test_a_trial_whose_end_was_not_told_is_made_again(tuned, tmp_path, monkeypatch):
    import optuna

    config, result, _ = tuned
    tell, calls = optuna.Study.tell, []

    def killed(study, *arguments, **others):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return tell(study, *arguments, **others)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "tell", killed)
        with pytest.raises(KeyboardInterrupt):
            tune(config, tmp_path / "out")
    assert told(tune(config, tmp_path / "out")) == told(result)


def test_a_second_search_in_the_same_database_ends_the_first_with_a_sentence(tuned, tmp_path, monkeypatch):
    config, _, _ = tuned
    kept, second = f"sqlite:///{tmp_path}/kept.db", []

    def meanwhile(*given):
        if not second:
            second.append(None)
            second[0] = tune(config, tmp_path / "second", storage=kept)
        return activity_of(*given)

    said = "Another search of `early` began meanwhile in `sqlite:///"
    with monkeypatch.context() as patch:
        patch.setattr("qinn.experiment.tuning.activity_of", meanwhile)
        with pytest.raises(CheckpointError, match=said):
            tune(config, tmp_path / "first", storage=kept)
    assert told(tune(config, tmp_path / "first", storage=kept)) == told(second[0])


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("before", ["nothing", "a longer search"])
def test_a_search_that_is_killed_while_it_writes_goes_on(number, before, tuned, tmp_path, monkeypatch):
    from qinn.results import files

    config, result, _ = tuned
    folder = tmp_path / "out"
    if before == "nothing":
        folder.mkdir()
        shutil.copy(result.folder / "trials.db", folder)
    else:
        shutil.copytree(result.folder, folder)
    write, written = files.write_atomically, []

    def killed(path, *arguments, **others):
        if len(written) == number:
            raise KeyboardInterrupt
        written.append(path.name)
        return write(path, *arguments, **others)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            tune(config, folder, trials=2)
    assert len(written) == number
    # What lies beside the trials is of the same search, or is not there.
    assert not (folder / "tuned.yaml").exists()
    assert (folder / "trials.md").exists() == (number == 2)
    if (folder / "trials.json").exists():
        with pytest.raises(CheckpointError, match="is missing; repeat `qinn tune`"):
            read_tuning(folder)
    assert told(tune(config, folder)) == told(result)
    for name in ("tuned.yaml", "trials.md"):
        assert (folder / name).read_text() == (result.folder / name).read_text()
    kept = read_tuning(folder)
    assert kept.files == {name: file_digest(folder / name) for name in ("tuned.yaml", "trials.md")}


def test_a_result_that_was_changed_is_not_read(tuned, tmp_path):
    config, result, _ = tuned
    for name in ("tuned.yaml", "trials.md"):
        folder = tmp_path / f"changed {name}"
        shutil.copytree(result.folder, folder)
        (folder / name).write_text("forged")
        with pytest.raises(CheckpointError, match=name):
            read_tuning(folder)
        with pytest.raises(CheckpointError, match=rf"{name}` was changed since it was written"):
            tune(config, folder)
        (folder / name).rename(tmp_path / "mine")
        assert told(tune(config, folder)) == told(read_tuning(folder)) == told(result)


def test_what_it_found_is_a_configuration_that_compare_reads(tuned, tmp_path):
    config, result, _ = tuned
    written = read_config(result.folder / "tuned.yaml")
    best = result.models["early"].trials[result.models["early"].best]
    early = written.only("early", 0)
    for key, value in best.choices.items():
        model = early.models["early"]
        assert getattr(model if key in type(model).model_fields else early.training, key) == value
    assert written.models["mean"] == config.models["mean"]
    assert compare(written, tmp_path / "c").models.keys() == MODELS.keys()
    kept = json.loads((result.folder / "trials.json").read_text())
    assert [one["value"] for one in kept["models"]["early"]["trials"]] == [
        one[0] for one in told(result)["early"]
    ]
    table = (result.folder / "trials.md").read_text()
    assert table.count("Trials of ") == 2
    assert "no test sample took part" in table


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (
            {"hidden_dims": [2]},
            r"`tune.space` names `hidden_dims`, which no model has \(did you mean `hidden_dim`",
        ),
        (
            {"num_vectors": [2]},
            r"`tune.space` names `num_vectors`, which no model of the configuration takes; leave it out",
        ),
        (
            {"transformer.learning_rate": [1e-3]},
            r"names `transformer.learning_rate`, which no model .* takes, since none trains a transformer",
        ),
        ({"refit": [True, False]}, r"`refit`, which changes nothing on the validation samples; leave it out"),
        ({"hidden_dim": [2, 0]}, r"`tune.space.hidden_dim` has 0: .*hidden_dim"),
        ({"learning_rate": {"low": 0.0, "high": 0.1}}, r"`tune.space.learning_rate` has 0.0"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_trained(space, words, tiny_store, tmp_path):
    with pytest.raises(ConfigError, match=words):
        tune(config_of(tiny_store, space=space), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "given", "words"),
    [
        ("rank", {"low": 3, "high": 3}, "`low` must be below `high`, .* but they are 3 and 3"),
        ("transformer.dropout", {"low": 0.0, "high": 0.1, "log": True}, "but they are 0.0 and 0.1"),
        ("rank", {"low": 1, "hihg": 3}, "key `high` must be given"),
        ("rank", {"low": 1, "high": 3, "logs": True}, r"unknown key `logs` \(did you mean `log`\?\)"),
    ],
)
def test_ranges_rise_and_a_wrong_one_is_named(key, given, words):
    with pytest.raises(ConfigError, match=rf"key `tune\.space\.{key}`: .*{words}"):
        config_of("store", space={key: given})


def test_a_key_that_is_not_to_be_searched_need_not_be_anybodys(tiny_store, tmp_path):
    content = tiny_content(tiny_store, models={"a": {"kind": "concatenation"}})
    content["tune"] = {"trials": 1, "space": {"num_vectors": [], "transformer.dropout": []}}
    assert tune(parse_config(content, "t"), tmp_path / "out").models["a"].best == 0


OF_TRAINING = ("learning_rate", "weight_decay", "layer_decay", "dropout", "precision")


@pytest.mark.parametrize(
    ("configured", "tried", "is_trained"),
    [
        (0, None, True),
        ("all", None, False),
        ("all", [], False),
        ("all", [0, "all"], True),
        ("all", {"low": 0, "high": 1}, True),
        (0, ["all"], False),
    ],
)
def test_how_a_transformer_is_trained_is_searched_where_a_trial_trains_it(configured, tried, is_trained):
    space = {f"transformer.{key}": [0.1] for key in OF_TRAINING} | {"transformer.pooling": ["mean"]}
    if tried is not None:
        space["transformer.frozen_layers"] = tried
    model, settings = parse_model("a", {"kind": "concatenation"}), TuneConfig(space=space)
    transformer = TransformerConfig(model="minilm", frozen_layers=configured)
    found = searched(model, settings, TrainingConfig, transformer=transformer)
    assert "transformer.pooling" in found
    assert {key for key in OF_TRAINING if f"transformer.{key}" in found} == (
        set(OF_TRAINING) if is_trained else set()
    )
    assert not any(
        key.startswith("transformer.") for key in searched(model, settings, TrainingConfig, transformer=None)
    )


def test_cross_validation_is_refused_unless_its_overlap_is_accepted(tiny_store, tmp_path):
    content = tiny_content(tiny_store, models={"a": {"kind": "concatenation"}})
    content |= {"data": {"store": str(tiny_store), "split": "fold"}, "tune": {"trials": 1}}
    with pytest.raises(ConfigError, match="every sample is tested in some fold, so that none may choose"):
        tune(parse_config(content, "t"), tmp_path / "out")
    content["tune"]["allow_overlap"] = True
    result = tune(parse_config(content, "t"), tmp_path / "out")
    assert "tested in another" in result.remarks[0]


def test_only_the_simplest_models_are_nothing_to_tune(tiny_store, tmp_path):
    content = tiny_content(tiny_store, models={"m": {"kind": "constant"}, "l": {"kind": "linear"}})
    with pytest.raises(ConfigError, match="no model with anything to tune"):
        tune(parse_config(content, "t"), tmp_path / "out")


def test_places_and_databases_that_cannot_be_are_one_sentence(tiny_store, tmp_path):
    config = config_of(tiny_store, trials=1)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"holds `notes.txt`, which no tuning made"):
        tune(config, tmp_path)
    with pytest.raises(ConfigError, match="cannot be kept in `nosql://me@host/x`") as caught:
        tune(config, tmp_path / "out", storage="nosql://me:secret@host/x")
    assert "secret" not in str(caught.value).split("(")[0]


def test_training_that_fails_is_a_trial_of_its_own(tuned, tmp_path, monkeypatch):
    from qinn.errors import ArgumentError
    from qinn.training.fit import fit

    def fails(model, *arguments, options, **others):
        if options.batch_size == 6:
            raise ArgumentError("Training diverged: it was told to.")
        return fit(model, *arguments, options=options, **others)

    monkeypatch.setattr("qinn.training.fit.fit", fails)
    result = tune(config_of(tuned[0].data.store, space={"batch_size": [6]}, trials=2), tmp_path / "out")
    assert [one.failure for one in result.models["early"].trials] == [
        "",
        "Training diverged: it was told to.",
    ]
    assert result.models["early"].best == 0
    assert "1 failed" in (tmp_path / "out" / "trials.md").read_text()

    def fails_always(*_, **__):
        raise ArgumentError("It never trains.")

    monkeypatch.setattr("qinn.training.fit.fit", fails_always)
    with pytest.raises(
        ConfigError, match=r"Every trial failed, the first of `early` since: It never trains\."
    ):
        tune(config_of(tuned[0].data.store, space={}, trials=1), tmp_path / "failed")
    assert not (tmp_path / "failed" / "tuned.yaml").exists()


def test_each_model_is_chosen_by_its_own_validation_value(tiny_store, tmp_path):
    models = {
        "loss": {"kind": "concatenation"},
        "corr": {"kind": "concatenation", "training": {"monitor": "corr"}},
    }
    content = tiny_content(tiny_store, models=models)
    config = parse_config({**content, "tune": {"trials": 4, "space": {"hidden_dim": []}}}, "tiny")
    found = tune(config, tmp_path / "out").models
    for label, choose in (("loss", min), ("corr", max)):
        model = found[label]
        assert (model.monitor, model.direction) == (f"valid_{label}", choose.__name__)
        values = [trial.value for trial in model.trials]
        assert len(set(values)) > 1
        assert model.best == values.index(choose(values))


@pytest.mark.parametrize("key", ["monitor", "loss", "class_weights"])
def test_what_changes_the_meaning_of_the_value_is_not_searched(key, tiny_store, tmp_path):
    space = {"monitor": ["loss", "corr"], "loss": ["l1", "mse"], "class_weights": ["balanced"]}[key]
    content = tiny_content(tiny_store, models={"a": {"kind": "concatenation"}})
    config = parse_config({**content, "tune": {"space": {key: space}}}, "tiny")
    with pytest.raises(ConfigError, match=rf"names `{key}`, .* cannot be compared"):
        tune(config, tmp_path / "out")


@pytest.mark.parametrize("key", ["absent_protocol", "absent_pattern", "absent_burst", "absent_all"])
def test_what_is_taken_from_the_samples_that_choose_is_not_searched(key, tiny_store, tmp_path):
    space = {
        "absent_protocol": ["whole", "keep-one"],
        "absent_pattern": ["scattered", "block"],
        "absent_burst": [2.0, 3.0],
        "absent_all": [True, False],
    }
    content = tiny_content(tiny_store, models={"a": {"kind": "concatenation"}})
    content["training"] |= {"absent_rate": 0.3, "selection_rates": [0.3]}
    config = parse_config({**content, "tune": {"space": {key: space[key]}}}, "tiny")
    with pytest.raises(ConfigError, match=rf"names `{key}`, .* cannot be compared; state one"):
        tune(config, tmp_path / "out")


def test_what_changes_no_fit_starts_no_new_search(tuned, tmp_path):
    config, result, _ = tuned
    folder = shutil.copytree(result.folder, tmp_path / "out")
    moved = shutil.copytree(config.data.store, tmp_path / "moved")
    content = config.model_dump(mode="json")
    content |= {
        "evaluation": {**content["evaluation"], "margins": {"mae": 0.1}, "num_resamples": 123},
        "reference": "mean",
        "simple_rows": False,
        "seeds": [5, 6],
        "data": {**content["data"], "store": str(moved)},
        "training": {**content["training"], "checkpoint_seconds": 99.0},
    }
    content["models"] = {
        label: {"kind": one.kind, **one.model_dump()} for label, one in config.models.items()
    }
    seen = []
    again = tune(parse_config(content, "tiny"), folder, on_trial=lambda *one: seen.append(one))
    assert seen == []
    assert told(again) == told(result)
    assert read_config(folder / "tuned.yaml").evaluation.margins == {"mae": 0.1}


CHANGED = {
    "space": lambda content: content["tune"]["space"].update({"hidden_dim": [2, 5]}),
    "seed": lambda content: content["tune"].update({"seed": 9}),
    "training": lambda content: content["training"].update({"max_epochs": 2}),
    "model": lambda content: content["models"]["low rank"].update({"rank": 2}),
    "another model": lambda content: content["models"].pop("early"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_the_result_of_another_configuration_is_not_replaced(name, tuned, tmp_path):
    config, result, _ = tuned
    folder = shutil.copytree(result.folder, tmp_path / "out")
    content = config.model_dump(mode="json")
    content["models"] = {
        label: {"kind": one.kind, **one.model_dump()} for label, one in config.models.items()
    }
    CHANGED[name](content)
    before = (folder / "tuned.yaml").read_bytes()
    with pytest.raises(
        CheckpointError, match=r"as another configuration has it .* choose another folder by `--to`"
    ):
        tune(parse_config(content, "tiny"), folder)
    assert (folder / "tuned.yaml").read_bytes() == before


def test_a_tuned_configuration_without_its_trials_is_not_replaced(tuned, tmp_path):
    (tmp_path / "tuned.yaml").write_text("mine: true\n")
    with pytest.raises(CheckpointError, match="without the trials that it comes from"):
        tune(tuned[0], tmp_path)
    assert (tmp_path / "tuned.yaml").read_text() == "mine: true\n"


def test_what_was_found_is_compared_where_nobody_says_where(tiny_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = config_of(tiny_store).model_dump(mode="json", exclude_unset=True)
    content["models"], content["tune"]["trials"] = {"early": {"kind": "concatenation"}}, 1
    del content["tune"]["space"]["rank"]
    found = qinn.tune(content).folder
    compared = qinn.compare(found / "tuned.yaml").folder
    assert (str(found), str(compared)) == ("runs/tiny-tuning", "runs/tiny-tuned")


@pytest.mark.parametrize("error", [ValueError, ImportError, RuntimeError])
def test_what_goes_wrong_in_training_is_not_blamed_on_the_database(error, tuned, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise error("a fault of training")

    monkeypatch.setattr("qinn.training.fit.fit", fails)
    with pytest.raises(error, match=r"^a fault of training$"):
        tune(tuned[0], tmp_path / "out")
