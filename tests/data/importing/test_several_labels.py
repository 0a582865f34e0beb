"""MAG-BERT's file of all splits, and files with several labels per sample, of which one is taken."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn.data.importing import MfnOptions, MisaOptions, MultOptions, TaskOptions, detect_layout, import_data
from qinn.data.stores.store import Store
from qinn.errors import ConfigError, DataError


def magbert(labels: int = 1, sizes: tuple[int, int, int] = (5, 2, 3)) -> dict[str, Any]:
    """Content of a file as BERT_multimodal_transformer reads it: ((words, visual, acoustic), label, segment)."""
    random = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for split, size in zip(("train", "dev", "test"), sizes, strict=True):
        content[split] = []
        for row in range(size):
            steps = int(random.integers(1, 6))
            words = [f"word{at}" for at in range(steps)]
            arrays = random.normal(size=(steps, 4)), random.normal(size=(steps, 3))
            label = np.array([[row - 2.0 + 10 * at for at in range(labels)]], np.float32)
            content[split].append(((words, *arrays), label, f"{split}_video[{row}]"))
    return content


def load(file: Path, encoder: Any = None, **options: Any) -> Store:
    options = {} if encoder else {"modalities": ("audio", "vision")} | options
    return import_data(file, file.parent / "store", MisaOptions(**options), encoder=encoder, overwrite=True)


def test_all_splits_of_magbert_lie_in_one_file(pickled: Any, encoder: Any) -> None:
    content = magbert()
    file = pickled(content, "mosi.pkl")
    assert detect_layout(file) == "misa"
    store = load(file, encoder)
    assert store.manifest["splits"] == {"train": 5, "valid": 2, "test": 3}
    assert store.labels.tolist()[:5] == [-2, -1, 0, 1, 2]
    assert store.strings("text")[0] == " ".join(content["train"][0][0][0])
    assert store.strings("group")[9] == "test_video"
    np.testing.assert_allclose(store.sample(6, "vision"), content["dev"][1][0][1], rtol=1e-6)
    np.testing.assert_allclose(store.sample(6, "audio"), content["dev"][1][0][2], rtol=1e-6)
    assert len(store.sample(6, "text")) == len(content["dev"][1][0][0])


@pytest.mark.parametrize("label", [1.5, np.float32(1.5), np.array(1.5), np.array([[1.5]]), 1, None], ids=repr)
def test_a_label_of_magbert_is_a_number_an_array_or_nothing(label: Any, pickled: Any) -> None:
    content = magbert()
    content["test"][0] = (content["test"][0][0], label, "test_video[0]")
    found = load(pickled(content)).labels[7]
    assert np.isnan(found) if label is None else found == np.asarray(label).item()


def test_words_may_be_bytes_or_an_array_and_a_split_empty(pickled: Any, encoder: Any) -> None:
    content = magbert()
    (words, *arrays), label, segment = content["train"][0]
    content["train"][0] = ((np.array(words), *arrays), label, segment)
    (words, *arrays), label, segment = content["train"][1]
    content["train"][1] = (([word.encode() for word in words], *arrays), label, segment)
    content["dev"] = []
    store = load(pickled(content), encoder)
    assert store.manifest["splits"] == {"train": 5, "test": 3}
    assert store.strings("text")[1].startswith("word0")


@pytest.mark.parametrize(
    ("spoil", "options", "reason"),
    [
        (lambda c: c["dev"][1][0][0].append("more"), {}, "the same steps throughout"),
        (lambda c: c.update(later=c.pop("dev")), {}, "the split `later`, which is unknown"),
        (lambda c: None, {"split": "train"}, "names its splits itself, train, dev, test; leave `split` out"),
        (lambda c: c.update(dev={}), {}, "does not have the MISA layout"),
        (lambda c: None, {"label_index": 1}, "1 label per sample, numbered from 0; there is no 1"),
    ],
)
def test_what_contradicts_itself_is_refused(spoil: Any, options: Any, reason: str, pickled: Any) -> None:
    content = magbert()
    spoil(content)
    with pytest.raises((DataError, ConfigError), match=reason):
        load(pickled(content), **options)


def test_the_first_of_several_labels_is_taken_with_a_note_and_others_by_their_number(pickled: Any) -> None:
    file = pickled(magbert(labels=7))
    store = load(file)
    assert store.labels.tolist()[:2] == [-2, -1]
    note = "the first of 7 labels is taken, by default; others are chosen by `--label-index`"
    assert note in store.manifest["notes"]
    wide = TaskOptions(scale="plain", low=-100, high=100)
    store = load(file, label_index=6, task=wide)
    assert store.labels.tolist()[:2] == [58, 59]
    assert note not in store.manifest["notes"]


def mfn(folder: Path, labels: np.ndarray) -> Path:
    import h5py

    for split in ("train", "valid", "test"):
        with h5py.File(folder / f"audio_{split}.h5", "w") as file:
            file["d1"] = np.ones((len(labels), 2, 3))
        with h5py.File(folder / f"y_{split}.h5", "w") as file:
            file["d1"] = labels
    return folder


POM = np.array([[1.5, -2, 0.25], [2, 3, 1]], np.float32)
IEMOCAP = np.array([[[1, 0], [0, 1]], [[0, 1], [0, 1]]])


def test_one_of_several_labels_of_mfn_is_taken(tmp_path: Path) -> None:
    folder = mfn(tmp_path, POM)
    store = import_data(folder, tmp_path / "s", MfnOptions(label_index=2, task=TaskOptions(scale="mosi")))
    assert store.labels.tolist() == [0.25, 1] * 3
    with pytest.raises(ConfigError, match=r"labels of the shape \(2, 3\).* by `--label-index`, 0 to 2"):
        import_data(folder, tmp_path / "t", MfnOptions(task=TaskOptions(scale="mosi")))
    with pytest.raises(ConfigError, match="3 labels per sample, numbered from 0; there is no 3"):
        import_data(folder, tmp_path / "t", MfnOptions(label_index=3, task=TaskOptions(scale="mosi")))


def test_classes_of_mfn_may_be_one_hot(tmp_path: Path) -> None:
    task = TaskOptions("classification", label_map={"0": "no", "1": "yes"})
    store = import_data(mfn(tmp_path, IEMOCAP), tmp_path / "s", MfnOptions(label_index=0, task=task))
    assert [store.task.classes[label] for label in store.labels] == ["no", "yes"] * 3


def test_single_precision_labels_keep_their_decimal_in_every_layout(tmp_path: Path, pickled: Any) -> None:
    labels = np.array([[1.8, 0], [-0.2, 1]], np.float32)
    content = magbert(sizes=(1, 1, 1))
    content["train"][0] = (content["train"][0][0], labels[:1], "v[0]")
    part = {"audio": np.ones((2, 3, 2)), "labels": labels[:, :1, None]}
    folder = tmp_path / "mfn"
    folder.mkdir()
    mosi = TaskOptions(scale="mosi")
    stores = [
        import_data(mfn(folder, labels), tmp_path / "a", MfnOptions(label_index=0, task=mosi)),
        load(pickled(content)),
        import_data(pickled({"train": part, "test": part}, "b.pkl"), tmp_path / "b", MultOptions()),
    ]
    assert [store.labels[0] for store in stores] == [1.8, 1.8, 1.8]
