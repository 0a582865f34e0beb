"""Where dynamics end and how much of a difference they leave, in records, in words, and only as far as proved."""

import json
import math
import shutil
from dataclasses import asdict

import pytest
import torch

from qinn.explain.attractor import (
    Certificate,
    certificate_of_batches,
    certificate_words,
    mean_certificate,
)
from qinn.face.describing import describe
from qinn.quantum import (
    ExactChannel,
    ExactCollisions,
    contraction_bounds,
    find_attractor,
    log_negativity,
    mixing_bounds,
    purity,
    random_kets,
    trace_distance,
    von_neumann_entropy,
)
from qinn.records import Batch, Features
from qinn.report.facts import activity_facts
from qinn.report.numbering import Numbering
from qinn.report.sections import run_section
from qinn.results.folder import RunFolder
from qinn.results.run import read_run
from qinn.testing import example_batch

from ..tiny import rewritten
from .test_explain import BATCH, MISSING, build

TWO = {"text": 4, "audio": 3}
SMALL = {"state_dims": {"text": 2, "audio": 2}}


@pytest.mark.parametrize("batch", [BATCH, MISSING], ids=["complete", "missing"])
def test_the_long_run_is_that_of_the_generators(batch):
    model = build(evolution="exact", time=20.0).requires_grad_(False)
    found = certificate_of_batches(model, [batch.first(1), batch])
    dynamics = model.fusion.lindbladian().to(torch.complex128)
    attractor = find_attractor(dynamics)
    assert found.gap == pytest.approx(20 * float(attractor.spectral_gap), rel=1e-9)
    assert found.purity == pytest.approx(float(purity(attractor.density)), rel=1e-9)
    assert found.entropy == pytest.approx(float(von_neumann_entropy(attractor.density)), rel=1e-9)
    parts = [log_negativity(attractor.density, (2, 3, 2), [part]) for part in range(3)]
    assert found.entanglement == pytest.approx(float(torch.stack(parts).mean()), abs=1e-9)
    bounds, mixing = contraction_bounds(dynamics, 20.0), mixing_bounds(dynamics)
    assert (found.left_low, found.left_high) == pytest.approx(
        (float(bounds.lower), float(bounds.upper)), rel=1e-9
    )
    assert (found.mixing_low, found.mixing_high) == pytest.approx(
        (mixing.lower / 20, mixing.upper / 20), rel=1e-9
    )
    rate = float(torch.linalg.eigvalsh(dynamics.total_rate)[-1])
    assert found.left_least == pytest.approx(math.exp(-40 * rate), rel=1e-9)
    assert found.left_least < found.left_low < found.left_high
    assert found.kind == "bound"
    # Mean over the samples of both batches, of which the first one counts twice.
    states = model.states(batch)
    evolved = (
        ExactChannel()
        .evolve(model.fusion.initial_state(states), model.fusion.lindbladian(), time=20.0)
        .density()
    )
    mean = (evolved.sum(0) + evolved[0]) / (len(batch) + 1)
    assert found.distance == pytest.approx(
        float(trace_distance(mean.to(torch.complex128), attractor.density)), abs=1e-4
    )


def test_a_single_qubit_has_its_certificate_exactly():
    dims = {"text": 4}
    model = build(dims, evolution="exact", state_dims={"text": 2}).requires_grad_(False)
    found = certificate_of_batches(model, [example_batch(dims)])
    assert found.kind == "exact"
    assert found.left_low == found.left_high
    assert found.mixing_low == found.mixing_high
    assert found.entanglement is None
    assert "(exact)" in certificate_words(found)


def test_nothing_is_stated_that_is_not_proved():
    short = certificate_of_batches(build(evolution="exact", time=0.01), [BATCH])
    assert short.kind == "none"
    assert short.left_high is None
    assert short.left_low > 0.99
    assert "certificate: none" in certificate_words(short)
    large = build(TWO, evolution="exact", state_dims={"text": 6, "audio": 6})
    found = certificate_of_batches(large, [example_batch(TWO)])
    assert found.kind == "none"
    assert found.gap is found.purity is found.mixing_low is found.left_high is None
    assert "left out above D = 32" in found.left_out
    assert 0 < found.left_least < found.left_low <= 1
    between = build(TWO, evolution="exact", state_dims={"text": 6, "audio": 3})
    found = certificate_of_batches(between, [example_batch(TWO)])
    assert found.gap is not None
    assert found.mixing_low is None
    assert "left out above D = 16 (here 18)" in found.left_out


def test_dynamics_without_one_end_say_so():
    model = build(TWO, evolution="exact", **SMALL)
    with torch.no_grad():
        model.fusion.lindbladian.free_hamiltonian.zero_()
        # Dephasing of the first qubit: whatever is diagonal stays.
        model.fusion.lindbladian.free_jumps.zero_()
        model.fusion.lindbladian.free_jumps[0, 0] = torch.diag(torch.tensor([1.0, 1.0, -1.0, -1.0]))
    found = certificate_of_batches(model, [example_batch(TWO)])
    assert found.left_out.startswith("several states are steady")
    assert found.kind == "none"
    assert found.left_low == pytest.approx(1.0)


@pytest.mark.parametrize(
    "changes", [{"evolution": "unitary"}, {"evolution": "none"}, {"evolution": "linear_map"}]
)
def test_what_forgets_nothing_has_no_certificate(changes):
    assert certificate_of_batches(build(**changes), [BATCH]) is None
    along = {"dynamics": "collisions", "memory_dim": 2}
    if changes["evolution"] != "none":
        assert certificate_of_batches(build(**along, **changes), [BATCH]) is None
    assert certificate_of_batches(build(kind="concatenation"), [BATCH]) is None


def _apart(model, batch, dim):
    """What is left of the distance of random memories behind each sample's last step."""
    states, fusion = model.states(batch), model.fusion
    draw = torch.Generator().manual_seed(2)
    pairs = random_kets(12, dim, generator=draw).reshape(2, 6, dim)
    ratios = []
    interactions, ancillas = zip(*fusion.meetings(states), strict=True)
    for first, second in zip(*pairs, strict=True):
        moved = []
        for start in (first, second):
            collisions = ExactCollisions(mean=False)
            if fusion.form == "joint":
                moved.append(collisions.evolve(start, interactions[0], ancillas[0]).final.density())
            else:
                relaxed = None if fusion.relaxation is None else fusion.relaxation()
                times = [stream.times * fusion.time for stream in fusion.streams(states)]
                timed = any(features.times is not None for features in batch.features.values())
                until = None if relaxed is None or timed else fusion.time
                moved.append(
                    collisions.evolve_events(
                        start, interactions, ancillas, times, lindbladian=relaxed, until=until
                    ).final.density()
                )
        before = (1 - (first.conj() @ second).abs() ** 2).sqrt()
        ratios.append(trace_distance(*moved) / before)
    return torch.stack(ratios).amax(0).double()


def timed(batch):
    """The same steps at times of their own."""
    features = {}
    for offset, (name, one) in enumerate(batch.features.items()):
        times = 0.7 * torch.arange(one.values.shape[1]).double() + 3e-4 * offset + 0.1
        features[name] = Features(one.values, one.lengths, times.expand(len(batch), -1))
    return Batch(batch.ids, features)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"memory_dim": 2}, "exact"),
        ({"memory_dim": 3, "form": "joint"}, "bound"),
        ({"relaxation": True}, "bound"),
    ],
)
@pytest.mark.parametrize("batch", [BATCH, MISSING, timed(BATCH)], ids=["complete", "missing", "timed"])
def test_over_a_sentence_no_two_memories_stay_further_apart(changes, kind, batch):
    model = build(
        **{"dynamics": "collisions", "evolution": "exact", "memory_dim": 2, **changes}
    ).requires_grad_(False)
    with torch.no_grad():
        for interaction in model.fusion.interactions.values():
            interaction.free.mul_(5)
    found = certificate_of_batches(model, [batch])
    searched = float(_apart(model, batch, model.fusion.memory_dim).mean())
    expected = "exact" if model.fusion.memory_dim == 2 else kind
    assert found.kind == expected
    assert searched <= found.left_high + 1e-5
    if found.kind == "exact":
        assert searched == pytest.approx(found.left_high, abs=0.1)
        assert found.left_low == found.left_high
    assert found.left_high <= found.step_high + 1e-6
    assert found.gap is found.left_least is None
    assert "over a sentence" in certificate_words(found)


def test_a_sentence_without_steps_or_too_large_for_memory_is_left_out(monkeypatch):
    model = build(dynamics="collisions", evolution="exact")
    nothing = BATCH.without("text").without("audio").without("vision")
    assert certificate_of_batches(model, [nothing]).left_out == "no sample has a step"
    monkeypatch.setattr("qinn.explain.attractor._MOST_NUMBERS", 100)
    assert "too much memory" in certificate_of_batches(model, [BATCH]).left_out


def test_means_take_the_weakest_kind_and_say_nothing_where_a_part_is_silent():
    parts = [
        Certificate("exact", left_low=0.2, left_high=0.2, gap=1.0),
        Certificate("bound", left_low=0.3, left_high=0.4, gap=None, left_out="something"),
    ]
    expected = Certificate("bound", left_low=0.25, left_high=(0.2 + 0.4) / 2, left_out="something")
    assert mean_certificate(parts) == expected
    assert mean_certificate([]) is None


def test_a_run_records_its_long_run_and_old_runs_are_read(tiny_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    folder = RunFolder(copy)
    summary = folder.summary()
    stated = summary.attractor
    assert asdict(stated) == json.loads((folder.fold(0) / "fold.json").read_text())["attractor"]
    assert stated.gap == pytest.approx(summary.dynamics.gap, rel=1e-4)
    assert describe(copy)["attractor"] == asdict(stated)
    section = run_section(read_run(copy), "run", Numbering())
    assert dict(section.parts[0].facts)["in the long run"] == certificate_words(stated)
    rewritten(copy / "run.json", lambda content: content.pop("attractor"))
    assert "in the long run" not in dict(activity_facts(read_run(copy).summary))
