"""Features in tables, paths made of several columns, transcripts in files, and one table for each split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qinn.data.importing import FeatureSpec, TableOptions, TaskOptions, import_data
from qinn.data.stores.store import Store
from qinn.errors import ConfigError, DataError

CLIPS = [("v", "01"), ("v", "02"), ("w", "01")]
HEART = "video,clip,when,good,rate,gap\n"
BEATS = [
    ("w", "01", 0.5, 1, 7, 70),
    ("v", "01", 0.9, 1, 2, 20),
    ("v", "02", 0.0, 1, 3, ""),
    ("v", "01", 0.1, 1, 1, 10),
    ("v", "01", 0.4, 0, 9, 90),
    ("x", "09", 0.0, 1, 5, 50),
]
"""Two steps of v_01 that count, out of order; one of v_02 and w_01; one of a stranger."""


def heart(rows: list[tuple[Any, ...]]) -> str:
    return HEART + "".join(",".join(map(str, row)) + "\n" for row in rows)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A table of three clips whose own columns are features, and files beside it, named by two columns."""
    import h5py

    (tmp_path / "t.csv").write_text(
        "video;clip;label;split;mfcc_0;mfcc_1;pitch\n"
        "v;01;1.5;train;0.25;-1;7\n"
        "v;02;-3;valid;;;\n"
        "w;01;0;test;0.5;2;9\n"
    )
    (tmp_path / "heart.csv").write_text(heart(BEATS))
    (tmp_path / "once.csv").write_text(heart([BEATS[0], BEATS[1], BEATS[2]]))
    for row, (video, clip) in enumerate(CLIPS):
        for folder in ("face", "said"):
            (tmp_path / folder / video).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "face" / video / f"{clip}.npy", np.full((row + 1, 2), row))
        (tmp_path / "said" / video / f"{clip}.txt").write_text(f"\ufeffsaid  in\r\n{video} {clip}\n", "utf-8")
    with h5py.File(tmp_path / "face.h5", "w") as file:
        for row, (video, clip) in enumerate(CLIPS):
            file[f"{video}/{clip}/frames"] = np.full((row + 1, 3), row)
            file[f"{video}/{clip}/seconds"] = np.arange(row + 1.0)
    return tmp_path


def load(mine: Path, *features: str, source: str = "t.csv", **options: Any) -> Store:
    options = {
        "task": TaskOptions(scale="mosi"),
        "id_columns": ("video", "clip"),
        "features": tuple(feature.replace("@@@", f"{mine}/") for feature in features),
    } | options
    return import_data(mine / source, mine / "s" / "store", TableOptions(**options), overwrite=True)


def kind(store: Store, name: str) -> tuple[str, int]:
    entry = store.manifest["modalities"][name]
    return entry["kind"], entry["dim"]


def values(store: Store, name: str) -> list[Any]:
    return [store.sample(row, name).tolist() for row in range(len(store))]


def test_a_row_per_sample_becomes_its_vector_whatever_the_order(mine: Path) -> None:
    store = load(mine, "ecg=@@@once.csv:rate#video+clip")
    assert kind(store, "ecg") == ("vector", 1)
    assert values(store, "ecg") == [[[2]], [[3]], [[7]]]
    assert [source["file"] for source in store.manifest["sources"]] == ["t.csv", "once.csv"]


def test_rows_of_one_sample_are_its_steps_by_their_times(mine: Path) -> None:
    store = load(mine, "ecg=@@@heart.csv:rate@good@@when#video+clip")
    assert values(store, "ecg") == [[[1], [2]], [[3]], [[7]]]
    times = store.times("ecg")
    assert times is not None
    np.testing.assert_allclose(times[:2], [0.1, 0.9])
    assert "1 row of `ecg` whose `good` is 0 was left out" in store.manifest["notes"]
    assert "1 name of `heart.csv` is none of the table's samples" in store.manifest["notes"]


def test_rows_that_lie_together_are_steps_as_they_lie(mine: Path) -> None:
    (mine / "heart.csv").write_text(heart([BEATS[1], BEATS[3], BEATS[2], BEATS[0]]))
    store = load(mine, "ecg=@@@heart.csv:rate#video+clip")
    assert kind(store, "ecg") == ("sequence", 1)
    assert values(store, "ecg") == [[[2], [1]], [[3]], [[7]]]
    assert any("up to 2 rows of `heart.csv` have one name" in note for note in store.manifest["notes"])


def test_without_a_choice_all_columns_but_names_times_and_marks_are_features(mine: Path) -> None:
    store = load(mine, "ecg=@@@heart.csv@good@@when#video+clip", nan="zero")
    assert values(store, "ecg") == [[[1, 10], [2, 20]], [[3, 0]], [[7, 70]]]


def test_the_same_features_come_from_parquet_and_from_tabs(mine: Path) -> None:
    rows = [dict(zip(HEART.strip().split(","), row, strict=True)) for row in BEATS]
    pq.write_table(pa.Table.from_pylist([row | {"gap": None} for row in rows]), mine / "heart.parquet")
    (mine / "heart.tsv").write_text(heart(BEATS).replace(",", "\t"))
    stores = [
        values(load(mine, f"ecg=@@@heart.{suffix}:r*@good@@when#video+clip"), "ecg")
        for suffix in ("csv", "parquet", "tsv")
    ]
    assert stores[0] == stores[1] == stores[2]


def test_a_sample_without_a_row_or_a_value_lacks_the_feature_where_that_is_allowed(mine: Path) -> None:
    (mine / "once.csv").write_text(heart([BEATS[0], BEATS[2]]))
    with pytest.raises(DataError, match="no features for sample `v_01`"):
        load(mine, "ecg=@@@once.csv:gap#video+clip", "face=@@@face/{video}/{clip}.npy")
    store = load(
        mine,
        "ecg=@@@once.csv:gap#video+clip",
        "face=@@@face/{video}/{clip}.npy",
        absent_features="allow",
    )
    assert np.diff(store.offsets("ecg")).tolist() == [0, 0, 1]


def test_columns_of_the_table_itself_are_features_by_name_and_pattern(mine: Path) -> None:
    store = load(mine, "audio=:mfcc_*+pitch", "face=@@@face/{video}/{clip}.npy", absent_features="allow")
    assert kind(store, "audio") == ("vector", 3)
    assert store.sample(0, "audio").tolist() == [[0.25, -1, 7]]
    assert np.diff(store.offsets("audio")).tolist() == [1, 0, 1]
    assert store.tiers["audio"] == "table:mfcc_*+pitch"


def test_no_pattern_takes_labels_for_features(mine: Path) -> None:
    store = load(
        mine,
        "audio=:*",
        "face=@@@face/{video}/{clip}.npy",
        split_column="split",
        absent_features="allow",
    )
    assert store.sample(2, "audio").tolist() == [[0.5, 2, 9]]


def test_a_label_beside_the_features_is_none_of_them(mine: Path) -> None:
    text = (mine / "once.csv").read_text().replace("good", "label").replace("gap", "split")
    (mine / "once.csv").write_text(text)
    store = load(mine, "ecg=@@@once.csv#video+clip", split_column="split", absent_features="allow")
    np.testing.assert_allclose(values(store, "ecg"), [[[0.9, 2]], [[0, 3]], [[0.5, 7]]], rtol=1e-6)
    assert any("2 columns (label … split) of `once.csv`" in note for note in store.manifest["notes"])
    stated = load(mine, "ecg=@@@once.csv:label#video+clip")
    assert values(stated, "ecg") == [[[1]], [[1]], [[1]]]


def test_columns_of_other_kinds_of_tables_are_features_too(mine: Path) -> None:
    columns: dict[str, Any] = {"id": ["a", "b"], "label": [1.0, 2.0], "x0": [1, 2], "x1": [0.5, None]}
    pq.write_table(pa.table(columns), mine / "t.parquet")
    np.savez(
        mine / "t.npz", id=np.array(["a", "b"]), label=np.ones(2), x0=np.array([1, 2]), x1=np.array([0.5, 4])
    )
    for source, second in (("t.parquet", [[2, 0]]), ("t.npz", [[2, 4]])):
        store = load(mine, "audio=:x*", source=source, id_columns=("id",), nan="zero")
        assert values(store, "audio") == [[[1, 0.5]], second]


@pytest.mark.parametrize("place", ["@@@face/{video}/{clip}.npy", "@@@face.h5:{video}/{clip}/frames"])
def test_paths_are_made_of_several_columns(place: str, mine: Path) -> None:
    store = load(mine, f"vision={place}")
    assert np.diff(store.offsets("vision")).tolist() == [1, 2, 3]
    assert [store.sample(row, "vision")[0, 0] for row in range(3)] == [0, 1, 2]


def test_arrays_named_by_several_columns_have_times_named_so_too(mine: Path) -> None:
    store = load(mine, "vision=@@@face.h5:{video}/{clip}/frames@@{video}/{clip}/seconds")
    times = store.times("vision")
    assert times is not None
    assert times.tolist() == [0, 0, 1, 0, 1, 2]


def test_transcripts_lie_in_a_file_each(mine: Path) -> None:
    store = load(mine, "vision=@@@face/{video}/{clip}.npy", text_files=f"{mine}/said/{{video}}/{{clip}}.txt")
    assert store.strings("text").tolist() == ["said in v 01", "said in v 02", "said in w 01"]
    assert "{clip}.txt" in [source["file"] for source in store.manifest["sources"]]


def test_a_transcript_that_is_missing_says_nothing_where_that_is_allowed(mine: Path) -> None:
    (mine / "said/v/02.txt").unlink()
    places = ["vision=@@@face/{video}/{clip}.npy"], {"text_files": f"{mine}/said/{{video}}/{{clip}}.txt"}
    with pytest.raises(DataError, match=r"02.txt`, the transcript of sample `v_02`, does not exist"):
        load(mine, *places[0], **places[1])
    store = load(mine, *places[0], **places[1], absent_features="allow")
    assert store.strings("text").tolist() == ["said in v 01", "", "said in w 01"]


def divided(mine: Path, names: tuple[str, str, str], **changed: Callable[[str], str]) -> Path:
    """Put each row of the table into a table of its own in a folder of their own, beside their features."""
    header, *rows = (mine / "t.csv").read_text().splitlines()
    folder = mine / "splits"
    folder.mkdir()
    (mine / "face").rename(folder / "vision")
    for name, row in zip(names, rows, strict=True):
        text = f"{header}\n{row}\n".replace(";split", ";old").replace(";;;", ";1;1;1")
        (folder / name).write_text(changed.get(name.split(".")[0], str)(text))
    return folder


FACE = "vision=@@@splits/vision/{video}/{clip}.npy"


@pytest.mark.parametrize(
    "names", [("train.csv", "valid.csv", "test.csv"), ("my_train.csv", "my-dev.csv", "test_set.tsv")]
)
def test_three_tables_in_a_folder_are_three_splits(names: tuple[str, str, str], mine: Path) -> None:
    divided(mine, names)
    store = load(mine, FACE, "audio=:mfcc_*", source="splits")
    assert store.strings("split").tolist() == ["train", "valid", "test"]
    assert store.labels.tolist() == [1.5, -3, 0]
    assert {source["file"] for source in store.manifest["sources"]} == {*names, "{clip}.npy"}
    assert values(store, "audio")[2] == [[0.5, 2]]


def test_tables_of_splits_can_be_named(mine: Path) -> None:
    folder = divided(mine, ("a.csv", "b.csv", "c.csv"))
    store = load(
        mine,
        FACE,
        source="splits/a.csv",
        split_files={"dev": str(folder / "b.csv"), "test": str(folder / "c.csv")},
    )
    assert store.strings("split").tolist() == ["train", "valid", "test"]


def test_a_table_of_a_split_may_lack_labels(mine: Path) -> None:
    divided(mine, ("train.csv", "dev.csv", "test.csv"), test=lambda text: text.replace(";label;", ";guess;"))
    store = load(mine, FACE, source="splits")
    assert np.isnan(store.labels).tolist() == [False, False, True]
    assert "`test.csv` has no column `label`" in store.manifest["notes"]


def test_ids_that_count_anew_in_each_table_are_told_apart_by_the_split(mine: Path) -> None:
    divided(mine, ("train.csv", "dev.csv", "test.csv"), test=lambda text: text.replace("w;01;0;", "v;01;0;"))
    with pytest.raises(DataError, match=r"test.csv` line 2 has the id `v_01`.*`--id-column split`"):
        load(mine, FACE, source="splits")
    store = load(mine, FACE, source="splits", id_columns=("split", "video", "clip"))
    assert store.strings("id").tolist() == ["train_v_01", "valid_v_02", "test_v_01"]


BAD: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "no names": (("ecg=@@@heart.csv",), {}, "the column that names its samples must be stated"),
    "no order": (("ecg=@@@heart.csv:rate#video+clip",), {}, "3 rows for `v_01` that do not lie together"),
    "no time": (("ecg=@@@heart.csv:rate@@gap#video+clip",), {}, "has nothing for a row of `v_02`"),
    "the table itself": (("a=@@@t.csv:mfcc_*#video+clip",), {}, "take its columns as a=:mfcc_\\*"),
    "names of others": (("ecg=@@@heart.csv:rate@@when#video",), {}, "names none of the table's samples"),
    "no such column": (("ecg=@@@heart.csv:beat#video+clip",), {}, "has no column `beat`"),
    "no numbers": (("ecg=@@@heart.csv:video#clip",), {}, "which is not a number; name the columns to take"),
    "a label": (("audio=:pitch+label",), {}, "takes the column `label`, which is an id, label"),
    "no number in the table": (
        ("audio=:split",),
        {},
        "line 2 has `train` in column `split`, which is not a number",
    ),
    "nothing in the table": (("audio=:x*",), {}, "has no column `x\\*`"),
    "an empty row of the table": (("audio=:mfcc_*",), {}, "no features for sample `v_02`"),
    "no such column in a path": (("v=@@@face/{film}/{clip}.npy",), {}, "has no column `film`"),
    "one transcript": (("audio=:pitch",), {"text_files": "said.txt"}, "must have a column in its path"),
    "no transcript": (
        ("audio=:pitch",),
        {"text_files": "no/{video}.txt", "absent_features": "allow"},
        "names no file that exists",
    ),
    "two transcripts": ((), {"text_files": "x{id}", "text_column": "split"}, "exclude each other"),
    "two ways of splits": (
        (),
        {"split_files": {"test": "t.csv"}, "split_column": "split"},
        "exclude each other",
    ),
    "a split twice": ((), {"split_files": {"train": "t.csv"}}, "`.*t.csv` is one already"),
    "no such split": ((), {"split_files": {"later": "t.csv"}}, "has the split `later`, which is unknown"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_clear_is_refused(name: str, mine: Path) -> None:
    features, options, reason = BAD[name]
    with pytest.raises((ConfigError, DataError), match=reason):
        load(mine, *features, **options)
    assert not (mine / "s" / "store").exists()


def test_a_cell_that_leads_elsewhere_is_refused(mine: Path) -> None:
    (mine / "t.csv").write_text("video;clip;label\n../v;01;1\n")
    with pytest.raises(DataError, match=r"its `video`, `../v`, has a path separator"):
        load(mine, "vision=@@@face/{video}/{clip}.npy")
    (mine / "t.csv").write_text("video;clip;label\n;01;1\n")
    with pytest.raises(DataError, match=r"its `video`, ``, is no name"):
        load(mine, "vision=@@@face/{video}/{clip}.npy")


def test_a_table_that_says_another_split_than_its_name_is_refused(mine: Path) -> None:
    divided(
        mine,
        ("train.csv", "dev.csv", "test.csv"),
        dev=lambda text: text.replace(";old", ";split").replace("valid", "test"),
    )
    with pytest.raises(
        DataError, match=r"dev.csv` line 2 has the split `test`, but its table is that of valid"
    ):
        load(mine, FACE, source="splits")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("audio=:mfcc_*+f0", FeatureSpec("audio", "", ("mfcc_*", "f0"))),
        ("ecg=e.csv#id", FeatureSpec("ecg", "e.csv", ids=("id",))),
        ("ecg=e.parquet:r@ok@@t#a+b", FeatureSpec("ecg", "e.parquet", ("r",), "ok", ("a", "b"), "t")),
        ("v={a}/{b}.npz:{b}", FeatureSpec("v", "{a}/{b}.npz", ("{b}",))),
    ],
)
def test_places_in_tables_are_understood(text: str, parsed: FeatureSpec) -> None:
    assert FeatureSpec.parse(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "audio=:mfcc_*",
        "audio=:mfcc_*+f0",
        "audio=f.npz:lld@offsets@@seconds",
        "audio=f.npz:a+b#person+turn",
        "vision=f.npy",
        "vision=folder/{id}.csv:AU*_r@success",
        "ecg=ecg.csv#id",
        "ecg=ecg.csv:rr*+hr@valid@@time#id",
    ],
)
def test_a_specification_is_written_as_it_is_read(text):
    # A store's recipe keeps what it was imported by in this form.
    assert str(FeatureSpec.parse(text)) == text
