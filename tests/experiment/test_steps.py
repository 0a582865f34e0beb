"""Steps written as data: by `qinn explain` and by runs, with and without words, for stores of others."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from qinn.data.stores.store import Store
from qinn.errors import OutputError
from qinn.experiment.explanation import explain_run
from qinn.experiment.predictor import Predictor
from qinn.experiment.run import run
from qinn.experiment.steps import always_together, explained_steps, steps_content
from qinn.explain.steps import VERDICTS
from qinn.report.explanation_figures import write_explanation_figures
from qinn.report.page import write_report
from qinn.results.as_json import document
from qinn.results.folder import RunFolder
from qinn.results.steps import FILE

from ..explain.shifters import write_shifters
from ..tiny import tiny_config, trusted

QUBIT = {
    "kind": "qinn",
    "dynamics": "collisions",
    "evolution": "exact",
    "memory_dim": 2,
    "num_vectors": 3,
    "head": "linear",
    "by_pass": False,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    write_shifters(folder / "store", seed=1, sizes={"train": 24, "valid": 8, "test": 8}, longest=5)
    run(tiny_config(folder / "store", models={"qubit": {**QUBIT, "num_jumps": 7}}), folder / "run")
    explain_run(folder / "run", folder / "explained")
    return folder


def content_of(folder):
    return json.loads((folder / "explanation.json").read_text(encoding="utf-8"))["steps"]


def test_a_run_says_which_keys_change_nothing(place):
    remarks = RunFolder(place / "run").summary().remarks
    assert "Key `num_jumps` changes nothing under `dynamics: collisions` without `relaxation`." in remarks


def test_every_step_has_a_row_with_its_word(place):
    table = pq.read_table(place / "explained" / FILE).to_pydict()
    store = Store.open(place / "store")
    ids = store.strings("id").tolist()
    for row, name in enumerate(ids):
        said = [
            word
            for one, modality, word in zip(table["id"], table["modality"], table["word"], strict=True)
            if (one, modality) == (name, "text")
        ]
        assert said == (store.words(row, "text") if name.startswith("test") else [])
    assert set(table["verdict"]) <= set(VERDICTS)
    assert {len(one) for one in table["outcomes"]} == {8}
    assert {len(one) for one in table["bloch_map"]} == {12}
    content = content_of(place / "explained")
    assert content["steps"] == len(table["id"])
    assert content["axis"]["from"] == "the run's validation samples"
    assert np.linalg.norm(content["axis"]["bloch"]) == pytest.approx(1, abs=1e-5)
    assert {one["word"] for one in content["words"]} == {word for word in table["word"] if word}
    counts = {one["word"]: one["count"] for one in content["words"]}
    assert counts == {word: table["word"].count(word) for word in counts}
    assert sum(one["share"] for one in content["outcomes"] if one["modality"] == "text") == pytest.approx(1)
    assert sum(content["verdicts"]["text"].values()) == table["modality"].count("text")


def test_runs_keep_what_steps_do_but_no_transcripts(place):
    table = pq.read_table(place / "run" / "folds" / "000" / FILE).to_pydict()
    explained = pq.read_table(place / "explained" / FILE).to_pydict()
    assert set(table["word"]) == {""}
    assert table["verdict"] == explained["verdict"]
    assert np.allclose(table["keep"], explained["keep"])
    assert content_of(place / "run" / "folds" / "000")["words"] == content_of(place / "explained")["words"]
    assert f"folds/000/{FILE}" in json.loads((place / "run" / "run.json").read_text())["files"]
    assert "steps" not in json.loads((place / "run" / "explanation.json").read_text())


def test_another_store_is_explained_along_the_runs_own_axis(place, tmp_path):
    own = write_shifters(tmp_path / "own", seed=1, sizes={}, sentences=(("great", "not", "so"),))
    result = explain_run(place / "run", tmp_path / "explained", store=own.path)
    assert document(result.steps.axis) == content_of(place / "explained")["axis"]
    assert pq.read_table(tmp_path / "explained" / FILE).column("word").to_pylist() == ["great", "not", "so"]
    assert result.steps.fewest == 1
    # Where the run's store is gone the explained samples have to do.
    moved = shutil.copytree(place / "run", tmp_path / "run")
    text = (moved / "config.yaml").read_text().replace(str(place / "store"), str(tmp_path / "gone"))
    (moved / "config.yaml").write_text(text)
    trusted(moved)
    result = explain_run(moved, tmp_path / "explained", store=own.path)
    assert result.steps.axis.source == "the explained samples"


def test_pooled_models_have_no_steps(tiny_run, place, tmp_path):
    target = shutil.copytree(place / "explained", tmp_path / "explained")
    result = explain_run(tiny_run, target)
    assert result.steps is None
    assert not (target / FILE).exists()
    assert result.remarks == ()
    assert not any(path.name == FILE for path in tiny_run.rglob("*"))
    write_explanation_figures(target)


def test_a_table_of_others_is_not_replaced(place, tmp_path):
    (tmp_path / FILE).write_bytes(b"mine")
    with pytest.raises(OutputError, match=FILE):
        explain_run(place / "run", tmp_path)
    assert (tmp_path / FILE).read_bytes() == b"mine"


def test_that_modalities_always_step_together_is_said(place, tmp_path):
    predictor = Predictor.load(place / "run")
    subset = predictor.subset(predictor.own_store(), "test")
    heard = np.flatnonzero(subset.lengths("audio"))
    assert 0 < len(heard) < len(subset)
    found = explained_steps(predictor.models["fixed"], subset.take(heard), None)
    assert always_together(found.steps)
    assert steps_content(found).together
    assert not content_of(place / "explained")["together"]


def test_figures_are_drawn_and_the_report_shows_words_where_it_may(place, tmp_path):
    folder = shutil.copytree(place / "explained", tmp_path / "explained")
    written = {path.name for path in write_explanation_figures(folder)}
    assert {"sentences.svg", "bloch.svg"} <= written
    drawing = (folder / "sentences.svg").read_text(encoding="utf-8")
    assert "great (" in drawing
    page = write_report([place / "run"], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Step by step" in page
    assert "The Bloch ball under the maps of words" in page
    assert "Sentences in the colours" not in page
    assert "--include-text" in page
    page = write_report([place / "run"], tmp_path / "with.html", include_text=True).read_text(
        encoding="utf-8"
    )
    assert "Sentences in the colours" in page
