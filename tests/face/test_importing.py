"""Files are imported from Python as by the command."""

import numpy as np
import pytest

import qinn
from qinn.errors import ConfigError, OutputError


@pytest.fixture
def table(tmp_path):
    np.savez(tmp_path / "face.npz", means=np.arange(12.0).reshape(6, 2))
    rows = [
        f"c{row},{label},{split}" for row, (label, split) in enumerate(zip("012012", "abbabb", strict=True))
    ]
    path = tmp_path / "clips.csv"
    path.write_text("\n".join(["id,label,who", *rows]))
    return path


def test_options_have_the_names_and_meaning_of_the_commands(table, tmp_path):
    options = {
        "task": "classification",
        "label_map": {"0": "bad", "1": "fine", "2": "good"},
        "classes": ["bad", "fine", "good"],
        "group_column": "who",
        "feature": f"vision={tmp_path / 'face.npz'}:means",
    }
    store = qinn.import_data(table, tmp_path / "store", **options)
    assert store.task.classes == ("bad", "fine", "good")
    assert store.modalities == {"vision": 2}
    assert sorted(set(store.strings("group"))) == ["a", "b"]
    with pytest.raises(OutputError):
        qinn.import_data(table, tmp_path / "store", **options)
    assert len(qinn.import_data(table, str(tmp_path / "store"), "table", overwrite=True, **options)) == 6


def test_unknown_layouts_and_options_are_refused_in_one_sentence(table, tmp_path):
    with pytest.raises(ConfigError, match="did you mean `table`"):
        qinn.import_data(table, tmp_path / "store", "tables")
    with pytest.raises(ConfigError, match=r"no option `group_colum` .did you mean `group_column`"):
        qinn.import_data(table, tmp_path / "store", group_colum="who")
    assert not (tmp_path / "store").exists()
