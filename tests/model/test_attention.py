"""Attention between sequences, against torch's own and hand calculations."""

import pytest
import torch
from torch import nn

from qinn.errors import ArgumentError, ConfigError
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.model.encoders import Encoders
from qinn.model.rivals.almt import ALMT
from qinn.model.rivals.attention import Attention, Transformer, position_vectors
from qinn.model.rivals.mult import MulT
from qinn.model.rivals.step_baseline import pooled_steps

VALID = torch.tensor([[True, True, True, False, False], [True] * 5])


def sequences(dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(dim)
    return torch.randn(2, 3, dim, generator=generator), torch.randn(2, 5, dim, generator=generator)


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_attention_is_that_of_torch_with_the_same_weights(num_heads):
    torch.manual_seed(num_heads)
    ours, torchs = (
        Attention(8, num_heads=num_heads, dropout=0.0),
        nn.MultiheadAttention(8, num_heads, batch_first=True),
    )
    with torch.no_grad():
        torchs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        # A bias of the keys changes nothing: ours have none.
        torchs.in_proj_bias.copy_(torch.cat([ours.query.bias, torch.randn(8), ours.value.bias]))
        torchs.out_proj.load_state_dict(ours.output.state_dict())
    queries, keys = sequences(8)
    expected = torchs(queries, keys, keys, key_padding_mask=~VALID, need_weights=False)[0]
    torch.testing.assert_close(ours(queries, keys, VALID), expected, atol=1e-5, rtol=0)


def test_heads_that_do_not_divide_the_width_have_the_next_larger_one():
    attention = Attention(5, num_heads=3, dropout=0.0)
    queries, keys = sequences(5)
    heads = []
    for head in range(3):
        own = slice(2 * head, 2 * head + 2)
        q, k, v = attention.query(queries)[..., own], attention.key(keys)[..., own], attention.value(keys)
        weights = (q @ k.mT / 2**0.5).masked_fill(~VALID[:, None], -torch.inf).softmax(-1)
        heads.append(weights @ v[..., own])
    expected = attention.output(torch.cat(heads, -1))
    torch.testing.assert_close(attention(queries, keys, VALID), expected, atol=1e-5, rtol=0)


def test_without_keys_attention_gives_zero_and_finite_gradients():
    attention = Attention(4, num_heads=2, dropout=0.0)
    queries, keys = sequences(4)
    found = attention(queries, keys.requires_grad_(), torch.zeros(2, 5, dtype=torch.bool))
    assert torch.equal(found, torch.zeros_like(queries))
    found.sum().backward()
    assert torch.equal(keys.grad, torch.zeros_like(keys))


def test_a_layer_is_what_the_paper_says():
    transformer = Transformer(4, num_layers=2, num_heads=2, dropout=0.0)
    queries, keys = sequences(4)
    for asked in (keys, None):
        valid = VALID if asked is not None else VALID[:, :3]
        expected = queries
        for layer in transformer.layers:
            normed = layer.norm(expected)
            inner = layer.attention(normed, normed if asked is None else layer.norm(asked), valid) + normed
            expected = layer.each_step(layer.inner_norm(inner)) + layer.inner_norm(inner)
        torch.testing.assert_close(transformer(queries, valid, asked), expected)


@pytest.mark.parametrize("dim", [1, 5, 6])
def test_positions_are_waves_whose_length_grows_with_the_entry(dim):
    found = position_vectors(torch.zeros(2, 7, dim))
    for t in range(7):
        for entry in range(dim):
            angle = torch.tensor(t / 10_000 ** (2 * (entry // 2) / dim))
            wave = angle.cos() if entry % 2 else angle.sin()
            assert float(found[t, entry]) == pytest.approx(float(wave), abs=1e-6)


def test_long_sequences_become_means_of_equal_parts_and_short_ones_stay():
    steps = torch.arange(1.0, 8.0).expand(4, 7)[..., None]
    found, valid = pooled_steps(steps, torch.tensor([7, 5, 2, 0]), 3)
    # Of seven steps: ⌊3t/7⌋ = 0 0 0 1 1 2 2; of five: ⌊3t/5⌋ = 0 0 1 1 2.
    assert found[..., 0].tolist() == [[2.0, 4.5, 6.5], [1.5, 3.5, 5.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]
    assert valid.tolist() == [[True] * 3, [True] * 3, [True, True, False], [False] * 3]
    lengths = torch.tensor([3, 2, 1, 0])
    longer, there = pooled_steps(steps, lengths, 3)
    assert torch.equal(longer, pooled_steps(steps[:, :3], lengths, 3)[0])
    assert there.sum(1).tolist() == lengths.tolist()


def test_encoders_of_another_model_are_refused():
    encoders = Encoders({"a": 2}, {"a": True}, hidden_dim=4, kinds={"a": "statistics"}, dropout=0.0)
    with pytest.raises(ArgumentError, match=r"`step_dim` that is their `hidden_dim`.*are None and 4"):
        MulT(encoders, num_outputs=1)


def almt(dims: dict[str, int], **options: object) -> ALMT:
    model = build_model(
        MODEL_CONFIGS["almt"].model_validate({"kind": "almt", **options}),
        EncoderConfig(hidden_dim=4),
        feature_dims=dims,
        sequences=dict.fromkeys(dims, True),
        num_outputs=1,
        seed=0,
    )
    assert isinstance(model, ALMT)
    return model


def test_text_guides_or_the_modality_that_is_named():
    dims = {"audio": 2, "text": 2}
    assert [almt(dims).guide, almt(dims, guide="audio").guide, almt({"audio": 2, "vision": 1}).guide] == [
        1,
        0,
        0,
    ]
    with pytest.raises(
        ConfigError, match=r"Key `guide` must be one of \['audio', 'text'\], but it is `face`"
    ):
        almt(dims, guide="face")
    with pytest.raises(ArgumentError, match=r"`guide` must be one of .*leave it out for `text`"):
        ALMT(almt(dims).encoders, num_outputs=1, guide="face")
