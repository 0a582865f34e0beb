"""Models that follow the stream, against loops over samples and steps."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from qinn.errors import ArgumentError
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.model.collisions import CollisionFusion, LinearMapStreamFusion, UnitaryStreamFusion
from qinn.quantum import (
    ExactChannel,
    LearnableLindbladian,
    MixedState,
    PureEnsemble,
    density_of,
    expected_jumps,
    maximally_mixed,
    partial_trace,
    product_density,
    random_kets,
)
from qinn.records import Batch, Features, ModalityStates

DIMS = {"face": 2, "text": 3, "audio": 2}
SEQUENCES = {"face": False, "text": True, "audio": True}
FUSIONS = [CollisionFusion, UnitaryStreamFusion, LinearMapStreamFusion]
# The last sample has nothing, the one before text alone.
LENGTHS = {"face": [1, 1, 0, 0], "text": [3, 1, 4, 0], "audio": [2, 5, 0, 0]}
ALIGNED = {"face": [1, 0, 0, 0], "text": [3, 1, 4, 0], "audio": [3, 0, 4, 0]}


def states_of(lengths, padding=0, filling=None) -> ModalityStates:
    kets, valid = [], []
    for name, dim in DIMS.items():
        time = max(lengths[name]) + (padding if SEQUENCES[name] else 0)
        drawn = random_kets(4, 9, dim, generator=torch.Generator().manual_seed(dim))[:, :time]
        there = torch.arange(time) < torch.tensor(lengths[name])[:, None]
        blank = (
            functional.one_hot(torch.tensor(0), dim) + 0j
            if filling is None
            else torch.full((dim,), filling) + 0j
        )
        kets.append(torch.where(there[..., None], drawn, blank))
        valid.append(there)
    present = torch.stack([there.any(1) for there in valid], 1)
    return ModalityStates(tuple(DIMS), tuple(kets), present, tuple(valid))


def fusion_of(kind, form="factorised", **options):
    torch.manual_seed(3)
    fusion = kind(DIMS, sequences=SEQUENCES, memory_dim=2, form=form, **options)
    with torch.no_grad():
        for name, parameter in fusion.named_parameters():
            if name != "free_start":
                parameter.mul_(4)
    return fusion.eval().requires_grad_(False)


def step_by(fusion, name, dims, density, ancilla, uniform):
    """One step of one sample, from the definition; `uniform` is what stands for an ancilla as a ket."""
    D, A = fusion.memory_dim, math.prod(dims)
    if isinstance(fusion, LinearMapStreamFusion):
        free = fusion.weights[name]
        A_x = torch.eye(D) + torch.complex(free[0], free[1]) @ uniform
        moved = A_x @ density @ A_x.mH
        return moved / moved.trace().real
    V = fusion.interactions[name]().coupling.to(torch.complex128)
    density, ancilla = density.to(V.dtype), ancilla.to(V.dtype)
    if isinstance(fusion, UnitaryStreamFusion):
        H = partial_trace(V @ product_density([torch.eye(D).to(V.dtype), ancilla]), (D, A), [0])
        U = torch.linalg.matrix_exp(-1j * H)
        return (U @ density @ U.mH).to(torch.complex64)
    U = torch.linalg.matrix_exp(-1j * V)
    moved = U @ product_density([density, ancilla]) @ U.mH
    return partial_trace(moved, (D, A), [0]).to(torch.complex64)


def walked(fusion, states, lengths, row):
    """The final and the mean state of one sample."""
    density, seen = density_of(fusion.start), []
    counts = {name: lengths[name][row] for name in DIMS}
    if fusion.form == "factorised":
        events = [
            ((step + 1) / counts[name], not SEQUENCES[name], place, name, step)
            for place, name in enumerate(DIMS)
            for step in range(counts[name])
        ]
        # In the order of time; of one time sequences first, and the face, a plain vector, last.
        for *_, name, step in sorted(events):
            ket = states.kets[list(DIMS).index(name)][row, step]
            density = step_by(fusion, name, (DIMS[name],), density, density_of(ket), ket)
            seen.append(density)
    else:
        for step in range(max(counts.values())):
            parts, kets = [], []
            for place, (name, dim) in enumerate(DIMS.items()):
                ket = states.kets[place][row, step if SEQUENCES[name] else 0] if counts[name] else None
                parts.append(maximally_mixed(dim) if ket is None else density_of(ket))
                kets.append(torch.full((dim,), dim**-0.5) + 0j if ket is None else ket)
            joint = torch.einsum("a,b,c->abc", *kets).flatten()
            density = step_by(fusion, "joint", tuple(DIMS.values()), density, product_density(parts), joint)
            seen.append(density)
    return density, torch.stack(seen).mean(0) if seen else density


@pytest.mark.parametrize("kind", FUSIONS)
@pytest.mark.parametrize(("form", "lengths"), [("factorised", LENGTHS), ("joint", ALIGNED)])
def test_a_batch_is_what_a_loop_over_samples_and_steps_gives(kind, form, lengths):
    fusion, states = fusion_of(kind, form), states_of(lengths)
    joint = fusion(states)
    assert (joint.names, joint.dims) == (("memory",), (2,))
    for row in range(4):
        final, mean = walked(fusion, states, lengths, row)
        assert torch.allclose(joint.state.density()[row], final, atol=1e-5)
        assert torch.allclose(joint.mean.density()[row], mean, atol=1e-5)


@pytest.mark.parametrize("kind", FUSIONS)
def test_the_order_of_steps_matters(kind):
    fusion, states = fusion_of(kind), states_of(LENGTHS)
    swapped = replace(states, kets=(states.kets[0], states.kets[1][:, [1, 0, 2, 3]], states.kets[2]))
    changed = (fusion(swapped).state.density() - fusion(states).state.density()).abs().amax((1, 2))
    assert (changed > 1e-4).tolist() == [True, True, True, False]


@pytest.mark.parametrize("kind", FUSIONS)
@pytest.mark.parametrize(("form", "lengths"), [("factorised", LENGTHS), ("joint", ALIGNED)])
def test_padding_is_inert_to_the_last_bit(kind, form, lengths):
    fusion = fusion_of(kind, form)
    plain = fusion(states_of(lengths))
    for padding, filling in ((0, 7.0), (3, None), (2, float("nan"))):
        found = fusion(states_of(lengths, padding, filling))
        assert torch.equal(found.state.density(), plain.state.density())
        assert torch.equal(found.mean.density(), plain.mean.density())


@pytest.mark.parametrize("kind", FUSIONS)
def test_an_absent_modality_does_not_collide(kind):
    fusion, states = fusion_of(kind), states_of(LENGTHS)
    silent = {**LENGTHS, "audio": [0, 0, 0, 0]}
    nothing = torch.zeros(4, 5, dtype=torch.bool)
    gone = replace(states, valid=(*states.valid[:2], nothing))
    found = fusion(gone).state.density()
    for row in range(4):
        assert torch.allclose(found[row], walked(fusion, states, silent, row)[0], atol=1e-5)
    alone = replace(states, valid=tuple(torch.zeros_like(each) for each in states.valid))
    assert torch.allclose(fusion(alone).state.density(), density_of(fusion.start).expand(4, 2, 2))


def test_learned_priors_start_as_mixtures_and_are_what_an_absent_factor_enters_as():
    mixed, learned = (fusion_of(CollisionFusion, "joint", absent_state=state) for state in ("mixed", "prior"))
    states = states_of(ALIGNED)
    learned.load_state_dict(mixed.state_dict(), strict=False)
    for prior in learned.priors.values():
        identity = torch.eye(prior.free.shape[-1])
        prior.free.copy_(torch.stack([identity, torch.zeros_like(identity)], 1))
    assert torch.allclose(learned(states).state.density(), mixed(states).state.density(), atol=1e-6)
    # A prior that is the ket |1⟩ for the sound, which sample 1 lacks.
    learned.priors["audio"].free.copy_(torch.tensor([[[0.0, 1.0], [0.0, 0.0]]] * 2))
    filled = replace(states, kets=(*states.kets[:2], torch.eye(2)[1].expand(4, 4, 2) + 0j))
    filled = replace(filled, valid=(*states.valid[:2], states.valid[1]))
    assert torch.allclose(learned(states).state.density()[1], learned(filled).state.density()[1], atol=1e-5)


@pytest.mark.parametrize("kind", FUSIONS)
def test_modalities_that_cannot_step_together_are_refused_in_a_sentence(kind):
    with pytest.raises(ArgumentError, match=r"3 steps of `text` and 2 of `audio`; set `form: factorised`"):
        fusion_of(kind, "joint")(states_of({**LENGTHS, "text": [3, 1, 1, 0], "audio": [2, 1, 0, 0]}))


def test_pooled_states_are_refused_along_a_stream():
    states = replace(states_of(LENGTHS), valid=None)
    with pytest.raises(ArgumentError, match="`states` must have a time axis"):
        fusion_of(CollisionFusion)(states)


def test_without_interaction_the_memory_relaxes_for_the_whole_time():
    relaxation = LearnableLindbladian(2, 2, seed=0)
    fusion = CollisionFusion(DIMS, sequences=SEQUENCES, memory_dim=2, relaxation=relaxation, time=1.5).eval()
    with torch.no_grad():
        for interaction in fusion.interactions.values():
            interaction.free.zero_()
        found = fusion(states_of(LENGTHS)).state.density()
        expected = ExactChannel().evolve(fusion.start, relaxation(), time=1.5).density()
        fallen = expected_jumps(fusion.start, relaxation(), time=1.5)
        assert torch.allclose(fusion.relaxation_jumps(states_of(LENGTHS)), fallen.expand(4), rtol=1e-4)
    assert torch.allclose(found, expected.expand(4, 2, 2), atol=1e-5)
    assert fusion_of(CollisionFusion).relaxation_jumps(states_of(LENGTHS)) is None
    with pytest.raises(ArgumentError, match="`relaxation` must be None"):
        CollisionFusion(DIMS, sequences=SEQUENCES, form="joint", relaxation=relaxation)


@pytest.mark.parametrize("kind", [UnitaryStreamFusion, LinearMapStreamFusion])
def test_long_streams_neither_overflow_nor_lose_the_gradient_of_a_loop(kind):
    torch.manual_seed(3)
    fusion = kind({"text": 2}, sequences={"text": True}, memory_dim=2)
    if kind is LinearMapStreamFusion:
        with torch.no_grad():
            fusion.weights["text"].mul_(20)
    kets = random_kets(2, 300, 2, generator=torch.Generator().manual_seed(1))
    there = torch.ones(2, 300, dtype=torch.bool)
    states = ModalityStates(("text",), (kets,), there[:, :1], (there,))
    stream = fusion.streams(states)[0]
    maps = fusion.turns(stream) if kind is UnitaryStreamFusion else fusion.maps(stream)
    if kind is LinearMapStreamFusion:
        # Unnormalised, the ket would leave the range of single precision.
        assert float(torch.linalg.matrix_norm(maps.detach(), 2).log10().sum(1).min()) > 39
    ket = fusion.start.to(torch.complex128).expand(2, 2)
    seen = []
    for step in maps.to(torch.complex128).unbind(1):
        ket = (step @ ket[..., None])[..., 0]
        ket = ket / torch.linalg.vector_norm(ket, dim=-1, keepdim=True)
        seen.append(density_of(ket))
    joint = fusion(states)
    results = [(seen[-1], torch.stack(seen).mean(0)), (joint.state.density(), joint.mean.density())]
    parameters = list(fusion.parameters())
    weights = torch.arange(8).reshape(2, 2, 2)
    gradients = [
        torch.autograd.grad(((final + 300 * mean) * weights).real.sum(), parameters, retain_graph=True)
        for final, mean in results
    ]
    for expected, found in zip(*results, strict=True):
        assert torch.allclose(found.to(expected.dtype), expected, atol=1e-5)
    for expected, found in zip(*gradients, strict=True):
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_a_diverged_unitary_cell_is_refused_in_a_sentence():
    fusion = fusion_of(UnitaryStreamFusion)
    fusion.interactions["text"].free.fill_(float("inf"))
    with pytest.raises(ArgumentError, match="must be finite, but they are not; look for NaN"):
        fusion(states_of(LENGTHS))


def test_the_unitary_cell_forgets_nothing_and_the_collisions_do():
    for kind, kept in ((UnitaryStreamFusion, True), (CollisionFusion, False)):
        fusion, states = fusion_of(kind), states_of(LENGTHS)
        densities = []
        for start in (torch.eye(2)[0], torch.eye(2)[1]):
            fusion.free_start.copy_(torch.stack([start, torch.zeros(2)]))
            densities.append(fusion(states).state.density())
        overlap = (densities[0] @ densities[1]).diagonal(dim1=-2, dim2=-1).sum(-1).real
        assert (overlap.abs() < 1e-5).tolist() == [kept, kept, kept, True]


SHARED = {"kind": "qinn", "dynamics": "collisions", "state_dims": 2, "num_vectors": 3}
MODELS = {
    "exact": {**SHARED, "evolution": "exact"},
    "unitary": {**SHARED, "evolution": "unitary"},
    "linear_map": {**SHARED, "evolution": "linear_map"},
    "gru": {"kind": "gru_stream", "memory_dim": 5},
    "lstm": {"kind": "lstm_stream", "memory_dim": 5},
}
FEATURES = {"face": 3, "text": 4, "audio": 2}


def model_of(name, dropout=0.0, **changes):
    config = {**MODELS[name], **changes}
    return build_model(
        MODEL_CONFIGS[config["kind"]].model_validate(config),
        EncoderConfig(hidden_dim=4, dropout=dropout, step_dim=6),
        feature_dims=FEATURES,
        sequences=SEQUENCES,
        num_outputs=1,
        seed=0,
    ).eval()


def batch_of(lengths=LENGTHS, padding=0) -> Batch:
    features = {}
    for name, dim in FEATURES.items():
        time = max(1, *lengths[name]) + padding
        values = torch.randn(4, 9, dim, generator=torch.Generator().manual_seed(dim))[:, :time]
        there = torch.arange(time) < torch.tensor(lengths[name])[:, None]
        features[name] = Features(values * there[..., None], torch.tensor(lengths[name]))
    return Batch(tuple("abcd"), features)


def head_inputs(model, batch):
    seen = []
    handle = model.head if hasattr(model, "head") else model.readout.head
    handle.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    with torch.no_grad():
        model(batch)
    return seen[0]


@pytest.mark.parametrize("by_pass", [True, False])
def test_the_head_sees_the_final_and_the_mean_state_and_the_hidden_vectors(by_pass):
    model, batch = model_of("exact", by_pass=by_pass), batch_of()
    seen = head_inputs(model, batch)
    with torch.no_grad():
        joint = model.joint(batch)
        vectors = model.readout.vectors
        measured = [4 * one.probabilities(vectors)[:, 0] - 1 for one in (joint.state, joint.mean)]
        hidden = [model.encoders[name](batch.features[name]) for name in FEATURES] if by_pass else []
    assert torch.allclose(seen, torch.cat([*measured, *hidden], -1), atol=1e-6)
    assert isinstance(joint.state, MixedState)
    assert (joint.hidden is None) == (not by_pass)
    names = [name for name, _ in model.named_parameters()]
    assert any("projection" in name for name in names) == by_pass


def test_a_rival_cell_has_a_pure_memory_and_the_same_read_out():
    for name in ("unitary", "linear_map"):
        model = model_of(name)
        with torch.no_grad():
            joint = model.joint(batch_of())
        assert isinstance(joint.state, PureEnsemble)
        assert head_inputs(model, batch_of()).shape == head_inputs(model_of("exact"), batch_of()).shape


@pytest.mark.parametrize("name", MODELS)
def test_values_are_prepared_once(name):
    model, calls = model_of(name), []
    model.encoders["text"].standardizer.register_forward_hook(lambda *_: calls.append(1))
    model(batch_of())
    assert len(calls) == 1


def test_a_feature_is_dropped_in_all_steps_of_a_sample():
    encoder = model_of("exact", dropout=0.5).encoders["text"].train()
    torch.manual_seed(0)
    steps = encoder.along(Features(torch.randn(50, 4, 4), torch.full((50,), 4)))[1]
    gone = steps == 0
    assert torch.equal(gone.all(1), gone.any(1))
    assert 0.3 < float(gone.float().mean()) < 0.7


@pytest.mark.parametrize("form", ["factorised", "joint"])
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_a_recurrent_network_sees_each_samples_steps_in_the_order_of_time(name, form):
    lengths = LENGTHS if form == "factorised" else ALIGNED
    model, batch = model_of(name, form=form), batch_of(lengths)
    seen = head_inputs(model, batch)
    with torch.no_grad():
        steps = {key: model.encoders[key].along(batch.features[key])[1] for key in FEATURES}
        for row in range(4):
            counts = {key: lengths[key][row] for key in FEATURES}
            inputs = []
            if form == "factorised":
                events = [
                    ((step + 1) / counts[key], not SEQUENCES[key], place, key, step)
                    for place, key in enumerate(FEATURES)
                    for step in range(counts[key])
                ]
                for *_, key, step in sorted(events):
                    marked = functional.one_hot(torch.tensor(list(FEATURES).index(key)), 3)
                    inputs.append(torch.cat([steps[key][row, step], marked]))
            else:
                for step in range(max(counts.values())):
                    parts = [
                        steps[key][row, step if SEQUENCES[key] else 0] if counts[key] else torch.zeros(6)
                        for key in FEATURES
                    ]
                    inputs.append(torch.cat(parts))
            expected = torch.zeros(10)
            if inputs:
                states = model.recurrent(torch.stack(inputs)[None])[0][0]
                expected = torch.cat([states[-1], states.mean(0)])
            assert torch.allclose(seen[row, :10], expected, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_samples_without_any_step_have_finite_outputs_and_gradients(name):
    model = model_of(name).train()
    output = model(batch_of().without("face").without("text").without("audio")).output
    output.square().sum().backward()
    assert output.isfinite().all()
    assert all(one.grad is None or one.grad.isfinite().all() for one in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_what_lies_behind_a_samples_steps_changes_no_bit(name):
    model = model_of(name)
    with torch.no_grad():
        plain, padded = model(batch_of()), model(batch_of(padding=3))
    assert torch.equal(plain.output, padded.output)


def test_encoders_without_steps_are_refused():
    pooled = build_model(
        MODEL_CONFIGS["concatenation"](),
        EncoderConfig(),
        feature_dims=FEATURES,
        sequences=SEQUENCES,
        num_outputs=1,
        seed=0,
    )
    with pytest.raises(ArgumentError, match="pass `step_dim`"):
        pooled.encoders.along(batch_of())
    with pytest.raises(ArgumentError, match="must have a `step_dim`"):
        type(model_of("gru"))(pooled.encoders, num_outputs=1)
