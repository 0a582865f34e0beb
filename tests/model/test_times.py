"""Steps at times of their own: order, relaxation and pauses, against loops over samples and events."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from qinn.errors import ArgumentError
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.model.collisions import CollisionFusion, LinearMapStreamFusion, UnitaryStreamFusion
from qinn.model.streams import order_of, streams_of
from qinn.quantum import (
    ExactChannel,
    LearnableLindbladian,
    MixedState,
    density_of,
    expected_jumps,
    partial_trace,
    product_density,
    random_kets,
)
from qinn.records import Batch, Features, ModalityStates

DIMS = {"face": 2, "text": 3, "audio": 2}
SEQUENCES = {"face": False, "text": True, "audio": True}
# The last sample has nothing, the one before text alone, the second no face.
LENGTHS = {"face": [1, 0, 0, 0], "text": [3, 1, 2, 0], "audio": [2, 4, 0, 0]}
TIMES = {
    "text": [[0.5, 1.0, 4.0], [2.0], [0.0, 7.0], []],
    "audio": [[0.2, 1.0], [0.1, 2.0, 2.0, 9.0], [], []],
}


def padded(times, steps, filling=0.0):
    rows = [torch.tensor([*each, *[filling] * (steps - len(each))], dtype=torch.float64) for each in times]
    return torch.stack(rows)


def states_of(times=TIMES, filling=0.0) -> ModalityStates:
    kets, valid, moments = [], [], []
    for name, dim in DIMS.items():
        steps = max(LENGTHS[name])
        kets.append(random_kets(4, steps, dim, generator=torch.Generator().manual_seed(dim)))
        valid.append(torch.arange(steps) < torch.tensor(LENGTHS[name])[:, None])
        moments.append(padded(times[name], steps, filling) if name in times else None)
    present = torch.stack([there.any(1) for there in valid], 1)
    return ModalityStates(tuple(DIMS), tuple(kets), present, tuple(valid), None, tuple(moments))


def fusion_of(kind, **options):
    torch.manual_seed(3)
    fusion = kind(DIMS, sequences=SEQUENCES, memory_dim=2, **options)
    with torch.no_grad():
        for name, parameter in fusion.named_parameters():
            if name.startswith(("interactions", "weights")):
                parameter.mul_(4)
    return fusion.eval().requires_grad_(False)


def events_of(row, times=TIMES):
    """(time, modality, step) of one sample in order: ties by modality, the face, without a time, last."""
    found = [
        (moment, place, name, step)
        for place, name in enumerate(DIMS)
        for step, moment in enumerate(times.get(name, [[]] * 4)[row])
    ]
    found.sort(key=lambda event: event[:2])
    last = found[-1][0] if found else 0.0
    events = [(moment, name, step) for moment, _, name, step in found]
    return events + ([(last, "face", 0)] if LENGTHS["face"][row] else [])


@pytest.mark.parametrize("time", [1.0, 0.3])
def test_the_memory_relaxes_between_events_for_as_long_as_lies_between_them(time):
    relaxation = LearnableLindbladian(2, 2, seed=0)
    fusion, states = fusion_of(CollisionFusion, relaxation=relaxation, time=time), states_of()
    joint, jumps = fusion(states), fusion.relaxation_jumps(states)
    for row in range(4):
        density, seen, now, fallen = density_of(fusion.start), [], 0.0, 0.0
        for moment, name, step in events_of(row):
            if moment > now:
                fallen += float(expected_jumps(MixedState(density), relaxation(), time=(moment - now) * time))
                density = ExactChannel().evolve(density, relaxation(), time=(moment - now) * time).density()
            now = moment
            V = fusion.interactions[name]().coupling
            U = torch.linalg.matrix_exp(-1j * V)
            ancilla = density_of(states.kets[list(DIMS).index(name)][row, step])
            moved = U @ product_density([density, ancilla]) @ U.mH
            density = partial_trace(moved, (2, DIMS[name]), [0])
            seen.append(density)
        assert torch.allclose(joint.state.density()[row], density, atol=1e-5)
        mean = torch.stack(seen).mean(0) if seen else density
        assert torch.allclose(joint.mean.density()[row], mean, atol=1e-5)
        assert float(jumps[row]) == pytest.approx(fallen, rel=1e-4)


def test_longer_pauses_change_a_memory_that_relaxes_and_no_other():
    slower = {name: [[2 * moment for moment in each] for each in rows] for name, rows in TIMES.items()}
    relaxing = fusion_of(CollisionFusion, relaxation=LearnableLindbladian(2, 2, seed=0))
    changed = relaxing(states_of(slower)).state.density() - relaxing(states_of()).state.density()
    assert (changed.abs().amax((1, 2)) > 1e-3).tolist() == [True, True, True, False]
    for kind in (CollisionFusion, UnitaryStreamFusion, LinearMapStreamFusion):
        fusion = fusion_of(kind)
        assert torch.equal(fusion(states_of(slower)).state.density(), fusion(states_of()).state.density())


@pytest.mark.parametrize("kind", [CollisionFusion, UnitaryStreamFusion, LinearMapStreamFusion])
def test_equal_steps_at_other_times_are_met_in_another_order(kind):
    fusion = fusion_of(kind)
    given = fusion(states_of()).state.density()
    # The sound of the first sample comes first; what the others hear keeps its place.
    earlier = {**TIMES, "audio": [[0.2, 0.3], *TIMES["audio"][1:]]}
    changed = (fusion(states_of(earlier)).state.density() - given).abs().amax((1, 2))
    assert (changed > 1e-4).tolist() == [True, False, False, False]


def test_the_order_is_that_of_the_times():
    streams = streams_of(
        tuple(DIMS),
        states_of().kets,
        states_of().valid,
        sequences=SEQUENCES,
        form="factorised",
        times=states_of().times,
    )
    order = order_of(streams)
    assert [stream.name for stream in streams] == ["text", "audio", "face"]
    first = {"text": 0, "audio": 3, "face": 7}
    for row in range(4):
        expected = [first[name] + step for _, name, step in events_of(row)]
        assert order.places[row][order.happens[row]].tolist() == expected


def test_what_stands_in_the_padding_of_times_changes_no_bit():
    fusion = fusion_of(CollisionFusion, relaxation=LearnableLindbladian(2, 2, seed=0))
    plain = fusion(states_of()).state.density()
    for filling in (99.0, -1.0, float("nan")):
        assert torch.equal(fusion(states_of(filling=filling)).state.density(), plain)


def test_a_plain_vector_may_have_a_time_of_its_own():
    first = {**TIMES, "face": [[0.1], [], [], []]}
    fusion = fusion_of(CollisionFusion)
    found, last = fusion(states_of(first)).state.density(), fusion(states_of()).state.density()
    assert not torch.allclose(found[0], last[0], atol=1e-4)
    at_the_end = fusion(states_of({**TIMES, "face": [[4.0], [], [], []]})).state.density()
    assert torch.equal(at_the_end, last)


def test_a_sequence_without_times_beside_one_with_them_is_refused_in_a_sentence():
    fusion = fusion_of(CollisionFusion)
    with pytest.raises(
        ArgumentError, match=r"known of `text` and not of `audio`; import `audio` with its times"
    ):
        fusion(states_of({"text": TIMES["text"]}))
    states = states_of({"text": TIMES["text"]})
    silent = replace(states, valid=(*states.valid[:2], torch.zeros(4, 4, dtype=torch.bool)))
    assert fusion(silent).state.density().isfinite().all()


def test_modalities_that_step_together_must_do_so_at_one_time():
    fusion = fusion_of(CollisionFusion, form="joint")
    states = states_of()
    kets = (*states.kets[:2], random_kets(4, 3, 2, generator=torch.Generator().manual_seed(9)))
    aligned = replace(states, kets=kets, valid=(*states.valid[:2], states.valid[1]))
    text = states.times[1]
    plain = fusion(replace(aligned, times=None)).state.density()
    near = fusion(replace(aligned, times=(None, text, text + 0.0009))).state.density()
    assert torch.equal(near, plain)
    apart = text.clone()
    apart[0, 2] += 0.01
    with pytest.raises(
        ArgumentError, match="steps of `text` and `audio` with one number are more than 1 ms apart"
    ):
        fusion(replace(aligned, times=(None, text, apart)))


FEATURES = {"face": 3, "text": 4, "audio": 2}


def batch_of(times=TIMES) -> Batch:
    features = {}
    for name, dim in FEATURES.items():
        steps = max(LENGTHS[name])
        values = torch.randn(4, steps, dim, generator=torch.Generator().manual_seed(dim))
        lengths = torch.tensor(LENGTHS[name])
        there = torch.arange(steps) < lengths[:, None]
        moments = padded(times[name], steps) if name in times else None
        features[name] = Features(values * there[..., None], lengths, moments)
    return Batch(tuple("abcd"), features)


def model_of(kind, timed=("text", "audio"), **changes):
    return build_model(
        MODEL_CONFIGS[kind].model_validate({"kind": kind, **changes}),
        EncoderConfig(hidden_dim=4, dropout=0.0, step_dim=6),
        feature_dims=FEATURES,
        sequences=SEQUENCES,
        num_outputs=1,
        seed=0,
        timed=timed,
    ).eval()


@pytest.mark.parametrize("kind", ["gru_stream", "lstm_stream"])
def test_a_recurrent_network_sees_how_long_ago_the_step_before_was(kind):
    model, batch = model_of(kind, memory_dim=5), batch_of()
    seen = []
    model.head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    with torch.no_grad():
        model(batch)
        steps = {key: model.encoders[key].along(batch.features[key])[1] for key in FEATURES}
        for row in range(4):
            inputs, now = [], 0.0
            for moment, key, step in events_of(row):
                marked = functional.one_hot(torch.tensor(list(FEATURES).index(key)), 3)
                pause = torch.tensor([1 + moment - now]).log()
                inputs.append(torch.cat([steps[key][row, step], marked, pause]))
                now = moment
            expected = torch.zeros(10)
            if inputs:
                states = model.recurrent(torch.stack(inputs)[None])[0][0]
                expected = torch.cat([states[-1], states.mean(0)])
            assert torch.allclose(seen[0][row, :10], expected, atol=1e-6)


def test_networks_made_for_times_refuse_data_without_them():
    with pytest.raises(ArgumentError, match="`batch` must say when steps happen"):
        model_of("gru_stream")(batch_of({}))
    assert model_of("gru_stream", form="joint").recurrent.input_size == 18
    assert model_of("gru_stream", timed=()).recurrent.input_size == 9
    assert model_of("gru_stream", timed=("audio",)).recurrent.input_size == 10


def test_batches_keep_their_times():
    batch = batch_of()
    text = batch.features["text"].times
    assert torch.equal(batch.first(2).features["text"].times, text[:2])
    assert torch.equal(batch.to("cpu").features["text"].times, text)
    assert torch.equal(batch.without("text").features["text"].times, text)
    gone = batch.lacking(torch.ones(4, 3, dtype=torch.bool))
    assert torch.equal(gone.features["text"].times, text)
    assert gone.features["face"].times is None
    assert torch.equal(batch.features["text"].rows([2, 0]).times, text[[2, 0]])


@pytest.mark.parametrize("kind", ["gru_stream", "lstm_stream", "qinn"])
def test_samples_without_any_step_have_finite_outputs_and_gradients(kind):
    options = {"dynamics": "collisions", "evolution": "exact", "relaxation": True} if kind == "qinn" else {}
    model = model_of(kind, **options).train()
    output = model(batch_of().without("face").without("text").without("audio")).output
    output.square().sum().backward()
    assert output.isfinite().all()
    assert all(one.grad is None or one.grad.isfinite().all() for one in model.parameters())
