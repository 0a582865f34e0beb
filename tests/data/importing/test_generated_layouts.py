"""Generated files of every layout are found, imported whole by the command line, and said to be what they are."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from layout_files import LAYOUT_FILES, write_files
from streamed_pickle import Streamed, dump
from typer.testing import CliRunner

from qinn.cli.application import app
from qinn.data.importing import LAYOUTS, detect_layout
from qinn.data.stores.store import Store


@pytest.mark.parametrize("name", LAYOUT_FILES)
def test_every_layout_is_found_and_arrives_whole(name: str, tmp_path: Path) -> None:
    spec = LAYOUT_FILES[name].tiny()
    arguments = write_files(spec, tmp_path / "files")
    assert detect_layout(arguments[0]) == spec.layout
    result = CliRunner().invoke(app, ["data", "import", *arguments, "--to", str(tmp_path / "store")])
    assert result.exit_code == 0, result.output
    store = Store.open(tmp_path / "store")
    assert store.manifest["layout"] == spec.layout
    assert store.manifest["splits"] == dict(zip(("train", "valid", "test"), spec.sizes, strict=True))
    assert store.task.low == spec.low
    assert store.manifest["label_range"] == [spec.low, -spec.low]
    wanted = {key: dim for key, dim in spec.dims.items() if not (name == "misa MOSI" and key == "text")}
    assert store.modalities == wanted
    for modality in wanted:
        assert np.abs(store.values(modality)).max() < 100
    for line in (
        f"layout: {spec.layout}",
        "splits: 12 train, 5 valid, 6 test",
        ", scores on the scale",
    ):
        assert line in result.output
    for modality, dim in wanted.items():
        assert f"  {modality}: {dim} features" in result.output


@pytest.mark.parametrize("name", ["mmsa MOSI aligned", "mult MOSI noalign"])
def test_a_named_layout_and_a_found_one_make_the_same_store(name: str, tmp_path: Path) -> None:
    arguments = write_files(LAYOUT_FILES[name].tiny(), tmp_path / "files")
    layout = LAYOUT_FILES[name].layout
    stores = []
    for at, first in enumerate(([], ["auto"], [layout])):
        target = tmp_path / f"store{at}"
        result = CliRunner().invoke(
            app, ["data", "import", *first, *arguments, "--to", str(target), "--name", "x"]
        )
        assert result.exit_code == 0, result.output
        assert ("has the layout" in result.output) == (first != [layout])
        stores.append(Store.open(target).sha256)
    assert len(set(stores)) == 1


@pytest.mark.parametrize(
    "arguments", [["nothing.pkl"], ["msa", "nothing.pkl"], ["auto"], ["auto", "nothing.pkl"]]
)
def test_what_is_neither_a_layout_nor_a_source_is_refused(arguments: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["data", "import", *arguments, "--to", str(tmp_path / "store")])
    assert result.exit_code == 2
    assert "neither a layout" in result.output
    assert all(layout in result.output for layout in LAYOUTS)


def test_the_generated_bytes_are_those_of_a_pickle_that_was_dumped(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {
        "large": generator.normal(size=(7, 60, 50)).astype(np.float32),
        "small": np.arange(6.0).reshape(2, 3),
        "middle": np.arange(100, dtype=np.int16),
    }
    streamed = {
        name: Streamed(array.shape, array.dtype, lambda array=array: np.array_split(array, 2))
        for name, array in arrays.items()
    }
    file = io.BytesIO()
    dump({"train": streamed, "ids": ["a", "b"]}, file)
    assert file.getvalue() == pickle.dumps({"train": arrays, "ids": ["a", "b"]}, 4)
