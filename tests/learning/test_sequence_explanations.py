"""A trained qubit's explanation calls the words that set "resets" and those that flip "inverts", and no others."""

import pytest
import torch
from torch.nn import functional

from qinn.data.subsets.batching import batch_of
from qinn.data.subsets.subset import subset_of
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import QiNNConfig
from qinn.explain.memory_axis import memory_axis
from qinn.explain.steps import explain_steps

from ..explain.shifters import FEATURES, write_shifters

SENTENCES = (
    ("great", "so", "not", "the", "so", "the"),
    ("awful", "the", "not", "so", "not", "great", "so"),
    ("great", "the", "not", "so", "awful", "the", "not", "so"),
)
EXPECTED = {"awful": "resets", "great": "resets", "not": "inverts"}


def trained(subset, iterations):
    model = build_model(
        QiNNConfig(
            dynamics="collisions",
            evolution="exact",
            memory_dim=2,
            num_vectors=4,
            head="linear",
            by_pass=False,
        ),
        EncoderConfig(hidden_dim=10, dropout=0.0),
        feature_dims={"text": FEATURES, "audio": FEATURES},
        sequences={"text": True, "audio": True},
        num_outputs=2,
        seed=0,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, 0.1 + 3 * (1 - step / iterations))
    )
    draw = torch.Generator().manual_seed(0)
    whole = batch_of(subset, range(len(subset)))
    for _ in range(iterations):
        rows = torch.randint(0, len(subset), (64,), generator=draw)
        features = {
            name: type(one)(one.values[rows], one.lengths[rows]) for name, one in whole.features.items()
        }
        part = type(whole)(tuple(whole.ids[row] for row in rows.tolist()), features, whole.labels[rows])
        loss = functional.cross_entropy(model(part).output, part.labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval().requires_grad_(False)


@pytest.mark.slow
def test_words_called_reset_and_invert_are_exactly_those_that_set_and_flip(tmp_path):
    store = write_shifters(
        tmp_path / "store", seed=0, sizes={"train": 2000, "valid": 300}, sentences=SENTENCES, longest=8
    )
    model = trained(subset_of(store, "train"), 300)
    valid, test = subset_of(store, "valid"), subset_of(store, "test")
    right = model(batch_of(valid, range(len(valid)))).output.argmax(1).numpy() == valid.labels
    assert right.mean() > 0.97
    found = explain_steps(model, test, memory_axis(model, valid))
    assert sorted(set(found.ids)) == ["sentence-0", "sentence-1", "sentence-2"]
    called = {
        verdict: sorted({word for word, one in zip(found.word, found.verdict, strict=True) if one == verdict})
        for verdict in ("resets", "inverts")
    }
    assert called == {"resets": ["awful", "great"], "inverts": ["not"]}
    # Of every single occurrence.
    for word, verdict in zip(found.word, found.verdict, strict=True):
        if word in EXPECTED:
            assert verdict == EXPECTED[word]
        else:
            assert verdict not in ("resets", "inverts", "turns")
    # What is written has the sign of the word; an inversion turns the score round.
    for word, write, before, after in zip(found.word, found.write, found.before, found.after, strict=True):
        if word in ("awful", "great"):
            assert (write > 0.8) if word == "great" else (write < -0.8)
        if word == "not":
            assert before * after < 0
    # The same of the sounds, in the samples that have some.
    heard = explain_steps(model, valid.take(range(100)), memory_axis(model, valid))
    sounds = [one for one, modality in zip(heard.verdict, heard.modality, strict=True) if modality == "audio"]
    assert {"inverts", "keeps"} <= set(sounds)
    assert "resets" not in sounds
