"""What an explanation says of a class or label is called by its name, wherever it stands; files of before are read."""

import json
import re
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

import qinn
from qinn import cli
from qinn.results.explanation import read_explanation

ENTROPY = ("entropy", "mutual_information", "negativity")


@pytest.fixture(scope="module")
def explained(class_run, tmp_path_factory):
    """An explanation of classes, and what its command printed."""
    folder = tmp_path_factory.mktemp("explained") / "why"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        patch.setattr(sys, "argv", ["qinn", "explain", str(class_run), "--to", str(folder)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
    return folder


def test_no_table_calls_an_output_by_its_number(explained, class_run, tmp_path):
    table = pq.read_table(explained / "explanation.parquet")
    content = json.loads((explained / "explanation.json").read_text())
    classes = qinn.describe(class_run)["data"]["task"]["classes"]
    assert content["outputs"] == list(classes) == ["negative", "positive"]
    numeric = {name for name in table.column_names if not name.startswith(ENTROPY)} - {"id", "absent"}
    assert numeric == {f"logit:{name}" for name in classes} | {
        f"counterfactual:{removal}:{name}" for removal in content["counterfactuals"] for name in classes
    }
    assert numeric < set(content["mean"])
    page = qinn.write_report([class_run], tmp_path / "report").read_text()
    for text in (*table.column_names, json.dumps(content), page):
        assert not re.search(r"output_\d|:no \w+_\d", text)


def test_explanations_of_version_1_are_read_as_they_were(explained, tmp_path):
    new = read_explanation(explained)
    table = pq.read_table(explained / "explanation.parquet")

    def numbered(name: str) -> str:
        for index, own in enumerate(("negative", "positive")):
            if name == f"logit:{own}":
                return f"output_{index}"
            if name.startswith("counterfactual:") and name.endswith(f":{own}"):
                return name.removesuffix(f":{own}") + f"_{index}"
        return name

    pq.write_table(table.rename_columns([numbered(name) for name in table.column_names]),
                   tmp_path / "explanation.parquet")  # fmt: skip
    content = json.loads((explained / "explanation.json").read_text())
    for key in ("version", "outputs", "format"):
        content.pop(key)
    (tmp_path / "explanation.json").write_text(json.dumps(content))
    old = read_explanation(tmp_path)
    np.testing.assert_array_equal(old.output, new.output)
    for name, values in new.counterfactuals.items():
        np.testing.assert_array_equal(old.counterfactuals[name], values)
