"""The MMSA reader keeps what a file holds, without its padding, and refuses what contradicts itself."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn.data.importing import (
    MmsaOptions,
    TaskOptions,
    TextOptions,
    describe_import,
    detect_layout,
    import_data,
)
from qinn.data.importing import mmsa as module
from qinn.data.stores.store import Store
from qinn.errors import ConfigError, DataError

Content = dict[str, Any]


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("sims", [False, True])
@pytest.mark.parametrize("aligned", [False, True])
def test_every_sample_keeps_its_steps_label_and_names(
    aligned: bool,
    sims: bool,
    protocol: int,
    mmsa: Callable[..., Content],
    pickled: Callable[..., Path],
    tmp_path: Path,
) -> None:
    content = mmsa(aligned=aligned, sims=sims)
    source = pickled(content, protocol=protocol)
    assert detect_layout(source) == "mmsa"
    store = import_data(source, tmp_path / "store", MmsaOptions())
    assert store.task.scale == ("sims" if sims else "mosi")
    assert store.modalities == {"text": 6, "audio": 5, "vision": 4}
    assert store.manifest["splits"] == {"train": 7, "valid": 4, "test": 5}
    rows = store.table.to_pylist()
    row = 0
    for split, part in content.items():
        for at in range(len(part["id"])):
            sample = rows[row]
            assert (sample["id"], sample["split"]) == (part["id"][at], split)
            assert sample["group"] == part["id"][at].split("$_$")[0]
            assert sample["text"] == part["raw_text"][at]
            assert sample["label"] == pytest.approx(float(part["regression_labels"][at]), abs=1e-6)
            assert sample["annotations"] == "Positive"
            text = int(part["text_bert"][at, 1].sum())
            lengths = {
                "text": text,
                "audio": text if aligned else part["audio_lengths"][at],
                "vision": text if aligned else part["vision_lengths"][at],
            }
            for name, length in lengths.items():
                np.testing.assert_array_equal(store.sample(row, name), part[name][at, :length])
            row += 1
    if sims:
        assert rows[0]["label_T"] == pytest.approx(rows[0]["label"] / 2)


def test_labels_in_single_precision_become_the_decimals_that_they_mean(
    mmsa: Callable[..., Content], pickled: Callable[..., Path], tmp_path: Path
) -> None:
    content = mmsa()
    content["train"]["regression_labels"][1] = np.float32(0.1)
    store = import_data(pickled(content), tmp_path / "store", MmsaOptions())
    assert store.table["label"][1].as_py() == 0.1


def test_aligned_padding_is_cut_at_the_front_too_and_modalities_stay_aligned(
    mmsa: Callable[..., Content], pickled: Callable[..., Path], tmp_path: Path
) -> None:
    content = mmsa(aligned=True)
    for part in content.values():
        for name in ("text", "audio", "vision"):
            part[name] = part[name][:, ::-1].copy()
        part["text_bert"] = part["text_bert"][:, :, ::-1].copy()
        part["audio"][:, -1] = 0  # a silent last token: still a step, as the text has one
    store = import_data(pickled(content), tmp_path / "store", MmsaOptions())
    for row in range(7):
        length = int(content["train"]["text_bert"][row, 1].sum())
        for name in ("text", "audio", "vision"):
            np.testing.assert_array_equal(store.sample(row, name), content["train"][name][row, 8 - length :])


def test_without_a_mask_zeros_around_all_modalities_are_padding(
    mmsa: Callable[..., Content], pickled: Callable[..., Path], tmp_path: Path
) -> None:
    content = mmsa(aligned=True)
    lengths = [int(mask.sum()) for mask in content["train"]["text_bert"][:, 1]]
    for part in content.values():
        del part["text_bert"]
    store = import_data(pickled(content), tmp_path / "store", MmsaOptions())
    assert np.diff(store.offsets("vision"))[:7].tolist() == lengths


def test_token_ids_are_kept_when_asked_for(
    mmsa: Callable[..., Content], pickled: Callable[..., Path], tmp_path: Path
) -> None:
    content = mmsa()
    store = import_data(pickled(content), tmp_path / "store", MmsaOptions(text_source="ids"))
    tokens = content["train"]["text_bert"][0]
    assert store.modalities["text"] == 1
    assert store.tiers["text"] == "mmsa:text_bert ids"
    np.testing.assert_array_equal(store.sample(0, "text")[:, 0], tokens[0][tokens[1] == 1])


def test_raw_text_is_encoded_when_asked_for(
    mmsa: Callable[..., Content], pickled: Callable[..., Path], tmp_path: Path, encoder: Any
) -> None:
    content = mmsa()
    done = []
    store = import_data(
        pickled(content),
        tmp_path / "store",
        MmsaOptions(text_source="encode", text=TextOptions(lowercase=True)),
        encoder=encoder,
        progress=lambda count, total: done.append((count, total)),
    )
    assert store.tiers["text"] == "letters/lower"
    assert len(store.sample(0, "text")) == len(content["train"]["raw_text"][0].split())
    assert not store.sample(0, "text")[:, 1].any()
    assert store.table["text"][0].as_py().isupper()
    assert done[-1] == (16, 16)


def test_classes_can_be_taken_instead_of_scores(
    mmsa: Callable[..., Content], pickled: Callable[..., Path], tmp_path: Path
) -> None:
    task = TaskOptions("classification", label_map={"0": "negative", "1": "neutral", "2": "positive"})
    store = import_data(pickled(mmsa()), tmp_path / "store", MmsaOptions(task=task, modalities=("vision",)))
    assert store.task.classes == ("negative", "neutral", "positive")
    assert store.modalities == {"vision": 4}
    assert store.table["label"][0].as_py() == 2


def test_a_modality_of_zeros_counts_as_absent(
    mmsa: Callable[..., Content], pickled: Callable[..., Path], tmp_path: Path
) -> None:
    content = mmsa()
    content["train"]["vision"][2] = 0
    content["train"]["audio_lengths"][3] = 0
    store = import_data(pickled(content), tmp_path / "store", MmsaOptions())
    assert len(store.sample(2, "vision")) == 0
    assert len(store.sample(3, "audio")) == 0
    assert any("1 samples have nothing but zeros in `vision`" in note for note in store.manifest["notes"])
    assert any("1 sequences of `audio` hold values beyond" in note for note in store.manifest["notes"])


@pytest.mark.parametrize(
    ("policy", "steps", "note"),
    [("zero", 0, "1 NaN or infinite values"), ("drop-step", 1, "1 steps of `audio`")],
)
def test_infinite_values_are_treated_by_the_stated_policy(
    policy: Any,
    steps: int,
    note: str,
    mmsa: Callable[..., Content],
    pickled: Callable[..., Path],
    tmp_path: Path,
) -> None:
    content = mmsa()
    content["train"]["audio"][0, 1, 2] = -np.inf
    store = import_data(pickled(content), tmp_path / "store", MmsaOptions(nan=policy))
    assert len(store.sample(0, "audio")) == content["train"]["audio_lengths"][0] - steps
    assert any(text.startswith(note) for text in store.manifest["notes"])


def test_official_sizes_and_files_are_recognised(
    mmsa: Callable[..., Content],
    pickled: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = pickled(mmsa((3, 2, 2)))
    monkeypatch.setitem(module.OFFICIAL_SPLITS, (3, 2, 2), "TINY")
    monkeypatch.setitem(module.OFFICIAL_FILES, module.Source.of(source).sha256, "TINY unaligned")
    store = import_data(source, tmp_path / "store", MmsaOptions())
    notes = store.manifest["notes"]
    assert describe_import(store)[1] == "splits: 3 train, 2 valid, 2 test; the official sizes of TINY"
    assert "the file is the official TINY unaligned (same SHA-256)" in notes
    assert "split sizes 3 / 2 / 2 are the official ones of TINY" in notes


@pytest.mark.slow
def test_a_file_of_official_size_goes_through_in_reasonable_time(
    mmsa: Callable[..., Content], pickled: Callable[..., Path], tmp_path: Path
) -> None:
    source = pickled(mmsa((1284, 229, 686), dims=(768, 5, 20)))
    start = time.process_time()
    store = import_data(source, tmp_path / "store", MmsaOptions())
    assert time.process_time() - start < 15
    assert "split sizes 1284 / 229 / 686 are the official ones of MOSI" in store.manifest["notes"]


def change(part: str, key: str, value: Any) -> Callable[[Content], None]:
    def apply(content: Content) -> None:
        content[part][key] = value(content[part][key]) if callable(value) else value

    return apply


def remove(part: str, key: str) -> Callable[[Content], None]:
    return lambda content: content[part].pop(key)


def first(value: Any) -> Callable[[Any], Any]:
    def apply(values: Any) -> Any:
        values[0] = value
        return values

    return apply


def with_value(position: tuple[int, ...], value: float) -> Callable[[np.ndarray], np.ndarray]:
    def apply(values: np.ndarray) -> np.ndarray:
        values[position] = value
        return values

    return apply


BAD = {
    "no audio": (remove("valid", "audio"), "[valid] has no key `audio`"),
    "no ids": (remove("train", "id"), "[train] has no key `id`"),
    "no vision lengths": (remove("train", "vision_lengths"), None),
    "two axes": (
        change("train", "audio", lambda array: array[:, 0]),
        "has the length 3 under `audio_lengths`, but `audio` has 1 steps",
    ),
    "list for array": (
        change("train", "vision", lambda array: array[:, 0, 0].tolist()),
        "`vision`, but it is list",
    ),
    "text array": (
        change("train", "audio", lambda array: array.astype(str)),
        "under `audio`, but it is shape",
    ),
    "fewer rows": (
        change("train", "audio", lambda array: array[:-1]),
        "has 6 entries under `audio`, but 7 ids",
    ),
    "fewer labels": (
        change("train", "regression_labels", lambda array: array[:-1]),
        "has 6 entries under `regression_labels`",
    ),
    "other width": (change("valid", "audio", lambda array: array[..., :3]), "3 features in `audio`, but"),
    "no width": (change("valid", "audio", lambda array: array[..., :0]), "empty shape"),
    "length beyond": (change("train", "audio_lengths", first(99)), "`train0$_$0` has the length 99"),
    "length below": (change("train", "audio_lengths", first(-1)), "length -1"),
    "length half": (change("train", "audio_lengths", first(1.5)), "whole numbers under `audio_lengths`"),
    "length without end": (
        change("train", "audio_lengths", first(np.inf)),
        "whole numbers under `audio_lengths`",
    ),
    "unimodal labels of text": (
        lambda content: content["train"].update(regression_labels_T=["a"] * 7),
        "numbers under `regression_labels_T`",
    ),
    "nested lengths": (change("train", "audio_lengths", first([1])), "flat list under `audio_lengths`"),
    "label out of scale": (change("train", "regression_labels", with_value((1,), 3.5)), "label 3.5"),
    "NaN label": (change("train", "regression_labels", with_value((1,), np.nan)), "label nan"),
    "NaN": (change("train", "audio", with_value((0, 1, 2), np.nan)), "`train0$_$0` has the value nan"),
    "infinity": (change("test", "text", with_value((0, 0, 0), np.inf)), "value inf"),
    "text_bert of two rows": (change("train", "text_bert", lambda array: array[:, :2]), "(n, 3, length)"),
    "mask of twos": (change("train", "text_bert", with_value((0, 1, 0), 2)), "one run of 1"),
    "mask with a hole": (change("train", "text_bert", with_value((0, 1, 1), 0)), "one run of 1"),
    "token of a half": (change("train", "text_bert", with_value((0, 0, 1), 0.5)), "no whole numbers"),
    "same id twice": (change("train", "id", first("train0$_$1")), "twice"),
    "id in two splits": (change("test", "id", first("train0$_$1")), "twice"),
    "unknown split": (lambda content: content.update(extra=content["train"]), "`extra`, which is unknown"),
    "same split twice": (lambda content: content.update(dev=content["valid"]), "two parts for one split"),
    "some aligned": (
        lambda content: (
            [content["train"].pop(f"{name}_lengths") for name in ("audio", "vision")]
            and content["train"].update(
                audio=content["train"]["audio"][:, :8], vision=content["train"]["vision"][:, :8]
            )
        ),
        "differ in whether",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_contradicts_itself_is_refused_and_leaves_no_store(
    name: str, mmsa: Callable[..., Content], pickled: Callable[..., Path], tmp_path: Path
) -> None:
    content = mmsa()
    spoil, reason = BAD[name]
    spoil(content)
    source, target = pickled(content), tmp_path / "stores" / "store"
    if reason is None:
        assert isinstance(import_data(source, target, MmsaOptions()), Store)
        return
    with pytest.raises(DataError) as refusal:
        import_data(source, target, MmsaOptions())
    assert reason in str(refusal.value)
    assert "data.pkl" in str(refusal.value)
    assert not target.exists()
    assert not target.parent.exists() or not list(target.parent.iterdir())


OPTIONS = {
    "unknown modality": ({"modalities": ("smell",)}, "some of text, audio, vision"),
    "no modality": ({"modalities": ()}, "some of text, audio, vision"),
    "unknown text": ({"text_source": "bert"}, "vectors, encode or ids"),
    "unknown policy": ({"nan": "ignore"}, "refuse, zero or drop-step"),
    "no encoder": ({"text_source": "encode"}, "text encoder is given"),
    "half a range": ({"task": {"low": 0.0}}, "both ends"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_can_not_be_are_refused(
    name: str, mmsa: Callable[..., Content], pickled: Callable[..., Path], tmp_path: Path
) -> None:
    options, reason = OPTIONS[name]
    source = pickled(mmsa())

    def run() -> None:
        task = TaskOptions(**options.get("task", {}))
        import_data(source, tmp_path / "store", MmsaOptions(**{**options, "task": task}))

    with pytest.raises(ConfigError, match=reason):
        run()


def test_what_text_needs_must_be_there(
    mmsa: Callable[..., Content], pickled: Callable[..., Path], tmp_path: Path, encoder: Any
) -> None:
    content = mmsa()
    for part in content.values():
        del part["text_bert"], part["raw_text"]
    source = pickled(content)
    with pytest.raises(DataError, match="`text_bert`, whose token ids"):
        import_data(source, tmp_path / "store", MmsaOptions(text_source="ids"))
    with pytest.raises(DataError, match="`raw_text` to encode"):
        import_data(source, tmp_path / "store", MmsaOptions(text_source="encode"), encoder=encoder)
    assert import_data(source, tmp_path / "store", MmsaOptions()).table["text"][0].as_py() == ""


def test_a_scale_that_the_labels_do_not_tell_must_be_stated(
    mmsa: Callable[..., Content], pickled: Callable[..., Path], tmp_path: Path
) -> None:
    content = mmsa()
    for part in content.values():
        part["regression_labels"] = part["regression_labels"] / 3
    source = pickled(content)
    with pytest.raises(ConfigError, match="state it: mosi or sims"):
        import_data(source, tmp_path / "store", MmsaOptions())
    assert import_data(source, tmp_path / "store", MmsaOptions(task=TaskOptions(scale="mosi"))).task.high == 3


def test_other_pickles_are_no_mmsa_files(pickled: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="MMSA layout"):
        import_data(pickled({"train": [1], "test": []}), tmp_path / "store", MmsaOptions())
