"""The configuration: every key checked, unknown ones named with the nearest known one."""

import dataclasses
import inspect
import math
import re

import pytest
import yaml

from qinn.data.stores.store import Store
from qinn.errors import ConfigError
from qinn.experiment.build import resolved
from qinn.experiment.config import (
    ExperimentConfig,
    TrainingConfig,
    parse_config,
    read_config,
    read_run_config,
    resolved_training,
    slug,
)
from qinn.experiment.model_configs import (
    BASELINE_CONFIGS,
    EVOLUTIONS_OF,
    MODEL_CONFIGS,
    QiNNConfig,
)
from qinn.experiment.run import config_text
from qinn.model.baselines import BASELINES
from qinn.training.options import FitOptions

from ..tiny import TRAINING, tiny_config, tiny_content


def changed(path: str, value: object) -> dict:
    """A valid configuration in which one key has another value."""
    content = tiny_content("store")
    place = content
    *parents, last = path.split(".")
    for key in parents:
        place[key] = dict(place.get(key, {}))
        place = place[key]
    place[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("seed", "seeds"),
        ("trainings", "training"),
        ("data.stroe", "store"),
        ("encoder.hiden_dim", "hidden_dim"),
        ("training.max_epoch", "max_epochs"),
        ("training.learning_rat", "learning_rate"),
        ("evaluation.num_resample", "num_resamples"),
        ("models.QiNN-QJ.state_dim", "state_dims"),
        ("models.QiNN-QJ.num_jump", "num_jumps"),
    ],
)
def test_an_unknown_key_is_refused_and_the_nearest_named(path, nearest):
    with pytest.raises(ConfigError) as error:
        parse_config(changed(path, 1), "file.yaml")
    assert "unknown key" in str(error.value)
    assert path.rpartition(".")[2] in str(error.value)
    assert f"did you mean `{nearest}`?" in str(error.value)
    assert "`file.yaml`" in str(error.value)


def test_an_unknown_key_like_no_other_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown key `training.zzz`; known keys are \['absent_all'"):
        parse_config(changed("training.zzz", 1), "file.yaml")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("data.valid_fraction", 0.0, "greater than 0"),
        ("data.valid_fraction", 1.0, "less than 1"),
        ("data.split", "random", "'fixed', 'fold' or 'group'"),
        ("data.modalities", "text", "tuple"),
        ("encoder.kind", "lstm", "'statistics'"),
        ("encoder.hidden_dim", 0, "greater than or equal to 1"),
        ("encoder.dropout", 1.0, "less than 1"),
        ("training.max_epochs", 0, "greater than or equal to 1"),
        ("training.max_epochs", 1.5, "integer"),
        ("training.batch_size", -3, "greater than or equal to 1"),
        ("training.learning_rate", 0, "greater than 0"),
        ("training.learning_rate", "fast", "number"),
        ("training.learning_rate", float("nan"), "finite"),
        ("training.learning_rate", float("inf"), "finite"),
        ("training.schedule", "cosine", "'one_cycle' or 'constant'"),
        ("training.loss", "l2", "'l1'"),
        ("training.deterministic", "perhaps", "true or false"),
        ("evaluation.num_resamples", 99, "greater than or equal to 100"),
        ("evaluation.level", 1.0, "less than 1"),
        ("models.QiNN-QJ.state_dims", 0, "greater than or equal to 1"),
        ("models.QiNN-QJ.state_dims", {"text": -2}, "greater than or equal to 1"),
        ("models.QiNN-QJ.evolution", "jump", "'jumps'"),
        ("models.QiNN-QJ.time", -1.0, "greater than or equal to 0"),
        ("models.QiNN-QJ.time", float("inf"), "finite"),
        ("models.QiNN-QJ.num_trajectories", 0, "greater than or equal to 1"),
        ("models.QiNN-QJ.head", "deep", "'linear' or 'mlp'"),
        ("models.QiNN-QJ.kind", "qin", "did you mean `qinn`?"),
        ("models.QiNN-QJ", "qinn", "must have a `kind`"),
        ("models.lf", {"kind": "tensor_fusion", "factor_dim": "wide"}, "a number"),
        ("models.lf", {"kind": "tensor_fusion", "factor_dim": 0}, "greater than or equal to 1"),
        ("models.lf", {"kind": "low_rank_fusion", "rank": 0}, "greater than or equal to 1"),
        ("models.one", {"kind": "unimodal"}, "must be given"),
        ("models.one", {"kind": "concatenation", "hidden_dim": 4, "parameter_budget": 9}, "not both"),
        ("models", {}, "at least 1 item"),
        ("models", ["qinn"], "must map labels to models"),
        ("models", {"A b": {"kind": "constant"}, "a-B": {"kind": "constant"}}, "letters and digits"),
        ("reference", "nobody", "`reference` must be one of"),
        ("seeds", [], "at least 1 item"),
        ("seeds", [1, 1], "`seeds` must be distinct"),
        ("seeds", [-1], "greater than or equal to 0"),
        ("seeds", 3, "tuple"),
        ("threads", 0, "greater than or equal to 1"),
        ("name", "", "letters or digits"),
        ("name", "../elsewhere", "no slash"),
        ("data", {}, "must be given"),
    ],
)
def test_an_impossible_value_is_refused_in_one_sentence(path, value, words):
    with pytest.raises(ConfigError) as error:
        parse_config(changed(path, value), "file.yaml")
    message = str(error.value)
    assert words in message
    assert "\n" not in message
    assert message.startswith("Configuration `file.yaml`: ")
    last = path.rpartition(".")[2]
    assert last in message or "label" in message


@pytest.mark.parametrize("content", [None, [], "text", 3])
def test_a_configuration_that_holds_no_keys_is_refused(content):
    with pytest.raises(ConfigError, match="must hold keys and values"):
        parse_config(content, "file.yaml")


def test_seeds_and_labels_that_clash_on_disk_are_refused():
    assert slug("A b") == slug("a-B") == "a-b"
    with pytest.raises(ConfigError, match="letters and digits"):
        parse_config(changed("models", {label: {"kind": "constant"} for label in ("x!", "x?")}), "file.yaml")


def test_the_defaults_are_those_of_the_options():
    by_rule = resolved_training(TrainingConfig(weight_decay="auto"), 1284)
    assert by_rule.options() == dataclasses.replace(FitOptions(), weight_decay=0.6)
    assert TrainingConfig(weight_decay=0.01, refit=False).options() == FitOptions()
    with pytest.raises(ConfigError, match="`auto` has to be resolved"):
        TrainingConfig().options()


def test_the_weight_decay_by_rule_does_as_much_whatever_the_size_of_the_data():
    shrunk = []
    for number, changes in ((60, {}), (1284, {}), (20_000, {}), (1284, {"max_epochs": 10, "batch_size": 16})):
        options = resolved_training(TrainingConfig(weight_decay="auto", **changes), number).options()
        steps = options.max_epochs * math.ceil(number / options.batch_size)
        shrunk.append(options.weight_decay * options.learning_rate * steps)
    assert shrunk == pytest.approx([0.8, 1.0, 1.0, 1.0], rel=0.05)
    assert resolved_training(TrainingConfig(weight_decay="auto", max_epochs=1), 10).weight_decay == 10.0
    assert resolved_training(TrainingConfig(weight_decay="auto"), 10**7).weight_decay == 0.001


def test_what_is_said_is_what_is_meant_and_solved_models_alone_are_refitted_by_rule():
    said = TrainingConfig(weight_decay=3, refit=True)
    assert resolved_training(said, 50) == said
    assert resolved_training(TrainingConfig(), 50).refit is False
    assert resolved_training(TrainingConfig(), 50, solved=True).refit is True
    assert resolved_training(TrainingConfig(refit=False), 50, solved=True).refit is False


def test_the_rule_depends_on_the_training_samples_and_no_seed(tiny_store, tmp_path):
    store = Store.open(tiny_store)
    for data, number in (({}, 24), ({"split": "fold"}, round(44 * 0.8 * 0.85))):
        training = {**TRAINING, "weight_decay": "auto"}
        content = tiny_content(
            tiny_store, data={"store": str(tiny_store), **data}, training=training, seeds=[0, 1]
        )
        for seed in (0, 1):
            config = resolved(parse_config(content, "t").only("QiNN-QJ", seed), store)
            assert config.training == resolved_training(parse_config(content, "t").training, number)
            assert "auto" not in config_text(config)


def test_run_folders_of_before_mean_the_defaults_of_before(tmp_path):
    content = {key: value for key, value in tiny_content("s").items() if key != "simple_rows"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    training = read_run_config(tmp_path / "config.yaml").training
    assert (training.weight_decay, training.refit) == (0.01, False)
    assert read_config(tmp_path / "config.yaml").training.refit == "auto"


@pytest.mark.parametrize("kind", BASELINES)
def test_a_baselines_options_are_those_of_its_constructor(kind):
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(BASELINES[kind]).parameters.items()
        if name not in ("encoders", "num_outputs", "dropout")
    }
    config = BASELINE_CONFIGS[kind]()
    assert {name: getattr(config, name) for name in options} == options
    assert MODEL_CONFIGS[kind] is BASELINE_CONFIGS[kind]


def test_a_configuration_written_and_read_is_the_same(tmp_path):
    config = tiny_config(
        "store",
        seeds=[3, 1],
        data={"store": "store", "modalities": ["text", "audio"]},
        models={"a": {"kind": "qinn", "state_dims": {"text": 2, "audio": 3}}, "Ä b": {"kind": "constant"}},
        reference="a",
    )
    path = tmp_path / "config.yaml"
    path.write_text(config_text(config), encoding="utf-8")
    again = read_config(path)
    assert again == config
    assert isinstance(again.models["a"], QiNNConfig)


def test_only_keeps_one_model_and_one_seed():
    config = tiny_config(
        "store",
        models={"one": {"kind": "constant"}, "two": {"kind": "concatenation"}},
        seeds=[0, 5],
        reference="two",
    )
    chosen = config.only("one", 5)
    assert list(chosen.models) == ["one"]
    assert chosen.seeds == (5,)
    assert chosen.reference_label == "one"
    assert parse_config(chosen.model_dump(mode="json"), "again") == chosen


def test_an_unknown_label_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean `QiNN-QJ`"):
        tiny_config("store").only("QiNN", 0)


def test_a_negative_seed_is_refused():
    with pytest.raises(ConfigError, match="seed"):
        tiny_config("store").only("QiNN-QJ", -1)


def test_a_configuration_never_changes():
    config = tiny_config("store")
    assert isinstance(config, ExperimentConfig)
    with pytest.raises(ValueError, match="frozen"):
        config.name = "other"  # type: ignore[misc]


def test_the_reference_is_the_first_model_unless_named():
    models = {"one": {"kind": "constant"}, "two": {"kind": "concatenation"}}
    assert tiny_config("store", models=models).reference_label == "one"
    assert tiny_config("store", models=models, reference="two").reference_label == "two"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"models: [unclosed", r"not valid YAML \(line 1\)"),
        (b"a: b: c", r"not valid YAML"),
        (b"\xff\xfe\x00\x01binary", "no YAML but text in UTF-16; save it as UTF-8"),
        (b"\x00\x01\x02", "not valid YAML"),
        (b"", "must hold keys and values"),
        (b"!!python/object/apply:os.system [id]", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(content, words, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as error:
        read_config(path)
    assert "config.yaml" in str(error.value)


def test_a_missing_configuration_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="Cannot read configuration"):
        read_config(tmp_path)


def test_a_model_may_be_trained_in_its_own_way():
    content = {
        "data": {"store": "s"},
        "models": {
            "a": {"kind": "concatenation", "training": {"weight_decay": 3}},
            "b": {"kind": "late_fusion"},
        },
        "training": {"weight_decay": 1, "max_epochs": 7},
    }
    config = parse_config(content, "x")
    assert config.only("a", 0).training == TrainingConfig(weight_decay=3, max_epochs=7)
    assert config.only("b", 0).training == TrainingConfig(weight_decay=1, max_epochs=7)
    assert config.only("a", 0).only("a", 0) == config.only("a", 0)
    content["models"]["a"]["training"] = {"weight_decy": 3}
    with pytest.raises(
        ConfigError, match=r"`training` of model `a`: unknown key `weight_decy` \(did you mean"
    ):
        parse_config(content, "x")


def test_the_old_name_of_dropout_by_modality_is_refused_with_the_new_one():
    with pytest.raises(ConfigError, match=r"`encoder.modality_dropout` is called `encoder.dropout` now"):
        parse_config(changed("encoder.modality_dropout", {"text": 0.1}), "c")


@pytest.mark.parametrize("by_modality", [{}, {"text": 0.1}], ids=["none", "one"])
def test_the_configuration_of_a_run_made_before_is_translated(by_modality, tmp_path):
    import yaml

    content = tiny_content("store", encoder={"dropout": 0.3, "modality_dropout": by_modality})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="modality_dropout"):
        read_config(tmp_path / "config.yaml")
    encoder = read_run_config(tmp_path / "config.yaml").encoder
    assert encoder.dropout_of_heads == encoder.dropout_of("audio") == 0.3
    assert encoder.dropout_of("text") == by_modality.get("text", 0.3)
    written = parse_config(tiny_content("store", encoder=encoder.model_dump()), "again")
    assert written.encoder == encoder


def test_the_rates_of_a_run_made_before_are_unbounded_and_those_of_a_new_one_are_not(tmp_path):
    import yaml

    content = tiny_content("store")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    assert read_config(tmp_path / "config.yaml").models["QiNN-QJ"].max_rate is None
    before = read_run_config(tmp_path / "config.yaml")
    assert before.models["QiNN-QJ"].max_rate == "unbounded"
    (tmp_path / "config.yaml").write_text(config_text(parse_config(content, "c")))
    assert read_run_config(tmp_path / "config.yaml").models["QiNN-QJ"].max_rate is None
    (tmp_path / "config.yaml").write_text(config_text(before))
    assert read_run_config(tmp_path / "config.yaml") == before


BEFORE = {"kind": "qinn", "missing": "prior", "training": {"modality_missing_all": True}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"training": {"modality_missing": 0.1}},
            r"`training.modality_missing` \(it is called `absent_rate` now\)",
        ),
        ({"training": {"accelerator": "auto"}}, r"`training.accelerator` \(it is called `device` now\)"),
        ({"models": {"m": BEFORE}}, r"`missing` \(it is called `absent_state` now\)"),
        (
            {"models": {"m": {**BEFORE, "missing": ...}}},
            r"`modality_missing_all` \(it is called `absent_all` now\)",
        ),
    ],
    ids=["training", "device", "model", "training of a model"],
)
def test_old_names_are_refused_with_the_new_one(changes, words):
    models = {
        label: {key: value for key, value in model.items() if value is not ...}
        for label, model in changes.get("models", {"m": {"kind": "qinn"}}).items()
    }
    with pytest.raises(ConfigError, match=words):
        parse_config({**tiny_content("store"), **changes, "models": models}, "c")


def test_old_names_in_a_run_made_before_are_translated(tmp_path):
    import yaml

    content = tiny_content(
        "store", models={"m": BEFORE}, training={"modality_missing": {"text": 0.1}, "accelerator": "auto"}
    )
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    config = read_run_config(tmp_path / "config.yaml")
    assert config.models["m"].absent_state == "prior"
    assert config.models["m"].training == {"absent_all": True}
    assert config.training.absent_rate == {"text": 0.1}
    assert config.training.device == "auto"


def quantum(**changes):
    return parse_config(tiny_content("store", models={"a": {"kind": "qinn", **changes}}), "c").models["a"]


@pytest.mark.parametrize("dynamics", EVOLUTIONS_OF)
@pytest.mark.parametrize("evolution", EVOLUTIONS_OF["pooled"])
def test_only_legal_pairs_of_dynamics_and_evolution_are_accepted(dynamics, evolution):
    if evolution in EVOLUTIONS_OF[dynamics]:
        assert quantum(dynamics=dynamics, evolution=evolution).evolution == evolution
    else:
        with pytest.raises(ConfigError, match=rf"must be one of exact, unitary, linear_map .*`{evolution}`"):
            quantum(dynamics=dynamics, evolution=evolution)


def test_collisions_without_an_evolution_are_refused_with_the_remedy():
    with pytest.raises(
        ConfigError, match=r"it is `jumps` by default; set `evolution: exact` for the collision"
    ):
        quantum(dynamics="collisions")


@pytest.mark.parametrize(
    ("changes", "idle"),
    [
        ({"steps": 3, "num_jumps": 2}, ("steps",)),
        (
            {"num_jumps": 3, "max_rate": 1.0, "per_trajectory": False},
            ("per_trajectory", "num_jumps", "max_rate"),
        ),
        ({"num_jumps": 3, "max_rate": 1.0, "relaxation": True}, ()),
        ({"sampled": 0.2, "relaxation": True}, ("sampled",)),
    ],
)
def test_keys_that_collisions_have_no_use_for_are_known(changes, idle):
    config = QiNNConfig.model_validate({"dynamics": "collisions", "evolution": "exact", **changes})
    assert config.idle_keys == idle
    assert QiNNConfig.model_validate(config.model_dump()).idle_keys == idle
    pooled = {key: value for key, value in changes.items() if key != "relaxation"}
    assert QiNNConfig.model_validate(pooled).idle_keys == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"memory_dim": 5}, "`memory_dim` means something under `dynamics: collisions` only"),
        ({"form": "joint"}, "`form` means"),
        ({"relaxation": True}, "`relaxation` means"),
        ({"by_pass": False}, "`by_pass` means"),
        (
            {"dynamics": "collisions", "evolution": "unitary", "relaxation": True},
            "`relaxation` needs `evolution: exact`",
        ),
        (
            {"dynamics": "collisions", "evolution": "exact", "relaxation": True, "form": "joint"},
            "`relaxation` needs",
        ),
        ({"dynamics": "collisions", "evolution": "exact", "relaxation": True, "time": 0}, "`time` above 0"),
        (
            {"dynamics": "collisions", "evolution": "exact", "absent_state": "prior"},
            "`absent_state: prior` needs `form: joint`",
        ),
        ({"dynamics": "collisions", "evolution": "exact", "memory_dim": 17}, "memory_dim.*16"),
        ({"dynamics": "collision", "evolution": "exact"}, "dynamics"),
    ],
)
def test_keys_that_would_mean_nothing_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        quantum(**changes)


def test_a_configuration_without_dynamics_means_pooled_states(tmp_path):
    old = quantum(evolution="exact")
    assert (old.dynamics, old.evolution) == ("pooled", "exact")
    import yaml

    content = tiny_content("store")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    read = read_run_config(tmp_path / "config.yaml").models["QiNN-QJ"]
    assert read.dynamics == "pooled"
    assert "dynamics: pooled" in config_text(parse_config(content, "c"))


@pytest.mark.parametrize("value", [0, -1.0, 1e13, "none", [1.0]])
def test_a_bound_of_rates_that_is_none_is_refused(value):
    with pytest.raises(ConfigError, match="max_rate"):
        parse_config(tiny_content("store", models={"a": {"kind": "qinn", "max_rate": value}}), "c")


@pytest.mark.parametrize("value", [0.0, 1e-9, 0.2, -1e-6, "small", True])
def test_a_tolerance_out_of_reach_is_refused(value):
    with pytest.raises(ConfigError, match="tolerance"):
        parse_config(
            tiny_content("store", models={"a": {"kind": "qinn", "evolution": "exact", "tolerance": value}}),
            "c",
        )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"evolution": "unitary"},
        {"evolution": "none"},
        {"evolution": "linear_map"},
        {"evolution": "gumbel"},
        {"dynamics": "collisions", "evolution": "exact"},
    ],
    ids=str,
)
def test_a_tolerance_where_no_series_is_cut_is_refused(options):
    models = {"a": {"kind": "qinn", "tolerance": 1e-3, **options}}
    with pytest.raises(ConfigError, match="`tolerance` is that of a series"):
        parse_config(tiny_content("store", models=models), "c")


def test_labels_in_any_script_are_legal_and_equal_folders_are_named():
    models = {label: {"kind": "constant"} for label in ("中文", "Ж", "…", "---", "🎵")}
    assert len({slug(label) for label in parse_config(tiny_content("store", models=models), "c").models}) == 5
    with pytest.raises(ConfigError, match=r"\['a b', 'A-b'\] are one folder"):
        parse_config(
            tiny_content("store", models={label: {"kind": "constant"} for label in ("a b", "A-b")}), "c"
        )


@pytest.mark.parametrize("name", ["a\x1bb", "..", " ", "a/b", "a\nb", "\u202ea"])
def test_a_name_that_cannot_be_a_folder_is_refused(name):
    with pytest.raises(ConfigError, match="names a folder"):
        parse_config(changed("name", name), "c")


MISTAKEN = [
    ("models.QiNN-QJ.time", True, "model `QiNN-QJ`: key `time`: must be a number, but is true."),
    ("models.QiNN-QJ.time", "1", "must be a number, but is the text '1'; write digits without quotes."),
    ("models.QiNN-QJ.state_dims", False, "key `state_dims`: must be a number, but is false."),
    ("models.QiNN-QJ.state_dims", {"text": True}, "key `state_dims`: must be a number, but is true."),
    ("models.QiNN-QJ.hidden_dim", True, "key `hidden_dim`: must be a number, but is true."),
    ("models.QiNN-QJ.training", {"max_epochs": True}, "key `max_epochs`: must be a number, but is true."),
    ("models.QiNN-QJ.per_trajectory", "no", "must be true or false, but is the text 'no'."),
    ("training.max_epochs", True, "key `training.max_epochs`: must be a number, but is true."),
    ("training.max_epochs", "1e2", "key `training.max_epochs`: must be a number, but is the text '1e2'"),
    ("training.learning_rate", "{x}", "must be a number, but is the text '{x}'."),
    ("training.absent_rate", {"text": "0.5"}, "must be a number, but is the text '0.5'"),
    ("training.refit", 1, "key `training.refit`: must be true or false, but is 1."),
    ("encoder.dropout", {"text": True}, "key `encoder.dropout`: must be a number, but is true."),
    ("evaluation.level", "0.9", "key `evaluation.level`: must be a number, but is the text '0.9'"),
    ("seeds", [True], "key `seeds`: must be a number, but is true."),
    ("seeds", [0, "1"], "key `seeds`: must be a number, but is the text '1'"),
    ("threads", "2", "key `threads`: must be a number, but is the text '2'"),
]


@pytest.mark.parametrize(("path", "value", "words"), MISTAKEN)
def test_truth_values_and_texts_are_no_numbers(path, value, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        parse_config(changed(path, value), "file.yaml")


@pytest.mark.parametrize("kind", [kind for kind in MODEL_CONFIGS if kind not in ("constant", "linear")])
def test_no_number_of_any_model_is_a_truth_value_or_a_text(kind):
    numbers = [
        name
        for name, field in MODEL_CONFIGS[kind].model_fields.items()
        if re.search(r"\b(int|float)\b", str(field.annotation)) and name not in ("training", "transformer")
    ]
    assert numbers
    for name in numbers:
        for value in (True, "1"):
            model = {"kind": kind, name: value, **({"modality": "text"} if kind == "unimodal" else {})}
            with pytest.raises(ConfigError, match=f"key `{name}`: must be a number"):
                parse_config(changed("models.one", model), "file.yaml")


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 0.001), ("5E2", 500.0), ("1.5e2", 150.0), (".5e-3", 0.0005)]
)
def test_numbers_with_an_exponent_need_no_dot(text, value, tmp_path):
    (tmp_path / "c.yaml").write_text(
        f"data: {{store: s}}\nmodels: {{a: {{kind: constant}}}}\ntraining: {{learning_rate: {text}}}"
    )
    assert read_config(tmp_path / "c.yaml").training.learning_rate == value


@pytest.mark.parametrize("text", ["010", "1:30", "-1:30", "1:30.5", "0_7"])
def test_numbers_that_yaml_reads_as_others_are_refused(text, tmp_path):
    (tmp_path / "c.yaml").write_text(f"a: {text}")
    with pytest.raises(ConfigError, match=f"line 1.*YAML reads `{text}` as .*write the number that is meant"):
        read_config(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    "models",
    [
        "{x}: {{kind: constant}}",
        "a:\n    kind: constant\n  {x}:\n    kind: constant",
        "'{x}': {{kind: constant}}",
    ],
)
def test_the_limit_of_a_key_is_named(models, tmp_path):
    label = "x" * 5000
    (tmp_path / "c.yaml").write_text("models:\n  " + models.format(x=label) + "\n")
    with pytest.raises(
        ConfigError, match="a key may have at most 1,024 characters before its colon, so shorten"
    ):
        read_config(tmp_path / "c.yaml")


def test_a_name_too_long_for_a_folder_is_refused():
    with pytest.raises(ConfigError, match=r"`name` must have at most 200 bytes, .* but it has 300; .*aaa…\)"):
        parse_config(changed("name", "a" * 300), "file.yaml")
    assert parse_config(changed("name", "a" * 200), "file.yaml").name == "a" * 200


def test_every_key_of_the_training_is_said_once_at_its_option():
    for option in dataclasses.fields(FitOptions):
        key = TrainingConfig.model_fields[option.name]
        if option.name not in ("weight_decay", "refit"):
            assert (key.default, key.description) == (option.default, option.metadata["description"])
    assert list(TrainingConfig.model_fields) == [option.name for option in dataclasses.fields(FitOptions)]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_epochs", 0),
        ("learning_rate", 0),
        ("label_smoothing", 1),
        ("absent_rate", 1.0),
        ("absent_rate", {"text": -0.1}),
        ("checkpoint_seconds", 86_401),
        ("schedule", "two_cycle"),
        ("device", "tpu"),
    ],
)
def test_a_key_of_the_training_outside_its_bounds_is_refused(key, value):
    with pytest.raises(ConfigError, match=f"training.{key}"):
        parse_config(changed("training", {key: value}), "file.yaml")
