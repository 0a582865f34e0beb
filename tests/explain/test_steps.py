"""What every step of a stream does: against running the model without it, and against the channel itself."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from qinn.data.subsets.batching import batch_of
from qinn.data.subsets.subset import subset_of
from qinn.data.synthetic.shifters import ShiftersSpec
from qinn.data.synthetic.streams import write_stream_store
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import QiNNConfig
from qinn.explain import steps as steps_module
from qinn.explain.memory_axis import MemoryAxis, memory_axis
from qinn.explain.passage import outputs_of, passage_of
from qinn.explain.steps import VERDICTS, StepExplanation, explain_steps, verdicts_of
from qinn.quantum import ExactCollisions, ancilla_entropies, collision_influence, density_of
from qinn.quantum.collisions.real_form import hermitian_coordinates
from qinn.records import Features

from .shifters import FEATURES, write_shifters

EVOLUTIONS = ["exact", "unitary", "linear_map"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_shifters(
        tmp_path_factory.mktemp("shifters") / "store", seed=1, sizes={"valid": 10, "test": 4}, longest=5
    )


def built(names=("text", "audio"), *, dim=2, outputs=2, loud=4.0, **options):
    """An untrained model whose steps do much."""
    model = build_model(
        QiNNConfig(
            **{
                "dynamics": "collisions",
                "evolution": "exact",
                "memory_dim": dim,
                "num_vectors": 3,
                "head": "linear",
                "by_pass": False,
                **options,
            }
        ),
        EncoderConfig(hidden_dim=6, dropout=0.0),
        feature_dims=dict.fromkeys(names, FEATURES),
        sequences=dict.fromkeys(names, True),
        num_outputs=outputs,
        seed=3,
    )
    with torch.no_grad():
        for name, parameter in model.fusion.named_parameters():
            if name != "free_start":
                parameter.mul_(loud)
    return model.eval().requires_grad_(False)


def explained(model, store, names=("text", "audio"), **options) -> tuple[StepExplanation, MemoryAxis]:
    axis = memory_axis(model, subset_of(store, "valid", modalities=names))
    return explain_steps(model, subset_of(store, "test", modalities=names), axis, **options), axis


def shortened(batch, step):
    """The one sample of a batch without one step of each modality."""
    features = {
        name: Features(torch.cat([one.values[:, :step], one.values[:, step + 1 :]], 1), one.lengths - 1)
        for name, one in batch.features.items()
    }
    return replace(batch, features=features)


@pytest.mark.parametrize("evolution", EVOLUTIONS)
@pytest.mark.parametrize("form", ["factorised", "joint"])
def test_the_score_without_a_step_is_that_of_the_sample_without_it(evolution, form, store):
    names = ("text",) if form == "factorised" else ("text", "audio")
    model = built(names, evolution=evolution, form=form)
    found, axis = explained(model, store, names)
    subset = subset_of(store, "test", modalities=names)
    assert len(found) == sum(subset.lengths("text"))
    row = 0
    for index in range(len(subset)):
        batch = batch_of(subset, [index])
        output = model(batch).output[0].double()
        for step in range(int(subset.lengths("text")[index])):
            without = model(shortened(batch, step)).output[0].double()
            assert found.ids[row] == batch.ids[0]
            assert (found.step[row], found.modality[row]) == (step, "+".join(names))
            assert np.allclose(found.without[row], without, atol=2e-5)
            effect = float(axis.contrast.double() @ (output - without))
            assert found.effect[row] == pytest.approx(effect, abs=5e-5)
            row += 1


@pytest.mark.parametrize("relaxation", [False, True])
def test_the_memory_is_followed_as_the_model_does(relaxation, store):
    model = built(dim=3, relaxation=relaxation)
    # The first has nothing: its memory only relaxes.
    absent = np.zeros((4, 2), bool)
    absent[0] = True
    states = model.states(batch_of(subset_of(store, "test").lacking(absent), range(4)))
    passage, fusion = passage_of(model.fusion, states), model.fusion
    streams = fusion.streams(states)
    interactions, ancillas = zip(*fusion.meetings(states), strict=True)
    truth = ExactCollisions(every=True).evolve_events(
        fusion.start,
        interactions,
        ancillas,
        [stream.times * fusion.time for stream in streams],
        lindbladian=fusion.relaxation() if relaxation else None,
        until=fusion.time if relaxation else None,
    )

    def coordinates(state):
        return hermitian_coordinates(state.density()).flatten(-2)

    happens = passage.order.happens
    assert torch.allclose(passage.after[happens], coordinates(truth.every)[happens], atol=1e-5)
    assert torch.allclose(passage.final, coordinates(truth.final), atol=1e-5)
    assert torch.allclose(passage.mean, coordinates(truth.mean), atol=1e-5)
    moved = passage.applied(passage.before[1])[1].diagonal().mT
    assert torch.allclose(moved, passage.after[1], atol=1e-5)


@pytest.mark.parametrize("evolution", EVOLUTIONS)
def test_behind_the_last_step_the_score_is_that_of_the_model(evolution, store):
    model = built(evolution=evolution, by_pass=True, head="mlp")
    found, axis = explained(model, store)
    subset = subset_of(store, "test")
    output = model(batch_of(subset, range(len(subset)))).output
    last = np.flatnonzero(np.r_[found.position[1:] == 0, True])
    assert [found.ids[row] for row in last] == list(subset.ids)
    assert np.allclose(found.output[last], output, atol=2e-5)
    assert np.allclose(found.score[last], axis.score(output), atol=2e-5)
    # The changes of all steps lead from what is read before the first to what is read behind the last.
    rows = [row for row, name in enumerate(found.ids) if name == subset.ids[0]]
    passage = passage_of(model.fusion, states := model.states(batch_of(subset, [0])))
    start = passage.start[None]
    before = axis.score(outputs_of(model, start, start, states.hidden))
    assert found.change[rows].sum() == pytest.approx(found.score[rows[-1]] - float(before[0]), abs=1e-4)


def test_steps_at_times_of_their_own_are_followed_in_their_order(tmp_path):
    # Some end within the first second, which is how long a sample without times takes.
    spec = ShiftersSpec(
        num_train=0, num_valid=8, num_test=8, asynchronous=True, dim=FEATURES, min_length=1, max_length=4
    )
    timed, _ = write_stream_store(tmp_path / "timed", spec)
    model = built(relaxation=True)
    found, axis = explained(model, timed)
    subset = subset_of(timed, "test")
    output = model(batch_of(subset, range(len(subset)))).output
    last = np.flatnonzero(np.r_[found.position[1:] == 0, True])
    assert np.allclose(found.score[last], axis.score(output), atol=2e-5)
    for first, end in zip(np.r_[0, last[:-1] + 1], last + 1, strict=True):
        assert (np.diff(found.time[first:end]) > 0).all()
    assert found.time.max() > 1
    states = model.states(batch_of(subset, range(len(subset))))
    final = hermitian_coordinates(model.fusion(states).state.density()).flatten(-2)
    assert torch.allclose(passage_of(model.fusion, states).final, final, atol=1e-5)
    assert {
        word != "" for word, modality in zip(found.word, found.modality, strict=True) if modality == "text"
    } == {True}


@pytest.mark.parametrize("dim", [2, 3])
def test_contraction_and_rotation_are_those_of_the_channel(dim, store):
    model = built(dim=dim)
    found, axis = explained(model, store)
    subset = subset_of(store, "test")
    batch = batch_of(subset, range(len(subset)))
    for index, name in enumerate(("text", "audio")):
        meeting = model.fusion.meetings(model.states(batch))[index]
        truth = collision_influence(*meeting, axis=axis.bloch)
        rows = [row for row, one in enumerate(found.modality) if one == name]
        places = [subset.ids.pick(np.arange(len(subset))).index(found.ids[row]) for row in rows]
        at = (places, found.step[rows])
        assert np.allclose(found.contraction[rows], truth.contraction[at], atol=1e-4)
        assert np.allclose(found.rotation[rows], truth.rotation[at], atol=1e-3)
        if dim == 2:
            assert np.allclose(found.keep[rows], truth.keep[at], atol=1e-5)
            assert np.allclose(found.write[rows], truth.write[at], atol=1e-5)


def test_what_is_kept_and_written_obeys_the_bound_of_channels(store):
    found, _ = explained(built(loud=8.0), store)
    assert (np.abs(found.keep) <= found.kept + 1e-5).all()
    assert (np.abs(found.keep) + np.abs(found.write) <= 1 + 1e-4).all()
    assert (found.kept <= 1 - found.contraction + 1e-4).all()
    assert np.ptp(found.keep) > 0.1


@pytest.mark.parametrize("form", ["factorised", "joint"])
def test_entropies_lie_between_nothing_and_all_that_the_ancilla_can_hold(form, store):
    model = built(form=form, state_dims=2, dim=3)
    found, _ = explained(model, store)
    most = 1 if form == "factorised" else 2
    assert (found.entropy >= 0).all()
    assert (found.entropy <= most + 1e-5).all()
    assert found.entropy.max() > 0.05
    # The memory is pure before the first step, and so is the ancilla: they share at most log₂ D.
    first = found.position == 0
    assert (found.entropy[first] <= math.log2(3) + 1e-5).all()
    subset = subset_of(store, "test")
    interaction, ancillas = model.fusion.meetings(model.states(batch_of(subset, range(4))))[0]
    start = density_of(model.fusion.start).expand(4, ancillas.num_steps, 3, 3)
    truth = dict(zip(subset.ids, ancilla_entropies(interaction, ancillas, start)[:, 0].tolist(), strict=True))
    rows = [row for row in np.flatnonzero(first) if "text" in found.modality[row]]
    assert rows
    assert np.allclose(found.entropy[rows], [truth[found.ids[row]] for row in rows], atol=1e-4)


def test_a_unitary_forgets_nothing_and_never_resets(store):
    found, _ = explained(built(evolution="unitary", loud=10.0), store)
    assert (found.contraction == 0).all()
    assert np.allclose(found.kept, 1, atol=1e-4)
    assert "resets" not in found.verdict
    assert {"inverts", "turns"} & set(found.verdict)
    assert np.isnan(found.entropy).all()
    assert found.outcomes.shape == (len(found), 0)


def test_what_is_not_there_gives_nothing(store):
    model = built()
    subset = subset_of(store, "test")
    absent = np.zeros((len(subset), 2), bool)
    absent[0] = True, True
    absent[1] = False, True
    subset = subset.lacking(absent)
    axis = memory_axis(model, subset_of(store, "valid"))
    found = explain_steps(model, subset, axis)
    assert subset.ids[0] not in found.ids
    assert {
        modality for name, modality in zip(found.ids, found.modality, strict=True) if name == subset.ids[1]
    } == {"text"}
    assert len(found) == subset.lengths("text").sum() + subset.lengths("audio").sum()
    assert set(found.word) <= {"awful", "great", "not", "so", "the", ""}
    for word, modality in zip(found.word, found.modality, strict=True):
        assert bool(word) == (modality == "text")
    nothing = explain_steps(model, subset.take([0]), axis)
    assert len(nothing) == 0
    assert nothing.samples == 1


@pytest.mark.parametrize("evolution", EVOLUTIONS)
def test_a_step_is_explained_the_same_in_every_batch(evolution, store):
    model = built(evolution=evolution, relaxation=False)
    whole, _ = explained(model, store)
    alone, _ = explained(model, store, batch_size=1)
    assert (whole.ids, whole.word, whole.verdict) == (alone.ids, alone.word, alone.verdict)
    for name in ("contraction", "rotation", "keep", "write", "entropy", "score", "effect", "outcome_changes"):
        assert np.allclose(getattr(whole, name), getattr(alone, name), atol=1e-3, equal_nan=True), name
    assert (whole.outcomes == alone.outcomes).all()


def test_records_change_the_score_on_average_as_the_exact_memory_does(store):
    found, _ = explained(built(), store, num_records=1500)
    assert found.outcomes.shape == (len(found), 1500)
    assert (found.outcomes >= 0).all()
    assert (found.outcomes < 4).all()
    errors = found.outcome_changes.std(1) / 1500**0.5
    assert (np.abs(found.outcome_changes.mean(1) - found.change) < 4.5 * errors + 1e-4).all()
    assert found.outcome_changes.std(1).max() > 1e-3


def test_without_an_axis_the_score_is_explained_all_the_same(store):
    model = built()
    found = explain_steps(model, subset_of(store, "test"), None)
    assert np.isnan(found.keep).all()
    assert set(found.verdict) == {""}
    assert np.isfinite(found.effect).all()


def test_pooled_models_have_no_steps(store):
    model = build_model(
        QiNNConfig(state_dims=2, evolution="exact"),
        EncoderConfig(hidden_dim=4),
        feature_dims=dict.fromkeys(("text", "audio"), FEATURES),
        sequences=dict.fromkeys(("text", "audio"), True),
        num_outputs=2,
        seed=0,
    ).eval()
    assert explain_steps(model, subset_of(store, "test"), None) is None
    assert memory_axis(model, subset_of(store, "test")) is None


def test_the_limits_of_work_leave_out_evenly_and_say_so(store, monkeypatch):
    model = built(dim=3)
    whole, axis = explained(model, store)
    monkeypatch.setattr(steps_module, "_INFLUENCE_WORK", 5 * 3**6)
    found, _ = explained(model, store)
    assert found.unmeasured == np.isnan(found.contraction).sum() == len(found) - 5
    assert np.isfinite(found.effect).all()
    lengths = sum(subset_of(store, "test").lengths(name) for name in ("text", "audio"))
    monkeypatch.setattr(steps_module, "_PASSAGE_WORK", 81 * int((lengths**2 + lengths).sum() / 2))
    half, _ = explained(model, store)
    assert half.skipped == 2 == half.samples
    assert set(half.ids) < set(whole.ids)
    assert axis.bloch is None


def test_the_axis_separates_what_is_read_as_high_and_low(store):
    model = built(outputs=1)
    axis = memory_axis(model, subset_of(store, "valid"))
    assert float(torch.linalg.vector_norm(torch.tensor(axis.bloch))) == pytest.approx(1, abs=1e-5)
    low, high = (outputs_of(model, one[None], one[None], None).item() for one in (axis.low, axis.high))
    assert low < high
    assert axis.position(axis.low).item() == pytest.approx(-1, abs=1e-4)
    assert axis.position(axis.high).item() == pytest.approx(1, abs=1e-4)
    assert axis.contrast.tolist() == [1]
    two = memory_axis(built(outputs=2), subset_of(store, "valid"))
    assert two.contrast.tolist() == pytest.approx([-1, 1])
    three = memory_axis(built(outputs=3), subset_of(store, "valid")).contrast
    assert three.sum().item() == pytest.approx(0, abs=1e-5)
    assert three.abs().sum().item() == pytest.approx(2, abs=1e-5)


def test_every_step_has_exactly_one_verdict():
    draw = np.random.default_rng(0)
    kept, before = draw.uniform(0, 1, 2000), draw.normal(size=2000)
    keep, after = kept * draw.uniform(-1, 1, 2000), before + draw.normal(size=2000)
    verdicts, amounts = verdicts_of(keep, kept, before, after)
    assert set(verdicts) == set(VERDICTS)
    assert ((amounts >= 0) & (amounts <= 1)).all()
    for verdict, was, is_, one, two in zip(verdicts, before, after, keep, kept, strict=True):
        if two < 0.5:
            assert verdict == "resets"
        elif one <= -0.5:
            assert verdict == "inverts"
        elif one < 0.5:
            assert verdict == "turns"
        else:
            moved = (is_ - was) * np.sign(was)
            expected = "intensifies" if moved >= 0.25 else "weakens" if moved <= -0.25 else "keeps"
            assert verdict == expected
