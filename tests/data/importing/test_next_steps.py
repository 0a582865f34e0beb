"""The next step of a refusal knows what was refused: it mends the command or says what to mend, and repeats nothing."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import qinn
from qinn.errors import ConfigError, DataError

from ...new_samples import official_mmsa, official_mult, pickled, samples

CHINESE = "我喜欢这部电影", "一般吧", "太差了"


def table(folder: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


def sound(folder: Path, rows: int = 3) -> str:
    np.save(folder / "v.npy", np.ones((rows, 2)))
    return f"audio={folder}/v.npy"


def refused(source: Path, layout: str, **options: Any) -> list[str]:
    """Import, and return what the refusal says to do next."""
    with pytest.raises((DataError, ConfigError)) as error:
        qinn.import_data(source, source.parent / "s", layout, **options)
    return [note.removeprefix("next: ") for note in error.value.__notes__ if note.startswith("next: ")]


def typed(layout: str, source: Path, options: dict[str, Any]) -> list[str]:
    """Return the words of a command, sorted: the same ones in another order are the same command."""
    words = ["qinn", "data", "import", layout, str(source), "--to", str(source.parent / "s")]
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            words += [f"--{name.replace('_', '-')}", str(one)]
    return sorted(words)


def mmsa_twice(folder: Path) -> Path:
    content = {"audio": np.ones((2, 5, 3)), "vision": np.ones((2, 5, 3)), "text": np.ones((2, 5, 3))}
    return pickled(folder / "m.pkl", {"test": {**content, "id": ["a", "a"], "regression_labels": [0.5, 1.5]}})


def mult_far_labels(folder: Path) -> Path:
    content = {"audio": np.ones((2, 5, 3)), "vision": np.ones((2, 5, 3)), "text": np.ones((2, 5, 3))}
    return pickled(folder / "m.pkl", {"train": {**content, "labels": np.array([5.0, 1.5])}})


def misa_far_labels(folder: Path) -> Path:
    words = np.array([3, 4])
    entry = ((words, np.ones((2, 3)), np.ones((2, 2)), ["a", "b"]), np.array([[7.0]]), "v[0]")
    return pickled(folder / "train.pkl", [entry])


REFUSED: dict[str, tuple[Callable[[Path], Path], str, dict[str, Any]]] = {
    "an id twice": (
        lambda folder: table(folder, "id,text,label\na,x,0.5\nb,y,0\na,z,-1\n"),
        "table",
        {"scale": "sims", "text_column": "text", "encode_text": "words"},
    ),
    "features of other samples": (
        lambda folder: table(folder, "id,label\na,0.5\nb,0\n"),
        "table",
        {"scale": "sims", "feature": ["audio={folder}/v.npy"]},
    ),
    "MMSA: an id twice": (mmsa_twice, "mmsa", {"scale": "mosi"}),
    "MulT: a label outside the scale": (mult_far_labels, "mult", {}),
    "MISA: a label outside the scale": (misa_far_labels, "misa", {"encode_text": "words"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_command_that_was_refused_is_never_proposed(name, tmp_path):
    write, layout, options = REFUSED[name]
    sound(tmp_path)
    options = {
        key: [one.format(folder=tmp_path) for one in value] if isinstance(value, list) else value
        for key, value in options.items()
    }
    source = write(tmp_path)
    steps = refused(source, layout, **options)
    assert steps
    assert all(sorted(shlex.split(step)) != typed(layout, source, options) for step in steps)
    assert steps == ["correct what is refused above, then give the same command again"]


MENDED: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "an id in two columns": (
        "video_id;clip_id;label\nv0;1;0.5\nv0;2;0\nv1;1;-1\n",
        {"id_column": "clip_id", "scale": "sims"},
        {"id_column": "video_id clip_id"},
    ),
    "a column of another name": (
        "clip,score\na,0.5\nb,0\nc,-1\n",
        {"scale": "sims"},
        {"id_column": "clip", "label_column": "score"},
    ),
    "another scale": ("id,label\na,2.5\nb,0\nc,-1\n", {"scale": "sims"}, {"scale": "mosi"}),
    "another range": ("id,label\na,2\nb,0\nc,9\n", {"scale": "plain", "range": [0, 5]}, {"range": "0 9"}),
    "a split that is none": (
        "id,label,mode\na,2,train\nb,0,test\nc,1,test\n",
        {"scale": "mosi", "split_column": "split"},
        {"split_column": "mode"},
    ),
}


@pytest.mark.parametrize("name", MENDED)
def test_what_the_table_contradicts_is_mended_and_the_rest_stays(name, tmp_path):
    text, options, wanted = MENDED[name]
    source, feature = table(tmp_path, text), sound(tmp_path)
    step = refused(source, "table", feature=[feature], **options)[0]
    words = shlex.split(step)
    assert words[:7] == ["qinn", "data", "import", "table", str(source), "--to", str(tmp_path / "s")]
    assert feature in words
    for option, value in wanted.items():
        flag = f"--{option.replace('_', '-')}"
        at = [place for place, word in enumerate(words) if word == flag]
        assert (
            " ".join(" ".join(words[place + 1 :][: 2 if option == "range" else 1]) for place in at) == value
        )
    # It does what it says.
    given = words[7:]
    made: dict[str, Any] = {}
    at = 0
    while at < len(given):
        size = 2 if given[at] == "--range" else 1
        values = given[at + 1 : at + 1 + size]
        key = given[at][2:].replace("-", "_")
        made[key] = [float(one) for one in values] if size == 2 else [*made.get(key, []), *values]
        at += 1 + size
    options = {
        key: value[0] if key not in ("feature", "id_column", "range") else value
        for key, value in made.items()
    }
    assert len(qinn.import_data(source, tmp_path / "s", "table", **options)) == 3


def test_where_no_modality_was_named_the_texts_are_and_not_in_english(tmp_path):
    rows = "".join(f"v{video},{row},{text},0.5\n" for video in "12" for row, text in enumerate(CHINESE))
    source = table(tmp_path, "video_id,clip_id,text,label\n" + rows)
    step = refused(source, "table", scale="sims", id_column=["video_id", "clip_id"])[0]
    assert "--text-column text" in step
    assert "--encode-text folder:FOLDER" in step
    assert "minilm and mpnet know English alone" in step
    looked = qinn.look(source).steps[0]
    assert "--id-column video_id --id-column clip_id" in looked
    assert "minilm " not in looked.partition(" (")[0]


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("Мне понравился фильм", True),
        ("映画が好きです", True),
        ("أعجبني الفيلم", True),
        ("Ça m'a plu, naïf", False),
    ],
)
def test_the_script_of_a_text_decides_about_the_english_encoders(text, foreign, tmp_path):
    step = qinn.look(table(tmp_path, f"id,text,label\na,{text},0.5\n")).steps[0]
    assert ("folder:FOLDER" in step) is foreign
    assert ("--encode-text minilm" in step) is not foreign


@pytest.mark.parametrize("write", [official_mmsa, official_mult])
def test_a_wrong_layout_gives_way_to_the_right_one(write, tmp_path):
    source = write(tmp_path, samples())
    step = refused(source, "misa", scale="mosi")[0]
    right = write.__name__.removeprefix("official_")
    assert step == f"qinn data import {right} {source} --to {tmp_path / 's'} --scale mosi"


def sims_or_mosi(folder: Path) -> Path:
    block = np.ones((2, 5, 3))
    content = {"audio": block, "vision": block, "text": block, "id": ["a", "b"]}
    return pickled(folder / "m.pkl", {"test": {**content, "regression_labels": [0.5, -1]}})


def emotions(folder: Path, labels: Any = ((0, 1), (1, 0))) -> Path:
    block = np.ones((2, 5, 3))
    content = {"audio": block, "vision": block, "text": block, "labels": np.asarray(labels)}
    return pickled(folder / "m.pkl", {"train": content})


def mfn_folder(folder: Path, labels: Any = ((0.5, 1), (1, 0))) -> Path:
    for name, values in (("audio", np.ones((2, 5, 3))), ("y", np.asarray(labels))):
        (folder / "m").mkdir(exist_ok=True)
        with h5py.File(folder / "m" / f"{name}_train.h5", "w") as file:
            file["d1"] = values
    return folder / "m"


def misa_words(folder: Path) -> Path:
    entry = ((np.array([3, 4]), np.ones((2, 3)), np.ones((2, 2)), ["a", "b"]), np.array([[1.0]]), "v[0]")
    return pickled(folder / "train.pkl", [entry])


UNSTATED: dict[str, tuple[Callable[[Path], Path], str, dict[str, Any], list[str]]] = {
    "MMSA: the scale": (sims_or_mosi, "mmsa", {}, ["--scale mosi", "--scale sims"]),
    "MulT: which of several": (
        emotions,
        "mult",
        {},
        ["--label-index 0", "--task multilabel --labels NAME0,NAME1"],
    ),
    "MulT: which of several classes": (
        lambda folder: emotions(folder, np.eye(2)[[[0, 1], [1, 1]]]),
        "mult",
        {"modality": ["audio"]},
        [
            "--modality audio --label-index 0 --task classification",
            "--modality audio --task multilabel --labels NAME0,NAME1",
        ],
    ),
    "MFN: which of several": (
        mfn_folder,
        "mfn",
        {"scale": "sims"},
        ["--scale sims --label-index 0", "--scale sims --task multilabel --labels NAME0,NAME1"],
    ),
    "MFN: the range": (
        lambda folder: mfn_folder(folder, (0.5, 2)),
        "mfn",
        {},
        ["--scale mosi", "--scale plain --range 0.5 2"],
    ),
    "MISA: the encoder": (
        misa_words,
        "misa",
        {},
        ["--encode-text minilm", "--modality audio --modality vision"],
    ),
    "MISA: the encoder of the words alone": (
        misa_words,
        "misa",
        {"modality": ["text"]},
        ["--modality text --encode-text minilm"],
    ),
}


@pytest.mark.parametrize("name", UNSTATED)
def test_what_has_to_be_stated_is_proposed_in_every_way(name, tmp_path):
    write, layout, options, ways = UNSTATED[name]
    source = write(tmp_path)
    steps = refused(source, layout, **options)
    assert steps == [f"qinn data import {layout} {source} --to {source.parent / 's'} {way}" for way in ways]


COUNTED = {
    "id,label,mfcc_0,mfcc_1,au_1,au_2,age": ["audio=:mfcc_*", "au=:au_*"],
    "id,label,x1,x2": ["x=:x*"],
    "id,label,face_1,face_2,video_1,video_2": ["face=:face_*", "video=:video_*"],
    "id,label,age,height": ["audio=FILE"],
    "id,label,mfcc_1": ["audio=FILE"],
}


@pytest.mark.parametrize("header", COUNTED)
@pytest.mark.parametrize("in_a_folder", [False, True])
def test_columns_that_count_are_proposed_as_features_and_nothing_that_has_none(header, in_a_folder, tmp_path):
    columns = header.split(",")
    rows = "".join(f"{name},0.5{',1.5' * (len(columns) - 2)}\n" for name in "ab")
    source = table(tmp_path, f"{header}\n{rows}", "train.csv")
    step = qinn.look(tmp_path if in_a_folder else source).steps[0]
    words = shlex.split(step)
    assert [words[at + 1] for at, word in enumerate(words) if word == "--feature"] == COUNTED[header]
    if "FILE" not in step:
        named = words[words.index("--feature") + 1]
        assert len(qinn.import_data(source, tmp_path / "s", "table", scale="sims", feature=[named])) == 2


def test_a_headless_table_is_named_and_its_columns_are_suggested(tmp_path):
    source = table(tmp_path, "a,0.5,train,1.5\nb,0.6,train,2\nc,-0.7,test,2\n")
    found = qinn.look(source)
    assert found.title.startswith("a table of 3 rows and 4 columns")
    assert found.holds[:3] == (
        "no header: its first line looks like a sample; name the columns by `--columns`",
        "column 1: a, b, c",
        "column 2: 0.5, 0.6, -0.7",
    )
    assert "--columns id,label,split,column_4" in found.steps[0]
    sound(tmp_path)
    step = refused(source, "table", scale="sims", feature=[f"audio={tmp_path}/v.npy"])[0]
    assert "--columns id,label,split,column_4" in step
    store = qinn.import_data(
        source, tmp_path / "s", columns="id,label,split,column_4", scale="sims", feature=[sound(tmp_path)]
    )
    assert store.labels.tolist() == [0.5, 0.6, -0.7]


def test_columns_that_count_features_are_a_header(tmp_path):
    found = qinn.look(table(tmp_path, "id,label,0,1,2\na,0.5,1,2,3\n"))
    assert found.holds[0] == "id: a"


ARRAYS: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "one": ({"lld": np.ones((2, 5, 3))}, "--feature audio={file}:lld "),
    "two": (
        {"mfcc": np.ones((2, 3)), "openface": np.ones((2, 4))},
        "--feature audio={file}:mfcc --feature vision={file}:openface ",
    ),
    "no modality's names": (
        {"x": np.ones((2, 5, 3)), "y": np.ones((2, 3))},
        "--feature x={file}:x --feature y={file}:y ",
    ),
}


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_without_columns_are_features_of_a_table(name, suffix, tmp_path):
    arrays, wanted = ARRAYS[name]
    file = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        np.savez(file, **arrays)
    else:
        with h5py.File(file, "w") as target:
            for key, values in arrays.items():
                target[key] = values
    found = qinn.look(file)
    assert found.layout == ""
    assert found.steps[0].startswith("qinn data import table TABLE.csv ")
    assert wanted.format(file=file) in found.steps[0]


DECIMALS = "id;label;x\na;0,5;1\nb;-0,7;2\nc;0;2,5\n"


def test_decimal_commas_are_named_in_labels_features_and_files_of_features(tmp_path):
    source = table(tmp_path, DECIMALS)
    assert qinn.look(source).steps[0].startswith("write the numbers of column `label` with a point")
    points = table(tmp_path, DECIMALS.replace("0,", "0."), "p.csv")
    other = table(tmp_path, 'id,x\na,1\nb,2\nc,"2,5"\n', "f.csv")
    for file, feature, place in (
        (source, sound(tmp_path), "line 2 (sample `a`) has the label `0,5`"),
        (points, "audio=:x", "line 4 has `2,5` in column `x`"),
        (points, f"audio={other}#id", "line 4 has `2,5` in column `x`"),
        (points, f"audio={tmp_path}/{{id}}.csv", "line 3 has `1,5` in column `x`"),
    ):
        for clip in "abc":
            table(tmp_path, 'x,y\n0.5,1\n"1,5",2\n', f"{clip}.csv")
        with pytest.raises(DataError) as error:
            qinn.import_data(file, tmp_path / "s", "table", scale="sims", feature=[feature])
        assert place in str(error.value)
        assert "which has a decimal comma; write numbers with a point, as " in str(error.value)


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        ("id,text\na,café crème à la carte\n", "latin-1", "WINDOWS-1252"),
        ("id,text\na,schöne Grüße – „so“\n", "cp1252", "WINDOWS-1252"),
        ("id,text\na,我喜欢这部电影\nb,一般吧\n", "gb18030", "GB18030"),
    ],
)
def test_a_text_in_another_encoding_says_which_where_and_how_to_write_it_anew(text, encoding, said, tmp_path):
    source = table(tmp_path, text, encoding=encoding)
    with pytest.raises(DataError, match="not text in UTF-8") as error:
        qinn.import_data(source, tmp_path / "s", "table", scale="sims")
    assert f"(line 2); it looks like {said} " in str(error.value)
    assert f"`iconv -f {said} -t UTF-8 " in str(error.value)
    # The refusal says all; nothing is said twice.
    assert not hasattr(error.value, "__notes__")


@pytest.mark.parametrize("text", ["\x80\x81\x82", "日本語のテキスト"])
def test_no_encoding_is_guessed_where_none_is_likely(text, tmp_path):
    source = tmp_path / "t.csv"
    source.write_bytes(b"id\n" + text.encode("shift-jis" if text[0] == "日" else "latin-1"))
    with pytest.raises(DataError, match=r"not text in UTF-8 \(line 2\); save it as UTF-8\."):
        qinn.import_data(source, tmp_path / "s", "table", scale="sims")


FEATURE_FAULTS: dict[str, tuple[str, str, str]] = {
    "no column": ("f.csv", "name,x\na,1\n", "`{file}` has no column `id`; it has name, x."),
    "no header": ("f.csv", "a,1.5\nb,2.5\n", "its first line looks like a sample: put a line with the names"),
    "no number": (
        "f.csv",
        "id,x\na,1\nb,high\n",
        "`{file}` line 3 has `high` in column `x`, which is not a number",
    ),
    "another length": (
        "f.csv",
        "id,x\na,1\nb,2,3\n",
        "`{file}` line 3 has 3 fields, but its header has 2; quote",
    ),
}


@pytest.mark.parametrize("name", FEATURE_FAULTS)
def test_a_refusal_about_a_file_of_features_shows_that_file_in_our_words(name, tmp_path):
    file, text, said = FEATURE_FAULTS[name]
    source, features = table(tmp_path, "id,label\na,0.5\nb,0\n"), table(tmp_path, text, file)
    with pytest.raises((DataError, ConfigError)) as error:
        qinn.import_data(source, tmp_path / "s", "table", scale="sims", feature=[f"audio={features}#id"])
    assert said.format(file=features) in str(error.value)
    assert "CSV" not in str(error.value)
    assert error.value.__notes__[0].startswith(f"{features} is a table of ")
    assert (
        error.value.__notes__[-1] == "next: correct what is refused above, then give the same command again"
    )


def test_rows_of_one_name_are_said_by_number(tmp_path):
    source = table(tmp_path, "id,label\na,0.5\nb,0\n")
    np.savez(tmp_path / "f.npz", x=np.ones((3, 2)), id=np.array(["a", "b", "a"]))
    with pytest.raises(DataError, match=r"names sample `a` twice, in rows 1, 3; each sample has one row"):
        qinn.import_data(source, tmp_path / "s", scale="sims", feature=[f"audio={tmp_path}/f.npz:x#id"])
    with pytest.raises(
        DataError, match=r"sample `a` \(row 2\) has the id `a`, which .* sample `a` \(row 1\) has"
    ):
        qinn.import_data(mmsa_twice(tmp_path), tmp_path / "s", scale="mosi")
    np.savez(tmp_path / "g.npz", x=np.ones((2, 2)), id=np.array(["a", "a"]))
    with pytest.raises(DataError, match=r"it names sample `a` twice, in rows 1, 2; match"):
        qinn.import_data(source, tmp_path / "s", scale="sims", feature=[f"audio={tmp_path}/g.npz:x"])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("vision", "video"), "`video` lies beside `vision`"),
        (("video", "visual"), "`visual` lies beside `vision`"),
        (("vision", "facet"), "`facet` lies beside `vision`"),
        (("audio", "covarep"), "`covarep` lies beside `audio`"),
    ],
)
def test_of_two_arrays_of_one_modality_the_manifest_says_which_was_taken(keys, said, tmp_path):
    block = np.ones((2, 5, 3), np.float32)
    of_mult = keys[1] in ("facet", "covarep")
    content: dict[str, Any] = dict.fromkeys(("text", "audio", "vision"), block)
    del content["audio" if keys[0] == "audio" else "vision"]
    content |= {keys[0]: block, keys[1]: 2 * block}
    labels = (
        {"labels": np.array([0.5, 1.5])} if of_mult else {"id": ["a", "b"], "regression_labels": [0.5, 1.5]}
    )
    source = pickled(tmp_path / "m.pkl", {"test": {**content, **labels}})
    store = qinn.import_data(source, tmp_path / "s", "mult" if of_mult else "mmsa", scale="mosi")
    assert [note for note in store.manifest["notes"] if "lies beside" in note] == [
        f"{said}, which was taken in its place"
    ]
    name = "audio" if keys[0] == "audio" else "vision"
    assert store.sample(0, name).max() == 1.0


def test_a_source_without_samples_is_named_by_its_own_path(tmp_path):
    empty = {name: np.zeros((0, 5, 3)) for name in ("text", "audio", "vision")}
    source = pickled(tmp_path / "m.pkl", {"test": {**empty, "id": [], "raw_text": []}})
    with pytest.raises(DataError, match=rf"^`{source}` has no sample to import\.\n"):
        qinn.import_data(source, tmp_path / "s", scale="mosi")
    dropped = table(tmp_path, "id,label\na,1\n")
    with pytest.raises(DataError, match="has no sample to import: `--drop-label` leaves all of them out"):
        qinn.import_data(dropped, tmp_path / "s", scale="sims", drop_label="1", feature=[sound(tmp_path, 1)])
    np.savez(tmp_path / "z.npz", x=np.zeros((1, 3, 2)))
    with pytest.raises(DataError, match="has a step in any modality, so nothing is left to import"):
        qinn.import_data(
            dropped, tmp_path / "s", scale="sims", empty="drop", feature=[f"audio={tmp_path}/z.npz:x"]
        )


def test_that_no_sample_has_a_label_is_said_in_these_words(tmp_path):
    for cells, said in (("", "no sample has a label"), ("0.5", "1 of 2 samples has no label")):
        source = table(tmp_path, f"id,label\na,\nb,{cells}\n")
        store = qinn.import_data(
            source, tmp_path / "s", scale="sims", feature=[sound(tmp_path, 2)], overwrite=True
        )
        assert said in store.manifest["notes"]


def test_a_folder_of_tables_is_none_of_a_table(tmp_path):
    for name in ("a.csv", "b.csv"):
        table(tmp_path, "id,label\na,1\n", name)
    found = qinn.look(tmp_path)
    assert found.layout == ""
    assert found.nearest.startswith("table, but it has 2 tables (a.csv, b.csv), whose names are no splits")
    with pytest.raises(
        DataError, match=r"neither y_train\.h5 …, train\.pkl … nor one table, or one for each split"
    ):
        qinn.import_data(tmp_path, tmp_path / "s")


def test_stores_and_runs_in_a_folder_are_known_beside_its_other_files(tiny_store, tiny_run, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work/notes.txt").write_text("mine\n")
    (tmp_path / "work/store").symlink_to(tiny_store)
    for name, place in (("mine", tiny_store), ("run", tiny_run)):
        shutil.copytree(place, tmp_path / "work" / name)
    found = qinn.look(tmp_path / "work")
    assert {"mine/ is a store", "run/ is a run"} <= set(found.holds)
    assert [step.split(" /")[0] for step in found.steps] == ["qinn data inspect", "qinn info"]


def test_what_is_wrong_with_several_labels_is_not_mended_by_leaving_them_out(tmp_path):
    source = table(tmp_path, "id,happy,sad\na,1,0\nb,0,much\nc,1,1\n")
    steps = refused(source, "table", task="multilabel", labels="happy,sad", feature=[sound(tmp_path)])
    assert steps == ["correct what is refused above, then give the same command again"]
