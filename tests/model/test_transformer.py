"""A pretrained transformer inside a network: what is trained, at which rate, and that padding never matters."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("transformers", reason="the optional extra qinn[text] is not installed")

from qinn.errors import ArgumentError
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.features.text import load_text_encoder
from qinn.model.baselines import BASELINES, count_parameters
from qinn.model.encoders import Encoder
from qinn.model.standardization import set_training_statistics
from qinn.model.transformer import FineTuning, PretrainedTransformer
from qinn.records import Batch, Features
from qinn.testing import check_model
from qinn.training.options import FitOptions
from qinn.training.parameter_groups import parameter_groups

from ..tiny_transformer import write_tiny_transformer

LENGTHS = (5, 2, 0, 7, 1, 3, 6, 4, 2, 5)


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    folder = write_tiny_transformer(
        tmp_path_factory.mktemp("tiny"), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    return load_text_encoder(f"folder:{folder}").model


@pytest.fixture(scope="module", params=["bert", "distilbert", "mpnet"])
def any_transformer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    folder = write_tiny_transformer(tmp_path_factory.mktemp("tiny"), family=request.param, layers=3)
    return load_text_encoder(f"folder:{folder}").model


def tokens(lengths: tuple[int, ...] = LENGTHS) -> Features:
    generator = torch.Generator().manual_seed(0)
    steps = torch.tensor(lengths)
    values = torch.randint(5, 21, (len(lengths), max(lengths), 1), generator=generator).float()
    valid = torch.arange(max(lengths)) < steps[:, None]
    return Features(values * valid[..., None], steps)


def wrapped(transformer: nn.Module, **tuning: Any) -> PretrainedTransformer:
    return PretrainedTransformer(copy.deepcopy(transformer), FineTuning(**tuning))


def test_states_are_those_of_the_transformer_sample_by_sample(transformer: nn.Module) -> None:
    features = tokens()
    with torch.no_grad():
        found = wrapped(transformer).eval()(features)
        for row, length in enumerate(LENGTHS):
            assert not found[row, length:].any()
            if length:
                ids = features.values[row : row + 1, :length, 0].long()
                expected = transformer(input_ids=ids).last_hidden_state[0]
                torch.testing.assert_close(found[row, :length], expected, rtol=1e-4, atol=1e-5)


def build(
    transformer: nn.Module, config: dict[str, Any], *, speaks: bool = False, **options: Any
) -> nn.Module:
    return build_model(
        MODEL_CONFIGS[config["kind"]].model_validate(config),
        EncoderConfig.model_validate(
            {
                "kind": {"text": "transformer", "audio": "statistics"},
                "hidden_dim": 4,
                "dropout": 0.0,
                "transformer": {"model": "minilm", "frozen_embeddings": False, **options},
            }
        ),
        feature_dims={"text": 1, "audio": 3},
        sequences={"text": True, "audio": speaks},
        num_outputs=1,
        seed=0,
        transformers={"text": transformer},
    )


def batch(steps: int = 1) -> Batch:
    lengths = (3, 1, 2)
    audio = Features(
        torch.randn(3, steps, 3, generator=torch.Generator().manual_seed(1)), torch.full((3,), steps)
    )
    return Batch(("a", "b", "c"), {"text": tokens(lengths), "audio": audio})


QINN = {"kind": "qinn", "state_dims": 2, "num_trajectories": 2, "num_evaluation_trajectories": 4, "steps": 4}
CONFIGS = {
    "qinn": QINN,
    "qinn heisenberg": {**QINN, "evolution": "heisenberg"},
    "collisions": {
        "kind": "qinn",
        "dynamics": "collisions",
        "evolution": "exact",
        "memory_dim": 2,
        "state_dims": 2,
    },
    "text only": {"kind": "unimodal", "modality": "text"},
    **{kind: {"kind": kind} for kind in BASELINES},
}


@pytest.mark.parametrize(
    ("name", "pooling"),
    [*((name, "attention") for name in CONFIGS), ("qinn", "statistics"), ("qinn", "mean")],
)
def test_models_that_read_tokens_keep_the_laws(transformer: nn.Module, name: str, pooling: str) -> None:
    config = CONFIGS[name]
    # To a single step all attention goes, whoever asks: nothing is learned of asking.
    speaks = name == "mult"
    given = batch(2 if speaks else 1)
    if config["kind"] == "unimodal":
        given = Batch(given.ids, {"text": given.features["text"]})
    check_model(lambda: build(transformer, config, speaks=speaks, pooling=pooling), given, num_outputs=1)


def trained(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("tuning", "frozen", "moving"),
    [
        ({"frozen_embeddings": False}, [], ["embeddings", "layer.0", "layer.1", "layer.2"]),
        ({}, ["embeddings"], ["layer.0", "layer.1", "layer.2"]),
        ({"frozen_layers": 2}, ["embeddings", "layer.0", "layer.1"], ["layer.2"]),
        ({"frozen_layers": "all"}, ["embeddings", "layer.0", "layer.1", "layer.2"], []),
    ],
)
def test_what_is_frozen_has_no_gradient_and_no_dropout(
    any_transformer: nn.Module, tuning: dict[str, Any], frozen: list[str], moving: list[str]
) -> None:
    module = wrapped(any_transformer, **tuning).train()
    names = trained(module)
    for part in frozen:
        assert not any(part in name for name in names)
    for part in moving:
        assert any(part in name for name in names)
    for name, one in module.transformer.named_modules():
        if any(f"{part}." in f"{name}." for part in frozen):
            assert not one.training, name
    assert module.train().training
    assert any(one.training for one in module.transformer.modules()) == bool(moving)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    states = module(tokens())
    assert states.requires_grad == bool(moving)
    if moving:
        states.square().sum().backward()
        assert all(
            (parameter.grad is not None) == (name in names) for name, parameter in module.named_parameters()
        )
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("precision", ["float32", "bf16-mixed"])
def test_a_frozen_transformer_says_the_same_in_training(any_transformer: nn.Module, precision: str) -> None:
    module = wrapped(any_transformer, frozen_layers="all", dropout=0.5, precision=precision)
    torch.testing.assert_close(module.train()(tokens()), module.eval()(tokens()), rtol=0, atol=0)


def test_frozen_layers_say_the_same_after_a_step(any_transformer: nn.Module) -> None:
    module = wrapped(any_transformer, frozen_layers=2, dropout=0.0).train()
    seen: list[torch.Tensor] = []
    module._layers()[1].register_forward_hook(
        lambda _, inputs, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    features = tokens((5,))
    # Behind a layer norm the sum of squares hardly depends on anything.
    module(features)[..., 0].sum().backward()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.sub_(parameter.grad)
    module(features)
    assert torch.equal(seen[0], seen[1])


def test_dropout_inside_is_the_one_asked_for(any_transformer: nn.Module) -> None:
    module = wrapped(any_transformer, dropout=0.25)
    rates = {one.p for one in module.modules() if isinstance(one, nn.Dropout)}
    assert rates == {0.25}


def test_layers_learn_at_rates_that_fall_downwards_and_vectors_do_not_decay(
    any_transformer: nn.Module,
) -> None:
    module = wrapped(
        any_transformer, learning_rate=1e-3, layer_decay=0.5, weight_decay=0.1, frozen_embeddings=False
    )
    groups = list(module.parameter_groups())
    rates = [group.learning_rate for group in groups]
    assert rates == [1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4, 1.25e-4, 1.25e-4]
    for group in groups:
        matrices = {one.ndim >= 2 for one in group.parameters}
        assert matrices == {group.weight_decay == 0.1}
    grouped = [id(one) for group in groups for one in group.parameters]
    assert sorted(grouped) == sorted(id(one) for one in module.parameters())
    named = module.transformer.named_parameters()
    embeddings = {id(one) for name, one in named if "embeddings" in name or "relative_attention_bias" in name}
    assert {id(one) for group in groups[-2:] for one in group.parameters} == embeddings


def test_mixed_precision_is_near_single_precision_in_training_and_equal_to_it_in_evaluation(
    any_transformer: nn.Module,
) -> None:
    features, found = tokens(), {}
    for precision in ("float32", "bf16-mixed"):
        module = wrapped(any_transformer, dropout=0.0, precision=precision)
        states = module(features)
        states[..., 0].square().sum().backward()
        trained = [one for one in module.parameters() if one.requires_grad]
        assert {one.dtype for one in (states, *trained)} == {torch.float32}
        gradient = torch.cat([one.grad.flatten() for one in trained if one.grad is not None])
        found[precision] = states.detach(), gradient, module.eval()(features)
        assert torch.equal(found[precision][2], found["float32"][2])
    for one, other in zip(found["float32"][:2], found["bf16-mixed"][:2], strict=True):
        assert 1e-6 < (one - other).norm() / one.norm() < 3e-2


def test_a_step_of_the_fused_kernel_is_that_of_adamw(transformer: nn.Module) -> None:
    after = []
    for fused in (True, None):
        model = build(transformer, QINN, learning_rate=1e-3)
        groups = parameter_groups(model, FitOptions())
        assert [group.get("fused") for group in groups] == [None, None] + [True] * (len(groups) - 2)
        optimizer = torch.optim.AdamW([{**group, "fused": fused} for group in groups], lr=1e-3)
        for number, parameter in enumerate(model.parameters()):
            parameter.grad = torch.full_like(parameter, 0.1 * (number + 1))
        optimizer.step()
        after.append([parameter.detach().clone() for parameter in model.parameters()])
    torch.testing.assert_close(*after)


def test_the_rest_of_a_model_learns_at_its_own_rate(transformer: nn.Module) -> None:
    model = build(transformer, QINN, learning_rate=1e-5, weight_decay=0.0)
    options = FitOptions(learning_rate=1e-2, weight_decay=0.3)
    groups = parameter_groups(model, options)
    by_parameter = {id(one): group for group in groups for one in group["params"]}
    for name, parameter in model.named_parameters():
        group = by_parameter[id(parameter)]
        inside = ".transformer.transformer." in name
        assert group["lr"] == (1e-5 if inside else 1e-2)
        on_states = name.startswith("fusion.") or name == "readout.free_vectors"
        decayed = not inside and not on_states and parameter.ndim >= 2
        assert group["weight_decay"] == (0.3 if decayed else 0.0)
    assert len(by_parameter) == sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_the_stream_trains_the_transformer_through_every_token(transformer: nn.Module) -> None:
    model = build(transformer, {**CONFIGS["collisions"], "by_pass": False})
    seen: list[torch.Tensor] = []

    def keep(_: nn.Module, inputs: Any, states: torch.Tensor) -> None:
        states.retain_grad()
        seen.append(states)

    model.encoders["text"].transformer.register_forward_hook(keep)
    given = batch()
    model(given).output.sum().backward()
    gradient = seen[0].grad
    assert gradient is not None
    assert torch.equal(gradient.abs().sum(-1) > 0, given.features["text"].mask)
    inside = model.encoders["text"].transformer.transformer
    assert all(
        one.grad is not None and bool(one.grad.any()) for one in inside.encoder.layer[0].output.parameters()
    )


def test_a_budget_counts_what_is_not_pretrained(transformer: nn.Module) -> None:
    model = build(transformer, {"kind": "concatenation", "parameter_budget": 1200}, frozen_embeddings=True)
    inside = next(one for one in model.modules() if isinstance(one, PretrainedTransformer))
    assert abs(count_parameters(model) - count_parameters(inside) - 1200) < 100
    assert count_parameters(inside) > 0


def test_every_model_starts_from_the_pretrained_weights(transformer: nn.Module) -> None:
    before = copy.deepcopy(transformer.state_dict())
    first = build(transformer, QINN)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1.0)
    second = build(transformer, QINN)
    inside = next(one for one in second.modules() if isinstance(one, PretrainedTransformer)).transformer
    for name, value in inside.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(torch.equal(value, before[name]) for name, value in transformer.state_dict().items())


def test_token_ids_are_not_standardised(transformer: nn.Module) -> None:
    model = build(transformer, QINN)
    before = model.eval()(batch()).output
    statistics = {
        "text": (torch.tensor([9.0]), torch.tensor([4.0])),
        "audio": (torch.zeros(3), torch.ones(3)),
    }
    set_training_statistics(model, statistics, torch.tensor([0.0, 0.0]))
    raw = model(batch()).output / 1e-6
    torch.testing.assert_close(raw, before, rtol=1e-3, atol=1e-3)


class Attending(nn.Module):
    """A transformer of one layer that divides by the number of tokens it may see."""

    def __init__(self) -> None:
        super().__init__()
        self.config = type("Config", (), {"hidden_size": 4})()
        self.embeddings = nn.Embedding(21, 4)
        self.layers = nn.ModuleList([nn.Linear(4, 4)])

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        seen = attention_mask[..., None]
        mean = (self.embeddings(input_ids) * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True)
        states = self.layers[0](self.embeddings(input_ids) + mean)
        return type("Output", (), {"last_hidden_state": states})()


def test_a_sample_without_tokens_gets_zeros_and_finite_gradients() -> None:
    module = PretrainedTransformer(Attending(), FineTuning(frozen_embeddings=False))
    states = module(tokens((0, 3)))
    assert not states[0].any()
    states.sum().backward()
    assert all(bool(torch.isfinite(one.grad).all()) for one in module.parameters() if one.grad is not None)


class Headless(nn.Module):
    """A module in which there are no layers to be found."""

    def __init__(self) -> None:
        super().__init__()
        self.config = type("Config", (), {"hidden_size": 4})()
        self.encoder = nn.Linear(4, 4)


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ({"learning_rate": 0.0}, "`learning_rate`"),
        ({"weight_decay": -1.0}, "`weight_decay`"),
        ({"layer_decay": 1.5}, "`layer_decay`"),
        ({"frozen_layers": -1}, "`frozen_layers` must be 0 or more"),
        ({"frozen_layers": 1, "frozen_embeddings": False}, "`frozen_embeddings` must be true"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\)"),
    ],
)
def test_impossible_tunings_are_refused(tuning: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        FineTuning(**tuning)


def test_more_layers_than_there_are_cannot_be_frozen(transformer: nn.Module) -> None:
    with pytest.raises(ArgumentError, match="at most 2, the number of layers, but it is 3"):
        wrapped(transformer, frozen_layers=3)
    with pytest.raises(ArgumentError, match="must have its layers in one of"):
        PretrainedTransformer(Headless(), FineTuning())


def test_kind_and_transformer_go_together(transformer: nn.Module) -> None:
    with pytest.raises(ArgumentError, match="exactly where `kind` is `transformer`"):
        Encoder(1, 4, kind="transformer", sequence=True, dropout=0.0)
    with pytest.raises(ArgumentError, match="exactly where `kind` is `transformer`"):
        Encoder(1, 4, kind="gru", sequence=True, dropout=0.0, transformer=wrapped(transformer))
