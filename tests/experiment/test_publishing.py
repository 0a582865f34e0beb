"""A published model predicts what its run predicts, and holds nothing of single samples or of the machine."""

import errno
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

import qinn
from qinn import cli
from qinn.data.stores.store import Store
from qinn.errors import CheckpointError, ConfigError, DataError, OutputError
from qinn.experiment import publishing
from qinn.experiment.comparison import compare
from qinn.experiment.prediction import predict_store
from qinn.experiment.publishing import publish_run
from qinn.experiment.run import run
from qinn.results.calibration import FILE

from ..tiny import TRAINING, rewritten, tiny_config, write_tiny_store

FAST = {"models": {"m": {"kind": "concatenation"}}, "training": {**TRAINING, "max_epochs": 1}}


@pytest.fixture(scope="module")
def folds_run(tiny_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds") / "run"
    return run(
        tiny_config(tiny_store, **FAST, data={"store": str(tiny_store), "split": "group"}), folder
    ).path


@pytest.fixture(scope="module")
def seeds(tiny_store, tmp_path_factory):
    """The folder of a model with two seeds."""
    folder = tmp_path_factory.mktemp("seeds") / "comparison"
    compare(tiny_config(tiny_store, **FAST, seeds=[0, 1]), folder)
    return folder / "m"


@pytest.fixture(scope="module")
def published(tiny_run, tmp_path_factory):
    return publish_run(tiny_run, tmp_path_factory.mktemp("published") / "model")


@pytest.fixture
def copy(published, tmp_path):
    return shutil.copytree(published, tmp_path / "copy")


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("made", ["tiny_run", "class_run", "folds_run", "seeds"])
def test_a_published_model_predicts_what_its_run_predicts_intervals_and_sets_included(
    made, request, tmp_path
):
    source = request.getfixturevalue(made)
    others = write_tiny_store(tmp_path / "others", seed=9).path
    model = publish_run(source, tmp_path / "model")
    remarks: dict[Path, list[str]] = {source: [], model: []}
    found = [predict_store(one, others, level=0.7, on_remark=remarks[one].append) for one in (source, model)]
    assert found[0] == found[1]
    assert any(name in found[0][0] for name in ("low", "set"))
    assert remarks[source] == remarks[model]


def test_a_published_model_holds_no_sample_and_no_place(tiny_store, tmp_path):
    source = run(tiny_config(tiny_store), tmp_path / "secretplace" / "run").path
    rewritten(source / "run.json", lambda content: content.update(command="qinn train /home/me/mine.yaml"))
    model = publish_run(source, tmp_path / "model")
    assert files_of(model) == [
        "README.md",
        FILE,
        "config.yaml",
        "folds/000/weights.safetensors",
        "metrics.json",
        "reference.json",
        "run.json",
    ]
    content = b"".join((model / name).read_bytes() for name in files_of(model))
    store = Store.open(tiny_store)
    for text in (*store.strings("id"), *store.strings("text"), *store.strings("group")):
        assert not text or f'"{text}"'.encode() not in content, text
    for place in (tiny_store, tiny_store.parent, tmp_path, "secretplace", "/home/me"):
        assert str(place).encode() not in content
    errors = json.loads((model / FILE).read_text())["errors"]
    assert errors == sorted(errors)
    assert len(errors) == 10


def test_one_seed_of_a_published_model_says_where_the_intervals_are(seeds, tiny_store, tmp_path):
    folder = publish_run(seeds, tmp_path / "model")
    for of, words in (
        ("seed-0", "errors are kept of the mean of all its seeds"),
        ("", "are made of the errors"),
    ):
        said: list[str] = []
        rows = predict_store(folder / of, tiny_store, on_remark=said.append)
        assert ("low" in rows[0]) == (of == "")
        assert any(words in one for one in said)


def test_a_published_model_whose_errors_are_lost_says_so(published, seeds, tiny_store, tmp_path):
    for number, source in enumerate((published, publish_run(seeds, tmp_path / "model"))):
        lost = shutil.copytree(source, tmp_path / f"lost{number}")
        (lost / FILE).unlink()
        said: list[str] = []
        assert "low" not in predict_store(lost, tiny_store, on_remark=said.append)[0]
        assert said[-1].startswith("The published model has no `calibration.json`")
        (lost / FILE).symlink_to(tmp_path / "nowhere")
        with pytest.raises(
            CheckpointError, match=r"calibration\.json` .*calibrate the run again, or delete the file"
        ):
            predict_store(lost, tiny_store)


def test_seeds_that_were_taken_away_or_put_in_twice_are_missed_wherever_a_model_is_read(
    seeds, tiny_store, tmp_path
):
    model = publish_run(seeds, tmp_path / "model")
    whole = shutil.copytree(model, tmp_path / "whole")
    shutil.rmtree(model / "seed-1")
    for read in (qinn.load, lambda place: predict_store(place, tiny_store)):
        with pytest.raises(CheckpointError, match=r"calibration\.json` is of another run"):
            read(model)
    assert "calibration.json` is of another run" in str(qinn.describe(model)["integrity"])
    shutil.copytree(model / "seed-0", model / "seed-1")
    for read in (qinn.load, lambda place: predict_store(place, tiny_store)):
        with pytest.raises(ConfigError, match="are of the same seed 0, so their mean counts it twice"):
            read(model)
    assert qinn.describe(whole)["integrity"] == "8 files are as they were written"


def test_the_folder_says_of_itself_what_it_is(published):
    found = qinn.describe(published)
    assert found["kind"] == "published model"
    assert found["integrity"] == "4 files are as they were written"


def test_a_published_model_is_loaded_and_explains_other_samples(published, tmp_path):
    others = write_tiny_store(tmp_path / "others", seed=9)
    predictor = qinn.load(published)
    assert predictor.task == others.task
    explained = qinn.explain_run(published, tmp_path / "explanation", store=others.path)
    assert explained.summary.samples == 10


@pytest.mark.parametrize("made", ["tiny_run", "class_run", "seeds"])
def test_the_card_has_the_metrics_of_the_run_and_a_head_that_hubs_read(made, request, tmp_path):
    source = request.getfixturevalue(made)
    model = publish_run(source, tmp_path / "model", license="cc-by-4.0", data_terms="made by a program")
    _, head, body = (model / "README.md").read_text().split("---\n", 2)
    head = yaml.safe_load(head)
    assert (head["library_name"], head["license"]) == ("qinn", "cc-by-4.0")
    stated = {one["type"]: one["value"] for one in head["model-index"][0]["results"][0]["metrics"]}
    if made == "seeds":
        ensemble = json.loads((source.parent / "comparison.json").read_text())["models"]["m"]["ensemble"]
        wanted = {name: one["value"] for name, one in ensemble.items()}
        assert "The mean of 2 seeds" in body
        assert "model's folder" not in body
    else:
        wanted = {
            name: one["value"]
            for name, one in json.loads((model / "metrics.json").read_text())["test"].items()
        }
    assert stated == pytest.approx({name: value for name, value in wanted.items() if value is not None})
    for words in ("Expressions are not feelings", "made by a program", "10 test samples", "features a step"):
        assert words in body


def test_the_card_says_what_is_not_stated(published):
    card = (published / "README.md").read_text()
    assert "license: other" in card
    assert "Weights: not stated" in card
    assert "Data: not stated" in card


def test_names_on_the_card_stay_text(tiny_store, tmp_path):
    label = "a|b <img src=x> `c`"
    source = run(
        tiny_config(tiny_store, **{**FAST, "models": {label: {"kind": "constant"}}}), tmp_path / "run"
    ).path
    card = (
        publish_run(source, tmp_path / "model", license="---\nx: 1", data_terms="<b>") / "README.md"
    ).read_text()
    _, head, body = re.split(r"^---$", card, maxsplit=2, flags=re.MULTILINE)
    assert "<img" not in body
    assert "<b>" not in body
    assert yaml.safe_load(head)["license"] == "other"


@pytest.mark.parametrize(
    "said", ["\u202egnp.exe", "a\x1b[31mb\x07", "one\n# two\n\n- three", "a\u2028b\x85c", "x" * 500]
)
def test_a_licence_that_is_no_identifier_stands_in_the_body_alone(said, class_run, tmp_path):
    card = (publish_run(class_run, tmp_path / "m", license=said, data_terms=said) / "README.md").read_text()
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head)["license"] == "other"
    assert "not stated" not in body
    for text in (head, body):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\x85\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)
        assert not re.search("^# two|^- three", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda model: qinn.evaluate(model), r"published model, which came without its data; name a store"),
        (lambda model: qinn.explain_run(model), r"published model, which came without its data"),
        (
            lambda model: qinn.write_report([model], model.parent / "again"),
            r"published model, which holds no `predictions.parquet`",
        ),
        (lambda model: publish_run(model, model.parent / "again"), r"published model already; copy"),
    ],
    ids=["evaluate", "explain", "report", "publish"],
)
def test_what_needs_the_samples_says_that_they_are_not_there(copy, call, words):
    before = files_of(copy)
    with pytest.raises((CheckpointError, DataError), match=words):
        call(copy)
    assert files_of(copy) == before
    assert not (copy.parent / "again").exists()


@pytest.mark.parametrize(
    "name", ["config.yaml", "metrics.json", "run.json", "folds/000/weights.safetensors", FILE]
)
def test_a_file_that_was_changed_is_named(copy, name, tmp_path):
    others = write_tiny_store(tmp_path / "others", seed=9).path
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises((CheckpointError, ConfigError), match=name.rpartition("/")[2]):
        (qinn.describe if name == "metrics.json" else predict_store)(
            copy, *(() if name == "metrics.json" else (others,))
        )


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/hostname", "folds/../../secret", "C:/secret", "..\\secret"]
)
def test_no_document_leads_out_of_its_folder(name, copy):
    (copy.parent / "secret").write_text("secret")
    rewritten(copy / "run.json", lambda content: content["files"].update({name: "0" * 64}))
    with pytest.raises(
        CheckpointError, match=r"run\.json` names `.*`, which lies outside of its folder"
    ) as told:
        qinn.describe(copy)
    assert "hash is" not in str(told.value)


@pytest.mark.parametrize(
    ("made", "change", "words"),
    [
        ("tiny_run", {"classes": True}, "of another task than regression"),
        ("tiny_run", {"by_label": {"x": [0.1]}}, "of another task than regression"),
        ("tiny_run", {"without": ["x"]}, "the task has no `x`"),
        ("class_run", {"errors": [-0.5] * 10}, "between 0 and 1"),
        ("class_run", {"errors": [1.5] * 10}, "between 0 and 1"),
        ("folds_run", {"per_model": False}, "`folds` must name one of"),
        ("folds_run", {"folds": None}, "`folds` must say which of several models"),
        ("folds_run", {"folds": [99] * 44}, "`folds` must name one of"),
    ],
)
def test_a_calibration_that_cannot_be_the_models_is_refused(made, change, words, request, tmp_path):
    model = publish_run(request.getfixturevalue(made), tmp_path / "model")
    rewritten(model / FILE, lambda content: content.update(change))
    with pytest.raises(
        CheckpointError, match=rf"calibration\.json` lacks or contradicts something \(.*{words}"
    ):
        predict_store(model, write_tiny_store(tmp_path / "others", seed=9).path)


def test_a_calibration_of_other_folds_is_refused(folds_run, tmp_path):
    model = publish_run(folds_run, tmp_path / "model")
    rewritten(model / FILE, lambda content: content.update(folds=content["folds"][:-1]))
    with pytest.raises(CheckpointError, match=r"calibration.json` lacks or contradicts something .*`folds`"):
        predict_store(model, write_tiny_store(tmp_path / "others", seed=9).path)


def test_own_samples_calibrate_a_published_model_anew(copy, tmp_path):
    others = write_tiny_store(tmp_path / "others", seed=9).path
    qinn.calibrate(copy, others)
    remarks: list[str] = []
    predict_store(copy, others, level=0.7, on_remark=remarks.append)
    assert any("44 samples" in remark and "qinn calibrate" in remark for remark in remarks)


def test_only_a_published_model_is_replaced_and_only_when_asked(tiny_run, copy, tmp_path):
    with pytest.raises(OutputError, match=r"holds a published model already; .*--overwrite"):
        publish_run(tiny_run, copy)
    (copy / "old").touch()
    assert publish_run(tiny_run, copy, overwrite=True) == copy
    assert not (copy / "old").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years")
    for place in (foreign, shutil.copytree(tiny_run, tmp_path / "run")):
        before = files_of(place)
        with pytest.raises(OutputError, match="something else than a published model"):
            publish_run(tiny_run, place, overwrite=True)
        assert files_of(place) == before


def test_nothing_is_published_of_a_run_that_is_not_whole(tiny_run, tmp_path):
    source = shutil.copytree(tiny_run, tmp_path / "run")
    (source / "predictions.parquet").write_bytes(b"else")
    with pytest.raises(CheckpointError, match=r"predictions.parquet"):
        publish_run(source, tmp_path / "model")
    (source / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no `run\.json`"):
        publish_run(source, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_full_disk_leaves_nothing_that_looks_complete(tiny_run, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(publishing.shutil, "copyfile", full)
    with pytest.raises(OutputError, match="No space left on device; free space"):
        publish_run(tiny_run, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_weights_that_change_while_they_are_copied_are_not_published(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing.shutil, "copyfile", lambda source, target: target.write_bytes(b"other"))
    with pytest.raises(CheckpointError, match="weights of fold `fixed` changed while they were copied"):
        publish_run(tiny_run, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_the_command_publishes_and_says_what_the_card_lacks(tiny_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["qinn", "publish", str(tiny_run), "--to", str(tmp_path / "m"), "--license", "mit"]
    )
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code in (0, None)
    shown = capsys.readouterr()
    assert "published:" in shown.out
    assert "`not stated` where --data-terms would stand" in shown.err
