"""The smallest pretrained transformer that there is: random weights, 21 words, saved as users save theirs."""

from pathlib import Path
from typing import Any

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    "the",
    "film",
    "was",
    "good",
    "##ness",
    "un",
    "##like",
    "bad",
    "very",
    "not",
    "电",
    "影",
    "好",
    "i",
    "!",
    "a",
]


def write_tiny_transformer(
    path: Path, *, seed: int = 0, layers: int = 2, family: str = "bert", **changes: Any
) -> Path:
    """Save a model and its fast tokenizer to a folder."""
    import torch

    if family == "mpnet":
        return _write_tiny_mpnet(path, seed=seed, layers=layers, **changes)
    from transformers import (
        BertConfig,
        BertModel,
        BertTokenizerFast,  # pyright: ignore[reportAttributeAccessIssue]
        DistilBertConfig,
        DistilBertModel,
    )

    path.mkdir(parents=True, exist_ok=True)
    vocabulary = path / "vocab.txt"
    vocabulary.write_text("\n".join(SPECIAL + WORDS), encoding="utf-8")
    BertTokenizerFast(vocab=str(vocabulary), model_max_length=16).save_pretrained(path)
    torch.manual_seed(seed)
    size = len(SPECIAL + WORDS)
    if family == "bert":
        config = BertConfig(
            vocab_size=size,
            max_position_embeddings=16,
            hidden_size=8,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=8,
            **changes,
        )
        BertModel(config).save_pretrained(path)
    else:
        small = DistilBertConfig(
            vocab_size=size,
            max_position_embeddings=16,
            dim=8,
            n_layers=layers,
            n_heads=2,
            hidden_dim=8,
            **changes,
        )
        DistilBertModel(small).save_pretrained(path)
    return path


def _write_tiny_mpnet(path: Path, *, seed: int, layers: int, **changes: Any) -> Path:
    """MPNet has other special tokens (that of padding is 1), and relative positions that all layers share."""
    import torch
    from transformers import MPNetConfig, MPNetModel, MPNetTokenizer

    path.mkdir(parents=True, exist_ok=True)
    entries = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>", *WORDS]
    vocabulary = {word: index for index, word in enumerate(entries)}
    MPNetTokenizer(vocab=vocabulary, model_max_length=16).save_pretrained(path)
    torch.manual_seed(seed)
    config = MPNetConfig(
        vocab_size=len(entries),
        max_position_embeddings=18,
        hidden_size=8,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=8,
        **changes,
    )
    MPNetModel(config).save_pretrained(path)
    return path


def write_token_store(
    path: Path, transformer: Path, *, unit: str = "ids", samples: int = 44, **options: Any
) -> Any:
    """Import short sentences whose sentiment is their count of good and bad words, with a little sound."""
    import csv

    import numpy as np

    from qinn.data.importing import TableOptions, TextOptions, import_data
    from qinn.data.importing.labels import TaskOptions
    from qinn.features.text import load_text_encoder

    generator = np.random.default_rng(0)
    path.mkdir(parents=True, exist_ok=True)
    words = ["THE", "film", "was", "Good", "bad", "very", "unlike", "goodness"]
    with (path / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", "split", "text"])
        for row in range(samples):
            sentence = list(generator.choice(words, 1 + row % 5)) if row % 11 else []
            score = sum(word.lower().startswith("good") - (word == "bad") for word in sentence)
            split = "train" if row % 3 else ("valid" if row % 2 else "test")
            writer.writerow([f"s{row}", np.clip(score, -3, 3), split, " ".join(sentence)])
    np.save(path / "sound.npy", generator.normal(size=(samples, 3)).astype(np.float32))
    return import_data(
        path / "table.csv",
        path / "store",
        TableOptions(
            task=TaskOptions(scale="mosi"),
            split_column="split",
            text_column="text",
            text=TextOptions(unit=unit, lowercase=True),
            features=(f"audio={path}/sound.npy",),
        ),
        encoder=load_text_encoder(f"folder:{transformer}"),
        **options,
    )
