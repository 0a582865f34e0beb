"""A layout says what it is; its command, its table of options and the way into the store follow from that."""

import ast
import inspect
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from layout_files import LAYOUT_FILES, write_files
from option_tables import PAGE, tables, written
from typer.testing import CliRunner

from qinn.cli.application import app
from qinn.data.importing import LAYOUTS, TableOptions, TaskOptions, import_data
from qinn.data.importing.reader import COMMON, ImportOptions
from qinn.data.stores.store import Store
from qinn.errors import ConfigError
from qinn.stated_options import made, options_of

WRITING = {
    "typer",
    "StoreWriter",
    "Intake",
    "StepCleaner",
    "qinn.data.importing.driver",
    "qinn.data.stores.writing",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_knows_neither_the_command_line_nor_the_writing(layout):
    tree = ast.parse(inspect.getsource(sys.modules[LAYOUTS[layout].open.__module__]))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {node.module, *(name.name for name in node.names)}
    assert imported
    assert not imported & WRITING
    named = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    assert not named & {"target", "writer", "progress", "overwrite"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_option_called_common_is_in_every_layout(layout):
    common = {one.flag for one in options_of(ImportOptions)}
    assert {
        "--task",
        "--scale",
        "--range",
        "--classes",
        "--label-map",
        "--drop-label",
        "--nan",
        "--empty",
    } <= common
    assert common <= {one.flag for one in options_of(LAYOUTS[layout].options)}
    shown = CliRunner().invoke(app, ["data", "import", layout, "--help"], env={"COLUMNS": "200"}).output
    for one in options_of(LAYOUTS[layout].options):
        assert one.flag in shown
        assert one.meaning


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_field_of_the_options_is_an_option(layout):
    places = {one.place[0] for one in options_of(LAYOUTS[layout].options)}
    # Whether labels are read is what new samples are, and nobody's choice.
    assert places | {"reads_labels"} == {one.name for one in fields(LAYOUTS[layout].options)}
    assert set(COMMON) == {"task", "nan", "empty", "extractors"}


def test_the_tables_of_the_page_are_those_of_the_classes():
    page = PAGE.read_text(encoding="utf-8")
    assert set(tables()) == {"every layout", "text", *LAYOUTS}
    assert written(page) == page, "run `python benchmarks/option_tables.py`"


@pytest.mark.parametrize(
    "name", ["misa MOSI", "mfn MOSI", "csd MOSI", "table npz", "mmsa CH-SIMS", "mult MOSI aligned"]
)
def test_samples_can_be_left_out_by_their_label_in_every_layout(name, tmp_path):
    arguments = [*write_files(LAYOUT_FILES[name].tiny(), tmp_path / "files"), "--to", str(tmp_path / "all")]
    assert CliRunner().invoke(app, ["data", "import", *arguments]).exit_code == 0
    whole = Store.open(tmp_path / "all")
    label = float(whole.labels[0])
    arguments[-1] = str(tmp_path / "rest")
    found = CliRunner().invoke(app, ["data", "import", *arguments, "--drop-label", f"{label:.7g}"])
    assert found.exit_code == 0, found.output
    rest = Store.open(tmp_path / "rest")
    left = [row for row in range(len(whole)) if float(whole.labels[row]) != label]
    assert 0 < len(left) < len(whole)
    assert list(rest.strings("id")) == [whole.strings("id")[row] for row in left]
    for name in whole.modalities:
        assert rest.sample(len(left) - 1, name).tolist() == whole.sample(left[-1], name).tolist()


def test_what_is_left_out_as_empty_takes_its_own_label_and_columns_with_it(tmp_path):
    (tmp_path / "t.csv").write_text(
        "id,label,split,fold,text,more\na,1,train,f,ta,ma\nb,2,valid,g,tb,mb\nc,3,test,h,tc,mc\n"
    )
    np.savez(tmp_path / "v.npz", x=np.ones((3, 2)), n=np.array([0, 1, 3]), o=np.array([0, 0, 1, 3]))
    options = TableOptions(
        task=TaskOptions(scale="mosi"),
        features=(f"audio={tmp_path}/v.npz:x@o",),
        split_column="split",
        fold_column="fold",
        group_pattern="(.)",
        text_column="text",
        extra_columns=("more",),
        empty="drop",
    )
    told: list[tuple[int, int]] = []
    store = import_data(
        tmp_path / "t.csv", tmp_path / "s", options, progress=lambda *count: told.append(count)
    )
    assert store.table.select(["id", "label", "split", "fold", "group", "text", "more"]).to_pylist() == [
        {"id": "b", "label": 2.0, "split": "valid", "fold": "g", "group": "b", "text": "tb", "more": "mb"},
        {"id": "c", "label": 3.0, "split": "test", "fold": "h", "group": "c", "text": "tc", "more": "mc"},
    ]
    assert [len(store.sample(row, "audio")) for row in range(2)] == [1, 2]
    assert told == [(3, 3)]
    assert "1 sample without a step in any modality was left out" in store.manifest["notes"]


@pytest.mark.parametrize(
    ("typed", "task"),
    [
        ({}, TaskOptions(scale="mosi")),
        ({"drop_label": ["9"]}, TaskOptions(scale="mosi", drop_labels=("9",))),
        ({"range": (1.0, 5.0)}, TaskOptions(low=1.0, high=5.0)),
        ({"task": "classification"}, TaskOptions("classification")),
        ({"scale": "sims"}, TaskOptions(scale="sims")),
    ],
)
@pytest.mark.parametrize("layout", ["mult", "misa", "csd"])
def test_the_scale_of_a_layout_gives_way_to_what_is_typed(layout, typed, task):
    assert made(LAYOUTS[layout].options, typed).task == task


def test_what_is_typed_becomes_the_options():
    typed = {
        "feature": ["audio=a.npy"],
        "id_column": [],
        "no_labels": True,
        "classes": "a, b",
        "task": "classification",
    }
    typed |= {"label_map": ["1=a,2=b"], "text_unit": "words", "text_words": "w.npz:w@o", "lowercase": True}
    options = made(TableOptions, typed)
    assert (options.features, options.id_columns, options.label_column) == (("audio=a.npy",), ("id",), None)
    assert (options.task.classes, options.task.label_map) == (("a", "b"), {"1": "a", "2": "b"})
    assert (options.text.unit, options.text.lowercase, options.words) == ("words", True, "w.npz:w@o")


def test_options_of_no_layout_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="must be the options of a layout"):
        import_data(tmp_path, tmp_path / "s", ImportOptions())
