"""Sentences whose words set, invert or fill, as a store: what every step does to the label is known."""

from pathlib import Path

import numpy as np

from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.task import Task

WORDS = ("awful", "great", "not", "so", "the")
"""SET−, SET+, FLIP, and two fillers."""

SOUNDS = ("hum", "sneer")
"""A filler, and FLIP."""

FEATURES = 8


def prototypes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What words and sounds are like, before noise."""
    draw = np.random.default_rng([seed, 1])
    return draw.normal(size=(len(WORDS), FEATURES)), draw.normal(size=(len(SOUNDS), FEATURES))


def write_shifters(
    path: Path,
    *,
    seed: int,
    sizes: dict[str, int],
    longest: int = 12,
    sentences: tuple[tuple[str, ...], ...] | None = None,
    noise: float = 0.3,
) -> Store:
    """Write sentences: the first word sets; the label is the last SET times the parity of the flips since.

    Sounds come with the words, and act after them. Half of the samples have none: where each word had its sound, a
    model might as well take every word and every sound for an inversion, which cancel each other. Sentences that are
    given have no sound and come as test samples.
    """
    words, sounds = prototypes(seed)
    draw = np.random.default_rng([seed, 2])
    with StoreWriter(
        path,
        name="shifters",
        task=Task("classification", classes=("down", "up")),
        modalities={"text": Modality(FEATURES), "audio": Modality(FEATURES)},
        layout="test",
    ) as writer:

        def add(name: str, split: str, said: list[int], heard: list[int]) -> None:
            text = " ".join(WORDS[word] for word in said)
            ends = np.cumsum([len(WORDS[word]) + 1 for word in said]) - 1
            spans = np.stack([ends - [len(WORDS[word]) for word in said], ends], 1)
            valence = 0
            for step, word in enumerate(said):
                valence = (-1, 1, -valence, valence, valence)[word]
                valence = -valence if step < len(heard) and heard[step] else valence
            features = {
                "text": words[said] + noise * draw.normal(size=(len(said), FEATURES)),
                "audio": sounds[heard] + noise * draw.normal(size=(len(heard), FEATURES))
                if heard
                else np.zeros((0, FEATURES)),
            }
            writer.add_many(
                [name],
                {key: [values.astype(np.float32)] for key, values in features.items()},
                labels=[int(valence > 0)],
                splits=[split],
                texts=[text],
                spans={"text": [spans]},
            )

        for split, size in sizes.items():
            for index in range(size):
                length = int(draw.integers(2, longest + 1))
                said = draw.choice(5, size=length, p=[0.03, 0.03, 0.25, 0.345, 0.345])
                said[0] = draw.integers(2)
                heard = (draw.random(length) < 0.4).astype(int).tolist() if index % 2 else []
                add(f"{split}-{index}", split, said.tolist(), heard)
        for index, sentence in enumerate(sentences or ()):
            add(f"sentence-{index}", "test", [WORDS.index(word) for word in sentence], [])
    return Store.open(path)
