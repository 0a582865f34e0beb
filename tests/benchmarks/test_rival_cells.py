"""The rivals of the literature: what their equations say, what they are for, and what they stand on."""

import pytest
import torch
from rival_cells import RIVAL_CELLS, DeltaProductCell, SecondOrderCell, build_rival
from torch import nn

from qinn.data.stores.store import Store
from qinn.data.subsets.cross_validation import fixed_fold
from qinn.errors import ArgumentError
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.model.baselines import count_parameters
from qinn.task import Task
from qinn.training.fit import fit
from qinn.training.options import FitOptions

ENCODER = EncoderConfig(hidden_dim=4)


@pytest.fixture(scope="module")
def development(tiny_store):
    return fixed_fold(Store.open(tiny_store)).development


@pytest.fixture(scope="module")
def shapes(development):
    dims = development.train.dims
    return {"feature_dims": dims, "sequences": dict.fromkeys(dims, True), "num_outputs": 1}


def by_hand(cell, row):
    """The states of one sample, step by step in double precision."""
    states = []
    if isinstance(cell, SecondOrderCell):
        h = cell.start / cell.start.norm()
        for x in row:
            h = h + torch.einsum("hki,k,i->h", cell.weight, h, x)
            h = h / h.norm()
            states.append(h)
        return torch.stack(states)
    S = cell.start
    for x in row:
        for j in range(2):
            k = cell.keys(x).reshape(2, -1)[j]
            k, v = k / k.norm(), cell.values(x).reshape(2, -1)[j]
            beta = 2 * torch.sigmoid(cell.strengths(x)[j])
            S = S - beta * torch.outer(k, k @ S) + beta * torch.outer(k, v)
        states.append(S.flatten())
    return torch.stack(states)


@pytest.mark.parametrize("kind", RIVAL_CELLS)
def test_states_and_gradients_are_those_of_the_equations(kind):
    torch.manual_seed(0)
    cell = RIVAL_CELLS[kind](3, 6).double()
    inputs = torch.randn(2, 5, 3, dtype=torch.float64)
    states, _ = cell(inputs)
    expected = torch.stack([by_hand(cell, row) for row in inputs])
    assert torch.allclose(states, expected, atol=1e-12)
    weights = torch.randn(states.shape, dtype=torch.float64)
    parameters = list(cell.parameters())
    found, wanted = (torch.autograd.grad((one * weights).sum(), parameters) for one in (states, expected))
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("kind", RIVAL_CELLS)
def test_long_streams_stay_finite_and_blank_steps_do_no_harm(kind):
    torch.manual_seed(0)
    cell = RIVAL_CELLS[kind](3, 6)
    inputs = 5 * torch.randn(2, 1000, 3)
    inputs[1, 500:] = 0
    inputs.requires_grad_()
    states, _ = cell(inputs)
    states.square().mean().backward()
    assert states.isfinite().all()
    assert inputs.grad.isfinite().all()


def product_of_reflections(cell, first, second):
    """Set the keys of a one-input cell so that each step reflects along two axes."""
    with torch.no_grad():
        cell.keys.weight.zero_()
        cell.keys.bias.copy_(torch.cat([torch.tensor(first), torch.tensor(second)]))
        cell.values.weight.zero_()
        cell.values.bias.zero_()
        cell.strengths.weight.zero_()
        cell.strengths.bias.fill_(40.0)


def test_two_reflections_rotate_and_nothing_is_lost():
    cell = DeltaProductCell(1, 4)
    angle = torch.pi / 3
    product_of_reflections(cell, (1.0, 0.0), (float(torch.cos(torch.tensor(angle))), 3**0.5 / 2))
    states, _ = cell(torch.zeros(1, 3, 1))
    turned = states.reshape(3, 2, 2).detach()
    # By 2π/3 each: the third is where it began, those before are elsewhere.
    assert torch.allclose(turned[2], cell.start.detach(), atol=1e-5)
    assert float((turned[0] - cell.start.detach()).norm()) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("kind", RIVAL_CELLS)
def test_the_cells_learn_parity_and_keep_it_at_five_times_the_length(kind):
    torch.manual_seed(1)
    cell, head = RIVAL_CELLS[kind](2, 8), nn.Linear(8, 1)
    optimizer = torch.optim.Adam([*cell.parameters(), *head.parameters()], lr=0.02)

    def draw(batch, length):
        bits = torch.randint(2, (batch, length))
        return nn.functional.one_hot(bits, 2).float(), (bits.cumsum(1) % 2).float()

    for _ in range(200):
        inputs, parity = draw(32, 8)
        loss = nn.functional.binary_cross_entropy_with_logits(head(cell(inputs)[0])[..., 0], parity)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        inputs, parity = draw(200, 40)
        right = ((head(cell(inputs)[0])[:, -1, 0] > 0) == parity[:, -1].bool()).float().mean()
    assert float(right) > 0.99


@pytest.mark.parametrize("form", ["factorised", "joint"])
@pytest.mark.parametrize("kind", RIVAL_CELLS)
def test_they_stand_on_the_encoders_and_the_head_of_the_recurrent_baseline(kind, form, shapes):
    rival = build_rival(kind, ENCODER, **shapes, memory_dim=6, form=form, seed=2)
    content = {"kind": "gru_stream", "memory_dim": 6, "form": form}
    gru = build_model(MODEL_CONFIGS["gru_stream"].model_validate(content), ENCODER, **shapes, seed=2)
    assert type(rival) is type(gru)
    mine, others = (dict(one.named_parameters()) for one in (rival, gru))
    shared = {name for name in others if not name.startswith("recurrent")}
    assert {name for name in mine if not name.startswith("recurrent")} == shared
    assert all(torch.equal(mine[name], others[name]) for name in shared)


@pytest.mark.parametrize("kind", RIVAL_CELLS)
def test_they_have_about_as_many_parameters_as_the_qubit_and_can_be_fitted(
    kind, shapes, development, tmp_path
):
    content = {"kind": "qinn", "dynamics": "collisions", "evolution": "exact", "memory_dim": 2}
    qubit = build_model(MODEL_CONFIGS["qinn"].model_validate(content), ENCODER, **shapes, seed=0)
    wanted = count_parameters(qubit)
    rival = build_rival(kind, ENCODER, **shapes, parameters=wanted)
    assert abs(count_parameters(rival) - wanted) <= 0.25 * wanted
    before = [parameter.clone() for parameter in rival.recurrent.parameters()]
    result = fit(
        rival,
        development,
        task=Task("regression", -3.0, 3.0, "mosi"),
        options=FitOptions(max_epochs=2, batch_size=12, tensorboard=False),
        folder=tmp_path,
        seed=0,
    )
    assert result.epochs == 2
    assert not any(
        torch.equal(one, other) for one, other in zip(before, rival.recurrent.parameters(), strict=True)
    )


def test_impossible_rivals_are_refused(shapes):
    with pytest.raises(ArgumentError, match=r"must be one of .*, but it is `mamba`"):
        build_rival("mamba", ENCODER, **shapes, memory_dim=4)
    with pytest.raises(ArgumentError, match="Exactly one of"):
        build_rival("second_order", ENCODER, **shapes)
    with pytest.raises(ArgumentError, match="must be even, but it is 5"):
        build_rival("delta_product", ENCODER, **shapes, memory_dim=5)
    with pytest.raises(ArgumentError, match="the nearest that `second_order` can have"):
        build_rival("second_order", ENCODER, **shapes, parameters=10)
