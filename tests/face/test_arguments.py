"""Arguments of the verbs: what is of another type is one sentence that names it, before anything is done."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import qinn
from qinn.data.stores.store import Store
from qinn.errors import ArgumentError, ConfigError
from qinn.typed_arguments import fits

FIRST = {
    qinn.calibrate: "run",
    qinn.compare: "models",
    qinn.describe: "path",
    qinn.evaluate: "run",
    qinn.explain_run: "run",
    qinn.import_data: "source",
    qinn.load: "path",
    qinn.predict: "run",
    qinn.sweep_absent: "runs",
    qinn.train: "config",
    qinn.tune: "config",
    qinn.write_report: "paths",
}


@pytest.mark.parametrize("verb", FIRST, ids=lambda verb: verb.__name__)
@pytest.mark.parametrize("given", [5, b"run", object(), [5], True], ids=lambda given: type(given).__name__)
def test_every_verb_names_what_is_no_place(verb, given, tmp_path):
    with pytest.raises(ArgumentError, match=f"^Argument `{FIRST[verb]}` must be a.*, but it is ") as error:
        verb(*([given] if verb in (qinn.describe, qinn.evaluate, qinn.load) else [given, tmp_path / "to"]))
    assert isinstance(error.value, TypeError)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"level": "0.9"}, "`level` must be a number, but it is '0.9'"),
        ({"level": None}, "`level` must be a number, but it is None"),
        ({"level": True}, "`level` must be a number, but it is True"),
        ({"absent": "audio"}, "`absent` must be a list of texts, but it is 'audio'; put it into a list"),
        ({"absent": [1]}, "`absent` must be a list of texts"),
        ({"batch_size": 1.5}, "`batch_size` must be a whole number"),
        ({"split": ["test"]}, "`split` must be a text or None"),
        ({"to": 5}, "`to` must be a path or None"),
        ({"on_remark": "print"}, "`on_remark` must be a function or None"),
        ({"overwrite": "no"}, "`overwrite` must be True or False"),
        ({"split": "caf\udce9"}, "`split` must be a text, but has bytes that are no UTF-8"),
        ({"absent": ["\udcff"]}, "`absent` must be a text, but has bytes that are no UTF-8"),
        ({"to": "a" * 5000}, "`to` must be a path, but `a+…` is too long"),
        ({"to": "a\0.csv"}, "`to` must be a path, but has a character that no path can have"),
    ],
)
def test_arguments_of_another_type_are_named(tiny_run, tiny_store, changes, words):
    with pytest.raises(ArgumentError, match=words):
        qinn.predict(tiny_run, tiny_store, **changes)


def test_what_has_a_path_says_so(tiny_run, tiny_store):
    with pytest.raises(
        ArgumentError,
        match=r"`store` must be a path or a list of paths, but it is Store\(.*; pass its `path`",
    ):
        qinn.predict(tiny_run, Store.open(tiny_store))
    with pytest.raises(ArgumentError, match=r"`paths` must be a list of paths, .*; put it into a list"):
        qinn.write_report(tiny_run, "report.html")


def test_numbers_and_arrays_of_numpy_are_taken():
    assert fits(np.int64(4), int)
    assert fits(np.float32(0.5), float)
    assert fits(np.array([0.0, 0.5]), Sequence[float] | str)
    assert not fits(np.array([0.5]), Sequence[int])
    assert not fits(np.array(["a"]), Sequence[float])


def test_a_path_is_described_as_a_text_too(tiny_run):
    assert qinn.describe(str(tiny_run)) == qinn.describe(Path(tiny_run))


def test_a_sweep_of_nothing_is_refused():
    with pytest.raises(ArgumentError, match="at least one run or comparison"):
        qinn.sweep_absent([])


@pytest.mark.parametrize("seed", [1.5, "1", True])
def test_a_seed_that_is_none_starts_no_run(tiny_run, tmp_path, seed):
    with pytest.raises(ArgumentError, match="`seed` must be a whole number or None"):
        qinn.train(tiny_run / "config.yaml", tmp_path / "run", seed=seed)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "beside",
    [
        {"seeds": (0, 1)},
        {"name": "other"},
        {"split": "group"},
        {"threads": 2},
        {"test": 0.3},
        {"validation": 0.3},
        # What would have been so anyhow is said beside it too.
        {"seeds": (0,)},
        {"name": "comparison"},
        {"split": "fixed"},
        {"threads": 1},
    ],
    ids=lambda beside: next(iter(beside)),
)
def test_what_a_configuration_says_cannot_be_said_beside_it(tiny_run, tmp_path, beside):
    (name,) = beside
    with pytest.raises(
        ArgumentError, match=f"Argument `{name}` must be left out where `models` is a configuration"
    ):
        qinn.compare(tiny_run / "config.yaml", to=tmp_path / "compared", **beside)
    assert not (tmp_path / "compared").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"range": 5}, "Option `range` must be two numbers, but it is 5"),
        ({"range": [1, 2, 3]}, "Option `range` must be two numbers"),
        ({"label_map": object()}, "Option `label_map` must be a mapping"),
        ({"split_column": ["a"]}, "Option `split_column` must be a text"),
        ({"id_column": 5, "feature": "a=:a"}, "has no column `5`"),
        ({"encode_text": 5}, "Text encoder `5` is unknown"),
        ({"feature": 5}, "Feature `5` is not understood"),
    ],
)
def test_options_of_another_type_are_named(tmp_path, options, words):
    (tmp_path / "t.csv").write_text("id,label,a\n1,0.5,1\n")
    with pytest.raises(ConfigError, match=words):
        qinn.import_data(tmp_path / "t.csv", tmp_path / "store", scale="mosi", **options)
