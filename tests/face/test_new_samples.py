"""New samples in the files that a run's own data came in: predicted and explained as they would be from a store."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

import qinn
from qinn import cli
from qinn.data.stores.recipe import recipe_of
from qinn.data.stores.store import Store
from qinn.data.subsets.division import SplitOptions, divide, write_division
from qinn.errors import CheckpointError, ConfigError, DataError
from qinn.experiment.config import parse_config

from ..new_samples import (
    CASES,
    DIMS,
    new_table,
    pickled,
    sample,
    samples,
    write_features,
)
from ..tiny import made_before, rewritten, tiny_content, trusted, write_tiny_store
from .conftest import EXTRACTORS, FAST, trained


@pytest.mark.parametrize("name", CASES)
def test_a_new_sample_in_its_layout_and_as_a_table_has_one_score(name, run_of, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    case = CASES[name]
    run = run_of(case)
    one = sample(np.random.default_rng(7))
    stated = {"extractor": {key: EXTRACTORS[key] for key in case.modalities}}
    remarks: list[str] = []
    found = qinn.predict(run, case.new(tmp_path / "new", one), options=stated, on_remark=remarks.append)
    as_table = qinn.predict(
        run,
        new_table(tmp_path / "table", one),
        layout="table",
        options={
            **stated,
            "id_column": "clip",
            "feature": [f"{key}={tmp_path}/table/features.npz:{key}@offsets" for key in case.modalities],
        },
    )
    assert len(found) == len(as_table) == 1
    assert found[0]["score"] == as_table[0]["score"]
    assert not any("Nothing says whether the same extractor" in one for one in remarks)
    unstated: list[str] = []
    new = case.new(tmp_path / "new", sample(np.random.default_rng(8)))
    assert qinn.predict(run, new, on_remark=unstated.append)[0]["score"] != found[0]["score"]
    # What made the features of the training set says nothing of those of new files.
    unknown = [one for one in unstated if "Nothing says whether the same extractor" in one]
    assert len(unknown) == len(case.modalities)
    assert not list((tmp_path / "temporary").glob(".qinn*"))


def test_transcripts_that_were_encoded_come_in_a_table_too(tmp_path, qinn_command):
    """Words of another layout are encoded from the column that is called so, in the run's own vocabulary and unit."""
    source, store = CASES["misa: None"].official(tmp_path / "set", samples()), tmp_path / "store"
    qinn.import_data(source, store, "misa", encode_text="words")
    kinds = {"text": "embedding", "audio": "statistics", "vision": "statistics"}
    run = trained(store, tmp_path / "run", encoder={"kind": kinds, "hidden_dim": 4})
    one = sample(np.random.default_rng(7))
    found = qinn.predict(run, CASES["misa: None"].new(tmp_path / "new", one))[0]["score"]
    source = new_table(tmp_path, one)
    features = [f"--feature={key}={tmp_path}/features.npz:{key}@offsets" for key in ("audio", "vision")]
    text = " ".join(f"w{index}" for index in range(len(one["text"])))
    source.write_text(f"id,Transcript,age\nnew,{text},7\n")
    code, out, err = qinn_command("predict", run, source, *features, "--json")
    assert code == 0, err
    assert json.loads(out)[0]["score"] == found
    assert "note: the transcripts of `new.csv` are taken from its column `Transcript`" in err
    assert "1 column of the table was not used: `age`\n" in err
    # Features of the text that are stated are not passed over for the column.
    code, _, err = qinn_command(
        "predict", run, source, *features, f"--feature=text={tmp_path}/features.npz:text@offsets"
    )
    assert code == 2
    assert "2 columns of the table were not used" in err
    assert "the transcripts of" not in err
    source.write_text("id,said\nnew,w0 w1\n")
    code, _, err = qinn_command("predict", run, source, *features)
    assert code == 2
    assert "needs modality `text`" in err


@pytest.fixture(scope="module")
def mmsa_run(run_of):
    return run_of(CASES["mmsa: one clip"])


@pytest.fixture(scope="module")
def table_run(run_of):
    return run_of(CASES["table"])


@pytest.fixture
def clip(tmp_path):
    """One clip as MMSA-FET writes it."""
    return CASES["mmsa: one clip"].new(tmp_path / "clip", sample(np.random.default_rng(7)))


@pytest.fixture
def qinn_command(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["qinn", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return run


def test_the_command_predicts_files_and_tells_how_they_were_read(mmsa_run, clip, qinn_command):
    code, out, err = qinn_command("predict", mmsa_run, clip, "--json")
    assert code == 0, err
    assert [row["id"] for row in json.loads(out)] == ["new$_$0"]
    assert "`audio` is padded to" in err
    # Nothing in the clip says what made its features.
    assert err.count("Nothing says whether the same extractor") == 3
    code, _, err = qinn_command(
        "predict", mmsa_run, clip, *(f"--extractor={k}={v}" for k, v in EXTRACTORS.items())
    )
    assert code == 0
    assert "Nothing says whether the same extractor" not in err


@pytest.mark.parametrize("other", ["other@1.0", "audio-extractor@2.0"])
def test_features_of_another_extractor_are_refused_in_files_too(other, mmsa_run, clip, qinn_command):
    code, _, err = qinn_command("predict", mmsa_run, clip, "--extractor", f"audio={other}")
    assert code == 2
    assert "was trained on `audio` features of tier 'audio-extractor@1.0'" in err


def test_the_command_explains_files_as_it_predicts_them(tiny_run, mmsa_run, clip, qinn_command, tmp_path):
    code, _, err = qinn_command("explain", mmsa_run, clip, "--to", tmp_path / "why", "--json")
    assert code == 0, err
    predicted = qinn.predict(mmsa_run, clip)[0]["score"]
    table = pq.read_table(tmp_path / "why" / "explanation.parquet")
    assert table["id"].to_pylist() == ["new$_$0"]
    assert table["score"][0].as_py() == pytest.approx(predicted)


def test_explain_takes_a_store_as_predict_does_and_the_old_spelling_with_a_note(
    tiny_run, tmp_path, qinn_command
):
    other = write_tiny_store(tmp_path / "other", seed=4).path
    ids = []
    for number, arguments in enumerate(([other], ["--store", other])):
        code, _, err = qinn_command(
            "explain", tiny_run, *arguments, "--to", tmp_path / f"why{number}", "--json"
        )
        assert code == 0, err
        assert ("is written without the option now" in err) == bool(number)
        ids.append(json.loads((tmp_path / f"why{number}" / "explanation.json").read_text())["samples"])
    assert ids == [10, 10]


def test_the_test_samples_are_predicted_where_there_are_some_and_else_all(mmsa_run, tmp_path):
    parts = samples(3)
    source = CASES["mmsa: one clip"].official(tmp_path, parts)
    assert len(qinn.predict(mmsa_run, source)) == len(parts["test"])
    assert len(qinn.predict(mmsa_run, source, split="valid")) == len(parts["valid"])
    assert len(qinn.predict(mmsa_run, source, split="all")) == sum(map(len, parts.values()))


def test_several_files_are_predicted_together_under_names_of_their_own(mmsa_run, tmp_path):
    several = [sample(np.random.default_rng(seed)) for seed in (1, 2)]
    make = CASES["mmsa: one clip"].new
    files = [make(tmp_path, one).rename(tmp_path / f"{at}.pkl") for at, one in enumerate(several)]
    rows = qinn.predict(mmsa_run, files)
    assert [row["id"] for row in rows] == ["0.pkl:new$_$0", "1.pkl:new$_$0"]
    alone = [qinn.predict(mmsa_run, file)[0]["score"] for file in files]
    assert [row["score"] for row in rows] == pytest.approx(alone)


def test_files_of_one_name_are_told_apart_by_their_folders_and_one_file_twice_is_refused(table_run, tmp_path):
    files = [new_table(tmp_path / at, sample(np.random.default_rng(1))) for at in ("a", "b")]
    assert [row["id"] for row in qinn.predict(table_run, files)] == ["a/new.csv:new", "b/new.csv:new"]
    with pytest.raises(ConfigError, match=r"new\.csv` is named twice"):
        qinn.predict(table_run, [files[0], files[0]])


def test_no_file_is_left_out_because_another_one_has_a_test_split(mmsa_run, clip, tmp_path):
    parts = samples(3)
    source = CASES["mmsa: one clip"].official(tmp_path, parts)
    rows = qinn.predict(mmsa_run, [source, clip])
    assert len(rows) == len(parts["test"]) + 1
    assert rows[-1]["id"] == "new$_$0"


def test_features_of_a_table_lie_beside_it_or_where_they_are_named(table_run, tmp_path):
    one = sample(np.random.default_rng(3))
    table = new_table(tmp_path, one)
    expected = qinn.predict(table_run, table)[0]["score"]
    write_features(tmp_path, [one], "mine.npz")
    (tmp_path / "features.npz").unlink()
    with pytest.raises(
        ConfigError, match=r"lay in `features.npz`, but it is not there; .* `--feature text=FILE`"
    ):
        qinn.predict(table_run, table)
    named = [f"{name}={tmp_path}/mine.npz" for name in DIMS]
    assert qinn.predict(table_run, table, options={"feature": named})[0]["score"] == expected
    half = qinn.predict(table_run, table, absent=["text"], options={"feature": named[1:]})
    assert half[0]["absent"] == "text"


def test_a_table_says_beside_its_features_what_made_them(table_run, tmp_path):
    table = new_table(tmp_path, sample(np.random.default_rng(3)))
    write_features(tmp_path, [sample(np.random.default_rng(3))], extractor="another@3.0")
    with pytest.raises(CheckpointError, match=r"'text-extractor@1\.0', but .* has 'another@3.0'"):
        qinn.predict(table_run, table)


def test_labels_of_new_samples_are_not_read(mmsa_run, tmp_path):
    one = sample(np.random.default_rng(7))
    content = {**one, "id": "new", "raw_text": "x", "regression_labels": np.float32(np.nan)}
    assert qinn.predict(mmsa_run, pickled(tmp_path / "a.pkl", content))[0]["score"] is not None


def test_a_run_whose_store_had_no_import_says_so(tiny_run, clip):
    with pytest.raises(ConfigError, match=r"does not say how its data were imported .*name their layout by"):
        qinn.predict(tiny_run, clip)
    assert not (tiny_run / "recipe.json").exists()


def test_an_earlier_run_takes_the_recipe_of_its_store_if_that_is_there(tmp_path, clip):
    case = CASES["mmsa: one clip"]
    qinn.import_data(case.official(tmp_path / "set", samples()), tmp_path / "store")
    run = trained(tmp_path / "store", tmp_path / "run")
    expected = qinn.predict(run, clip)
    (run / "recipe.json").unlink()
    rewritten(run / "run.json", lambda content: content["files"].pop("recipe.json"))
    assert qinn.predict(run, clip) == expected
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(ConfigError, match="does not say how its data were imported"):
        qinn.predict(run, clip)
    assert qinn.predict(run, clip, layout="mmsa") == expected
    made_before(run)
    assert qinn.predict(run, clip, layout="mmsa") == expected


def test_a_recipe_names_no_folder_and_is_one_of_the_runs_files(table_run, tmp_path, clip):
    content = (table_run / "recipe.json").read_text()
    assert str(table_run.parent) not in content
    assert json.loads(content)["options"]["feature"][0] == "text=features.npz:text@offsets"
    copy = shutil.copytree(table_run, tmp_path / "copy")
    (copy / "recipe.json").write_text(content.replace("clip", "name"))
    with pytest.raises(CheckpointError, match=r"recipe\.json` is not the file"):
        qinn.predict(copy, clip)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"feature": 3}, "Feature `3` is not understood"),
        ({"id_column": [[1]]}, "recipe.json` lacks or contradicts something"),
        ({"nonsense": "x"}, "recipe .* cannot be read"),
        ({"scale": [1, 2]}, "recipe .* cannot be read"),
    ],
)
def test_a_recipe_that_nobody_can_have_typed_is_refused(options, words, table_run, tmp_path):
    copy = shutil.copytree(table_run, tmp_path / "copy")
    rewritten(copy / "recipe.json", lambda content: content["options"].update(options))
    trusted(copy)
    with pytest.raises((CheckpointError, ConfigError), match=words):
        qinn.predict(copy, new_table(tmp_path, sample(np.random.default_rng(3))))


def test_a_divided_store_keeps_its_recipe(tmp_path):
    case = CASES["mult: no splits"]
    store = qinn.import_data(case.official(tmp_path, samples()), tmp_path / "store", "mult")
    options = SplitOptions(grouped=False)
    divided = write_division(store, divide(store, options), options, tmp_path / "divided")
    assert recipe_of(divided.manifest) == recipe_of(store.manifest)


@pytest.mark.parametrize("layout", ["table", "misa"])
def test_words_are_encoded_by_the_vocabulary_of_the_training_store(layout, tmp_path):
    spoken = ["good film", "bad film", "good good day", "so bad"] * 6
    splits = ["train"] * 12 + ["valid"] * 6 + ["test"] * 6
    if layout == "table":
        rows = [
            f"s{row},{text},{row % 7 - 3},{split}"
            for row, (text, split) in enumerate(zip(spoken, splits, strict=True))
        ]
        (tmp_path / "t.csv").write_text("id,said,label,mode\n" + "\n".join(rows))
        source, options = tmp_path / "t.csv", {"text_column": "said", "split_column": "mode", "scale": "mosi"}
        (tmp_path / "new.csv").write_text("id,said\nnew,a good film\n")
        new = tmp_path / "new.csv"
    else:
        for file, split in (("train", "train"), ("dev", "valid"), ("test", "test")):
            items = [
                item(spoken[row], np.array([[row % 7 - 3.0]]), f"v{row}[0]")
                for row in range(len(spoken))
                if splits[row] == split
            ]
            pickled(tmp_path / "set" / f"{file}.pkl", items)
        source, options = tmp_path / "set", {"modality": ["text", "audio"]}
        new = pickled(tmp_path / "new.pkl", [item("a good film", "new[0]")])
    store = qinn.import_data(source, tmp_path / "store", layout, encode_text="words", num_words=3, **options)
    kinds = {name: "embedding" if name == "text" else "statistics" for name in store.modalities}
    run = trained(store.path, tmp_path / "run", encoder={"hidden_dim": 4, "kind": kinds})
    kept = Store.open(tmp_path / "store")
    assert recipe_of(kept.manifest).options["encode_text"] == "words"
    again = qinn.import_data(
        new,
        tmp_path / "as-store",
        layout,
        encode_text=f"words:{kept.path}",
        scale="mosi",
        **(
            {"text_column": "said", "no_labels": True}
            if layout == "table"
            else {"modality": ["text", "audio"]}
        ),
    )
    expected = qinn.predict(run, again.path)
    shutil.rmtree(kept.path)
    assert qinn.predict(run, new) == expected


def item(text, *rest):
    words = text.split()
    sound = np.arange(len(words), dtype=np.float32)[:, None] + 1
    return ((np.arange(len(words)), sound, sound, words), *rest)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": {"nonsense": "1"}}, "has no option `nonsense`"),
        ({"options": {"scale": "sims"}}, "Option `scale` says what is predicted"),
        ({"options": {"feature": ["audio=a.npz"]}}, "but the layout of .* is another one"),
        ({"layout": "nonsense"}, "Option `layout` must be one of table"),
    ],
)
def test_options_that_do_not_go_with_files_are_refused(changes, words, mmsa_run, clip):
    with pytest.raises(ConfigError, match=words):
        qinn.predict(mmsa_run, clip, **changes)


def test_a_store_takes_no_options_of_an_import_and_stands_alone(tiny_run, tiny_store, clip):
    with pytest.raises(ConfigError, match="is a store, which is imported already"):
        qinn.predict(tiny_run, tiny_store, layout="mmsa")
    with pytest.raises(ConfigError, match="is a store, which stands alone"):
        qinn.predict(tiny_run, [tiny_store, clip])
    with pytest.raises(ConfigError, match="but none is named"):
        qinn.explain_run(tiny_run, layout="mmsa")
    with pytest.raises(DataError, match="does not exist; give a store, or files"):
        qinn.predict(tiny_run, clip.with_name("none.pkl"))


def test_a_damaged_file_leaves_nothing_behind(mmsa_run, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    clip.write_bytes(clip.read_bytes()[:200])
    with pytest.raises(DataError):
        qinn.predict(mmsa_run, clip)
    assert not list((tmp_path / "temporary").glob(".qinn*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_command_leaves_nothing_that_the_next_one_does_not_remove(number, mmsa_run, clip, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    pause = (
        "import qinn.face.new_samples as m, time\nplain = m.import_data\n"
        "def slow(*a, **k):\n    plain(*a, **k)\n    time.sleep(60)\nm.import_data = slow\n"
        "from qinn.cli import main\nmain()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", pause, "predict", str(mmsa_run), str(clip)],
        env={**os.environ, "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not list(temporary.glob(".qinn-new-samples.*/0/manifest.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    if number == signal.SIGKILL:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(temporary))
            qinn.predict(mmsa_run, clip)
    assert not list(temporary.glob(".qinn-new-samples.*"))


def test_all_seeds_of_a_model_predict_several_files_by_their_mean(tmp_path):
    make = CASES["mmsa: one clip"]
    qinn.import_data(make.official(tmp_path / "set", samples()), tmp_path / "store", scale="mosi")
    content = tiny_content(tmp_path / "store", **FAST)
    config = parse_config({**content, "seeds": [0, 1, 2], "simple_rows": False}, "several")
    folder = qinn.compare(config, to=tmp_path / "all").folder / "m"
    several = [sample(np.random.default_rng(seed)) for seed in (1, 2, 3)]
    files = [make.new(tmp_path, one).rename(tmp_path / f"{at}.pkl") for at, one in enumerate(several)]
    found = qinn.predict(folder, files)
    assert [row["id"] for row in found] == [f"{at}.pkl:new$_$0" for at in range(3)]
    each = [qinn.predict(folder / f"seed-{seed}", files) for seed in (0, 1, 2)]
    for row, *of_seeds in zip(found, *each, strict=True):
        assert row["score"] == pytest.approx(np.mean([one["score"] for one in of_seeds]), abs=1e-6)
    assert len({row["score"] for row in found}) == 3
    alone = [qinn.predict(folder, file)[0]["score"] for file in files]
    assert [row["score"] for row in found] == pytest.approx(alone, abs=1e-6)
