"""An error is a sentence with one full stop, also where it quotes another."""

import pickle
import re

import pytest

from qinn.data.importing.feature_specs import FeatureSpec
from qinn.data.importing.intake import naming
from qinn.data.importing.labels import TaskOptions, read_labels
from qinn.data.importing.layouts import detect_layout
from qinn.errors import ArgumentError, CheckpointError, ConfigError, DataError, OutputError, QinnError
from qinn.experiment.config import parse_config

from ..tiny import tiny_content

CONSTANT = {"kind": "constant"}
QUOTING = {
    "training of a model": {"models": {"a": {"kind": "concatenation", "training": {"max_epoch": 3}}}},
    "value in the training of a model": {
        "models": {"a": {"kind": "concatenation", "training": {"max_epochs": 0}}}
    },
    "option of a model": {"models": {"a": {"kind": "concatenation", "hiden_dim": 3}}},
    "kind of a model": {"models": {"a": {"kind": "quinn"}}},
    "transformer of a model": {"models": {"a": {"kind": "concatenation", "transformer": {"dropout": 0.1}}}},
    "reference": {"models": {"a": CONSTANT}, "reference": "b"},
    "old key": {"encoder": {"modality_dropout": {}}},
    "unknown key": {"nam": "x"},
    "name": {"name": "../x"},
}


def assert_is_a_sentence(message: str) -> None:
    assert message.endswith(".")
    assert not message.endswith("..")
    assert "  " not in message
    assert ". (given" not in message


@pytest.mark.parametrize("case", QUOTING)
def test_an_error_of_a_configuration_is_one_sentence(case):
    with pytest.raises(ConfigError) as error:
        parse_config(tiny_content("store", **QUOTING[case]), "c.yaml")
    assert_is_a_sentence(str(error.value))


@pytest.mark.parametrize(
    "kind", [ArgumentError, CheckpointError, ConfigError, DataError, OutputError, QinnError]
)
def test_an_error_that_quotes_a_sentence_has_one_full_stop(kind):
    quoted = kind("The rank must be 1 or more, but it is 0.")
    error = kind(f"`x` is wrong: {quoted}.")
    assert str(error) == "`x` is wrong: The rank must be 1 or more, but it is 0."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(kind("`..`")) == "`..`"


def test_errors_of_readers_keep_one_full_stop(tmp_path):
    with pytest.raises(DataError) as error, naming(tmp_path / "s.csv"):
        read_labels(["x"], 1, TaskOptions(scale="mosi"), place=lambda row: "line 1", what="`label`")
    assert_is_a_sentence(str(error.value))


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ("a=k.pkl:a", ".pkl is a pickle, so save numbers as npy, npz, HDF5 or csv; write NAME=FILE:ARRAY, "),
        ("a=/dev/zero", "it is a device, not a regular file; write NAME=FILE:ARRAY, "),
    ],
)
def test_a_feature_of_another_kind_is_one_sentence(feature: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"is not understood: {re.escape(words)}"):
        FeatureSpec.parse(feature)


def test_a_source_that_is_a_device_is_called_so() -> None:
    with pytest.raises(DataError, match="`/dev/zero` can't be read: it is a device, not a regular file"):
        detect_layout("/dev/zero")
