"""Sources in the layouts that the readers know, generated small."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest


class LetterEncoder:
    """Encodes a token by its length and its position: enough to see which text went where."""

    tier = "letters"
    dim = 2

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        return self.encode_words([text.split() for text in texts])

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        return [
            np.array(
                [[len(word), word.isupper()] for word in words],
                np.float32,
            ).reshape(-1, 2)
            for words in sentences
        ]


@pytest.fixture
def encoder() -> LetterEncoder:
    return LetterEncoder()


def mmsa_part(
    split: str, size: int, *, aligned: bool, sims: bool, dims: tuple[int, int, int], seed: int
) -> dict[str, Any]:
    """One split of an MMSA file: text lengths 3 … 8 of 8 (with the two special tokens), padding by zeros."""
    generator = np.random.default_rng(seed)
    longest = {"text": 8, "audio": 8 if aligned else 12, "vision": 8 if aligned else 10}
    lengths = {name: generator.integers(3, steps + 1, size) for name, steps in longest.items()}
    if aligned:
        lengths["audio"] = lengths["vision"] = lengths["text"]
    part: dict[str, Any] = {}
    for name, dim in zip(("text", "audio", "vision"), dims, strict=True):
        values = generator.normal(size=(size, longest[name], dim)).astype(np.float32)
        values[np.arange(longest[name]) >= lengths[name][:, None]] = 0
        part[name] = values
    mask = (np.arange(8) < lengths["text"][:, None]).astype(np.int64)
    tokens = generator.integers(1000, 20000, (size, 8)) * mask
    part["text_bert"] = np.stack([tokens, mask, np.zeros_like(mask)], axis=1).astype(np.float32)
    part["id"] = [f"{split}{row // 3}$_${row % 3}" for row in range(size)]
    part["raw_text"] = np.array([" ".join(["WORD"] * (length - 2)) for length in lengths["text"]])
    part["annotations"] = ["Positive"] * size
    bound = 1 if sims else 3
    part["regression_labels"] = generator.integers(-5 * bound, 5 * bound + 1, size).astype(np.float32) / 5
    part["regression_labels"][0] = bound
    part["classification_labels"] = (np.sign(part["regression_labels"]) + 1).astype(np.float32)
    if not aligned:
        part["audio_lengths"] = lengths["audio"].tolist()
        part["vision_lengths"] = lengths["vision"]
    if sims:
        for suffix in "TAV":
            part[f"regression_labels_{suffix}"] = part["regression_labels"] * 0.5
    return part


@pytest.fixture
def mmsa() -> Callable[..., dict[str, Any]]:
    """Content of an MMSA file."""

    def content(
        sizes: tuple[int, int, int] = (7, 4, 5),
        *,
        aligned: bool = False,
        sims: bool = False,
        dims: tuple[int, int, int] = (6, 5, 4),
    ) -> dict[str, Any]:
        return {
            split: mmsa_part(split, size, aligned=aligned, sims=sims, dims=dims, seed=seed)
            for seed, (split, size) in enumerate(zip(("train", "valid", "test"), sizes, strict=True))
        }

    return content


@pytest.fixture
def pickled(tmp_path: Path) -> Callable[..., Path]:
    """Write a pickle and return its path."""

    def write(content: Any, name: str = "data.pkl", protocol: int = 4) -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(pickle.dumps(content, protocol))
        return file

    return write


@pytest.fixture
def misa() -> Callable[..., list[Any]]:
    """Content of one MISA file."""

    def content(
        name: str = "v", size: int = 5, *, words: bool = True, labels: int = 1, seed: int = 0
    ) -> list[Any]:
        generator = np.random.default_rng(seed)
        samples = []
        for row in range(size):
            steps = int(generator.integers(1, 7))
            arrays = (
                np.arange(steps),
                generator.normal(size=(steps, 4)).astype(np.float32),
                generator.normal(size=(steps, 3)).astype(np.float32),
            )
            spoken = ([f"w{index}" for index in range(steps)],) if words else ()
            label = np.full((1, labels), row - 2.0, np.float32)
            samples.append(((*arrays, *spoken), label, f"{name}{row // 2}[{row}]"))
        return samples

    return content


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A folder with a table of four samples and features in every form."""
    import h5py

    (tmp_path / "t.csv").write_text(
        "id,label,split,group,fold,text,score\n"
        "a,1.5,train,p,0,HELLO BIG WORLD,7\n"
        'b,-3,valid,q,1,"one, two",8\n'
        "c,,test,q,0,x,9\n"
        "d,0,train,p,1,y z,10\n"
    )
    steps = np.arange(10, dtype=np.float64)[:, None] * [1, 10]
    padded = np.zeros((4, 5, 2), np.float32)
    for row, (start, stop) in enumerate([(0, 3), (3, 4), (4, 4), (4, 10)]):
        padded[row, : min(stop - start, 5)] = (steps[start:stop] + 1)[:5]
    arrays = {
        "vectors": np.arange(12, dtype=np.float16).reshape(4, 3),
        "scalar": np.arange(4),
        "steps": steps,
        "offsets": np.array([0, 3, 4, 4, 10]),
        "padded": padded,
        "lengths": np.array([3, 1, 0, 5]),
        "words": np.array(["HELLO", "BIG", "WORLD", "one", "x", "y", "z"]),
        "word_offsets": np.array([0, 3, 4, 5, 7]),
        "label": np.array([1.5, -3, 0.1, 0], np.float32),
    }
    np.savez_compressed(tmp_path / "f.npz", **arrays)
    # The same arrays, with the table's ids in another order beside them.
    names = np.array(["d", "c", "b", "a"])
    np.savez_compressed(tmp_path / "named.npz", **arrays, id=names, first=names)
    np.save(tmp_path / "v.npy", np.arange(8.0).reshape(4, 2))
    with h5py.File(tmp_path / "named.h5", "w") as file:
        file["group/vectors"] = np.arange(12.0).reshape(4, 3)
        file["id"] = ["d", "c", "b", "a"]
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["group/vectors"] = np.arange(12.0).reshape(4, 3)
        file["steps"] = steps
        file["offsets"] = np.array([0, 3, 4, 4, 10])
        for row, name in enumerate("abcd"):
            file[f"each/{name}"] = np.full((row + 1, 2), row, np.float32)
            file[f"deep/{name}/frames"] = np.full((row + 1, 3), row, np.float32)
    (tmp_path / "files").mkdir()
    for row, name in enumerate("abcd"):
        np.save(tmp_path / "files" / f"{name}.npy", np.full((row + 1, 2), row, np.float32))
        np.savez(tmp_path / "files" / f"{name}.npz", one=np.ones(2), two=np.full(1, row))
    return tmp_path
