"""Along a stream what was said can be set, inverted and overwritten: forgetting is needed, and learned."""

import pytest
import torch
from torch.nn import functional

from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import QiNNConfig
from qinn.quantum import collision_influence
from qinn.records import Batch, Features

FEATURES, MOST_STEPS, NUM_SAMPLES = 6, 8, 2000
SET_MINUS, SET_PLUS, FLIP, FILLER = range(4)


def valence_shifters(seed):
    """Text sets, flips or says nothing, sound flips or says nothing; the label is the valence that is left."""
    draw = torch.Generator().manual_seed(seed)
    prototypes = [torch.randn(4, FEATURES, generator=draw), torch.randn(2, FEATURES, generator=draw)]
    shape = (NUM_SAMPLES, MOST_STEPS)
    lengths = torch.randint(2, MOST_STEPS + 1, shape[:1], generator=draw)
    chance, signs = torch.rand(shape, generator=draw), torch.randint(0, 2, shape, generator=draw)
    words = torch.full(shape, FILLER)
    words = torch.where(chance < 0.4, FLIP, words)
    words = torch.where(chance < 0.2, signs, words)
    words[:, 0] = signs[:, 0]
    sounds = (torch.rand(shape, generator=draw) < 0.2).long()
    valence = torch.zeros(NUM_SAMPLES)
    for step in range(MOST_STEPS):
        word = words[:, step]
        said = torch.where(word == FLIP, -valence, torch.where(word == FILLER, valence, 2.0 * word - 1))
        said = torch.where(sounds[:, step] == 1, -said, said)
        valence = torch.where(step < lengths, said, valence)
    mask = (torch.arange(MOST_STEPS) < lengths[:, None])[..., None]
    features = {
        name: Features((kinds[events] + 0.3 * torch.randn(*shape, FEATURES, generator=draw)) * mask, lengths)
        for name, kinds, events in zip(("text", "audio"), prototypes, (words, sounds), strict=True)
    }
    return Batch(tuple(map(str, range(NUM_SAMPLES))), features, (valence > 0).long()), prototypes


def rows_of(batch, rows):
    features = {name: Features(one.values[rows], one.lengths[rows]) for name, one in batch.features.items()}
    return Batch(tuple(batch.ids[row] for row in rows.tolist()), features, batch.labels[rows])


def trained(evolution, batch):
    model = build_model(
        QiNNConfig(
            dynamics="collisions",
            evolution=evolution,
            memory_dim=2,
            num_vectors=4,
            head="linear",
            by_pass=False,
        ),
        EncoderConfig(hidden_dim=8, dropout=0.0),
        feature_dims={"text": FEATURES, "audio": FEATURES},
        sequences={"text": True, "audio": True},
        num_outputs=2,
        seed=2,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    draw = torch.Generator().manual_seed(0)
    for _ in range(200):
        part = rows_of(batch, torch.randint(0, 1500, (32,), generator=draw))
        loss = functional.cross_entropy(model(part).output, part.labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval().requires_grad_(False)


@pytest.mark.slow
def test_a_qubit_learns_valence_shifters_which_a_unitary_cell_cannot():
    batch, [prototypes, _] = valence_shifters(1002)
    held_out = rows_of(batch, torch.arange(1500, NUM_SAMPLES))
    accuracies = {}
    for evolution in ("exact", "unitary"):
        model = trained(evolution, batch)
        accuracies[evolution] = float((model(held_out).output.argmax(1) == held_out.labels).float().mean())
        if evolution == "exact":
            collisions = model
    assert accuracies["exact"] > 0.95, accuracies
    assert accuracies["unitary"] < 0.75, accuracies
    # What was learned says what the words do: those that set make the memory forget, FLIP turns it round.
    said = Features(prototypes[None], torch.tensor([4]))
    silent = Features(torch.zeros(1, 1, FEATURES), torch.tensor([0]))
    states = collisions.states(Batch(("words",), {"text": said, "audio": silent}))
    influence = collision_influence(*collisions.fusion.meetings(states)[0])
    contraction, rotation = influence.contraction[0], influence.rotation[0]
    assert contraction[[SET_MINUS, SET_PLUS]].min() > contraction[[FLIP, FILLER]].max()
    assert rotation[FLIP] > max(2.0, float(rotation[FILLER]))
