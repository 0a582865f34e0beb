"""How much the learned dynamics do, and that nobody is left in ignorance of dynamics that do nothing."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch

from qinn.experiment.absence_sweep import sweep_absent
from qinn.experiment.comparison import compare
from qinn.experiment.config import parse_config
from qinn.experiment.evaluation import evaluate_run
from qinn.experiment.tuning import tune
from qinn.explain.activity import Activity, activity_of_batches, activity_remarks, mean_activity
from qinn.quantum import QuantumJumps, collision_influence, entanglement_entropies, find_attractor
from qinn.report.numbering import Numbering
from qinn.report.page import read_results
from qinn.report.sections import run_section
from qinn.results.evaluation import metrics_tables
from qinn.results.folder import RunFolder
from qinn.results.metric_columns import ASLEEP_NOTE, EnsembleMetric, shown_metrics
from qinn.results.run import read_run
from qinn.results.sweep import read_sweep
from qinn.results.tuning import read_tuning
from qinn.testing import example_batch

from ..tiny import QINN, TRAINING, rewritten, tiny_config, tiny_content
from .test_explain import BATCH, DIMS, MISSING, build


def quiet(model, factor):
    """Scale the generators."""
    with torch.no_grad():
        for parameter in model.fusion.lindbladian.parameters():
            parameter.mul_(factor)
    return model


@pytest.mark.parametrize("evolution", ["jumps", "exact", "heisenberg", "hybrid", "gumbel"])
@pytest.mark.parametrize("batch", [BATCH, MISSING], ids=["complete", "missing"])
def test_jumps_are_those_that_trajectories_have(evolution, batch):
    model = build(evolution=evolution, jump_scale=2.0)
    counting = QuantumJumps(4000, seed=0, record=True)
    with torch.no_grad():
        record = model.fusion(model.states(batch), evolution=counting).state.record
    numbers = record.num_jumps.double()
    # All samples share their random numbers, so that the error is that of one sample.
    error = float(numbers.std(1).max()) / numbers.shape[1] ** 0.5
    found = activity_of_batches(model, [batch])
    assert abs(found.jumps - float(numbers.mean())) < 4 * error


def test_turning_gap_and_entanglement_are_those_of_the_generators():
    model = build(DIMS, evolution="exact", time=0.7).requires_grad_(False)
    found = activity_of_batches(model, [BATCH])
    dynamics = model.fusion.lindbladian()
    H = dynamics.hamiltonian
    deviation = H - torch.eye(12) * H.diagonal().mean()
    assert found.turning == pytest.approx(0.7 * float(torch.linalg.matrix_norm(deviation, 2)), rel=1e-5)
    assert found.gap == pytest.approx(0.7 * float(find_attractor(dynamics).spectral_gap), rel=1e-5)
    assert 0 < found.entanglement < 1.6


def test_turning_and_gap_are_those_of_the_dynamics_whatever_the_samples():
    model = build(DIMS, evolution="exact", time=0.7).requires_grad_(False)
    lacking, complete = (activity_of_batches(model, [batch]) for batch in (MISSING, BATCH))
    assert (lacking.turning, lacking.gap) == (complete.turning, complete.gap)
    assert lacking.jumps != complete.jumps


def test_batches_are_averaged_over_samples_not_over_batches():
    model = build(evolution="exact")
    whole = activity_of_batches(model, [BATCH])
    parts = activity_of_batches(model, [BATCH.first(1), _rest(BATCH)])
    assert parts.jumps == pytest.approx(whole.jumps, rel=1e-5)
    # Without jumps nothing is drawn, so that entropies are exact.
    turned = build(evolution="unitary")
    whole, parts = (activity_of_batches(turned, one) for one in ([BATCH], [BATCH.first(1), _rest(BATCH)]))
    assert parts.entanglement == pytest.approx(whole.entanglement, rel=1e-4)


@pytest.mark.parametrize("evolution", ["jumps", "exact", "heisenberg"])
def test_the_mean_entanglement_has_the_error_of_all_samples_not_of_one(evolution):
    dims = {"text": 3, "audio": 2}
    model = build(dims, evolution=evolution, jump_scale=2.0, num_evaluation_trajectories=2)
    batch = example_batch(dims, num_samples=400)
    drawn = torch.random.get_rng_state()
    found = activity_of_batches(model, [batch])
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert activity_of_batches(model, [batch]) == found
    with torch.no_grad():
        joint = model.fusion(model.states(batch), evolution=QuantumJumps(200))
        entropies = entanglement_entropies(joint.state.kets, joint.dims)
    # Eight trajectories that all samples share would have the error of eight, twenty times this one.
    assert abs(found.entanglement - float(entropies.mean())) < 4 * float(entropies.std()) / (8 * 400) ** 0.5


def _rest(batch):
    from qinn.records import Batch, Features

    features = {name: Features(one.values[1:], one.lengths[1:]) for name, one in batch.features.items()}
    return Batch(batch.ids[1:], features)


def test_models_without_generators_have_no_activity():
    for model in (build(evolution="none"), build(evolution="linear_map"), build(kind="concatenation")):
        assert activity_of_batches(model, [BATCH]) is None


ALONG = {"dynamics": "collisions", "evolution": "exact", "memory_dim": 3}


@pytest.mark.parametrize("form", ["factorised", "joint"])
@pytest.mark.parametrize("batch", [BATCH, MISSING], ids=["complete", "missing"])
def test_contraction_and_rotation_are_means_over_the_steps_of_all_samples(form, batch):
    model = build(**ALONG, form=form).requires_grad_(False)
    found = activity_of_batches(model, [batch])
    influences = [
        (collision_influence(*meeting), meeting[1]) for meeting in model.fusion.meetings(model.states(batch))
    ]
    for name in ("contraction", "rotation"):
        values = [
            getattr(influence, name)[ancillas.valid if ancillas.valid is not None else slice(None)].flatten()
            for influence, ancillas in influences
        ]
        assert getattr(found, name) == pytest.approx(float(torch.cat(values).mean()), rel=1e-3)
    assert found.jumps is found.turning is found.gap is found.entanglement is None
    parts = activity_of_batches(model, [batch.first(1), _rest(batch)])
    assert parts.contraction == pytest.approx(found.contraction, rel=1e-3)


def test_a_long_stream_is_measured_on_a_part_of_its_steps(monkeypatch):
    model = build(**ALONG)
    whole = activity_of_batches(model, [BATCH])
    monkeypatch.setattr("qinn.explain.activity._INFLUENCE_WORK", 1)
    monkeypatch.setattr("qinn.explain.activity._FEWEST_STEPS", 3)
    part = activity_of_batches(model, [BATCH])
    assert part.contraction != whole.contraction
    assert part.contraction == pytest.approx(whole.contraction, rel=0.5)


def test_the_unitary_cell_turns_by_its_angle_and_contracts_nothing():
    model = build(**{**ALONG, "evolution": "unitary", "memory_dim": 2})
    with torch.no_grad():
        for interaction in model.fusion.interactions.values():
            # V = 0.4 Z ⊗ 𝟙: every step turns the memory's Bloch vector by 0.8.
            size = interaction.free.shape[0] // 2
            interaction.free.copy_(torch.block_diag(0.4 * torch.eye(size), -0.4 * torch.eye(size)))
    found = activity_of_batches(model, [BATCH])
    assert found.contraction == 0
    assert found.rotation == pytest.approx(0.8, abs=1e-3)
    assert activity_of_batches(build(**{**ALONG, "evolution": "linear_map"}), [BATCH]) is None
    assert activity_of_batches(build(kind="gru_stream"), [BATCH]) is None


@pytest.mark.parametrize(
    ("contraction", "warns"), [(0.0, False), (0.005, True), (0.019, True), (0.021, False)]
)
def test_steps_that_turn_and_hardly_forget_are_nearly_the_unitary_cell(contraction, warns):
    remarks = activity_remarks([Activity(contraction=contraction, rotation=0.2)])
    assert [one for one in remarks if "nearly the unitary cell" in one] == remarks
    assert bool(remarks) is warns


def test_a_batch_without_any_step_has_no_activity_to_speak_of():
    nothing = BATCH.without("text").without("audio").without("vision")
    assert activity_of_batches(build(**ALONG), [nothing]) == Activity(contraction=0.0, rotation=0.0)


@pytest.mark.parametrize(("strength", "loud"), [(0.01, False), (1.0, False), (30.0, True)])
def test_a_relaxation_between_steps_that_shouts_is_warned_of_and_a_soft_one_is_not(strength, loud):
    # No rates are bounded here, so that the size of the free parameters is that of the jump operators.
    model = build(**ALONG, relaxation=True, max_rate="unbounded", jump_scale=strength).requires_grad_(False)
    found = activity_of_batches(model, [BATCH])
    states = model.states(BATCH)
    assert found.jumps == pytest.approx(float(model.fusion.relaxation_jumps(states).mean()), rel=1e-4)
    assert (found.jumps > 5) is loud
    remarks = activity_remarks([found])
    assert any("drown the input" in one for one in remarks) is loud
    assert not any(one.startswith("Jumps hardly fall") for one in remarks)


def test_a_unitary_model_turns_and_never_jumps():
    found = activity_of_batches(build(evolution="unitary"), [BATCH])
    assert found.jumps == 0
    assert found.turning > 0.1
    assert activity_remarks([found]) == []


def test_a_single_modality_has_no_entanglement():
    dims = {"text": 4}
    found = activity_of_batches(build(dims, evolution="exact"), [example_batch(dims)])
    assert found.entanglement is None
    assert found.jumps > 0


@pytest.mark.parametrize(
    ("activity", "words"),
    [
        (Activity(0.04, 0.04), "The dynamics sleep"),
        (Activity(0.0, 0.0), "The dynamics sleep"),
        (Activity(0.04, 0.06), "Jumps hardly fall"),
        (Activity(0.06, 0.0), None),
        (Activity(5.0, 1.0), None),
        (Activity(5.1, 1.0), "drown the input"),
        (Activity(contraction=0.019, rotation=0.019), "next to never learns"),
        (Activity(contraction=0.0, rotation=0.021), None),
        (Activity(contraction=0.021, rotation=0.0), None),
    ],
)
def test_what_is_warned_of(activity, words):
    remarks = activity_remarks([activity])
    assert [words in remark for remark in remarks] == ([True] if words else [])
    several = activity_remarks([Activity(1.0, 1.0), activity])
    assert all("in at least one fold" in remark for remark in several)
    assert len(several) == len(remarks)


def test_a_mean_says_nothing_where_a_part_is_silent():
    parts = [Activity(1.0, 2.0, 0.5, None), Activity(3.0, 4.0, None, 0.25)]
    assert mean_activity(parts) == Activity(2.0, 3.0, None, None)
    along = [
        Activity(contraction=0.1, rotation=0.5),
        Activity(contraction=0.3, rotation=0.7),
    ]
    assert mean_activity(along).contraction == pytest.approx(0.2)
    assert mean_activity(along).jumps is None
    # What was recorded before streams had any.
    assert mean_activity([Activity(jumps=1.0, turning=2.0)]) == Activity(1.0, 2.0)
    assert mean_activity([]) is None


SLEEPING = {**QINN, "hamiltonian_scale": 1e-4, "jump_scale": 1e-6}


@pytest.fixture(scope="module")
def compared(tiny_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    config = tiny_config(
        tiny_store,
        models={
            "asleep": SLEEPING,
            "awake": QINN,
            "none": {**QINN, "evolution": "none"},
            "late": {"kind": "late_fusion"},
        },
        training={**TRAINING, "learning_rate": 1e-4},
    )
    return folder, config, compare(config, folder)


def test_a_sleeping_model_is_in_no_table_without_its_warning(compared, capsys):
    from qinn.cli.training import show_comparison

    folder, _, content = compared
    assert content.models["asleep"].dynamics.jumps < 0.05
    assert content.models["late"].dynamics is content.models["none"].dynamics is None
    warned = "The dynamics sleep"
    table = (folder / "table.md").read_text()
    assert table.startswith(content.table(shown_metrics(content.task)).to_markdown())
    assert f"- **asleep**: {warned}" in table
    assert "| model | parameters | CPU s | jumps | ‖H‖T | E |" in table
    [result], _ = read_results([folder])
    shown = result.table()
    assert [one for one in shown.remarks if warned in one[1]] == [
        ("asleep", content.models["asleep"].remarks[0])
    ]
    assert shown.header[3:6] == ("jumps", "‖H‖T", "E")
    assert [cell.text for cell in shown.rows[3][3:6]] == ["–", "–", "–"]
    show_comparison(content, as_json=False)
    printed = capsys.readouterr()
    assert warned in " ".join((printed.out + printed.err).split())
    # Standard output alone, as it goes into files and through pipes, says so too.
    assert ASLEEP_NOTE in " ".join(printed.out.split())


def test_every_table_that_names_a_sleeping_model_marks_its_row(compared):
    _, _, content = compared
    together = EnsembleMetric(value=0.5, low=0.4, high=0.6)
    models = {
        label: replace(entry, ensemble=dict.fromkeys(entry.metrics, together))
        for label, entry in content.models.items()
    }
    tests = {label: content.paired["awake"] for label in models if label != "awake"}
    shown = replace(content, models=models, reference="awake", paired=tests)
    earlier = replace(shown, margins=None)
    for table in (shown.table(), shown.paired_table(), shown.ensemble_table(), earlier.paired_table()):
        marks = {row[0].text: row[0].detail for row in table.rows}
        assert marks.pop("asleep") == "(asleep)"
        assert not any("asleep" in mark for mark in marks.values())
        assert ASLEEP_NOTE in table.notes
    assert {row["model"] for row in shown.frame_rows() if row["asleep"]} == {"asleep"}


def test_a_sleeping_run_is_evaluated_and_swept_under_its_warning(compared, tmp_path):
    folder, _, _ = compared
    run = RunFolder(folder / "asleep" / "seed-0")
    assert metrics_tables(run.summary(), run.metrics())[0].title.endswith("parameters, asleep: test")
    found = evaluate_run(run.path)
    assert found.tables("it")[0].title.startswith("it (asleep) on")
    assert found.remarks[0].startswith("The dynamics sleep")
    assert found.table().notes == found.remarks[:1]
    assert not evaluate_run(folder / "awake" / "seed-0").remarks
    runs = [folder / label / "seed-0" for label in ("asleep", "awake", "late")]
    swept = sweep_absent(runs, tmp_path / "sweep", rates=(0.0, 0.5), mask_seeds=(0,), num_resamples=10)
    assert [entry.asleep for entry in swept.models.values()] == [True, False, False]
    assert [entry.dynamics for entry in swept.models.values()] == [
        RunFolder(path).summary().dynamics for path in runs
    ]
    assert swept == replace(read_sweep(tmp_path / "sweep"), folder=swept.folder)
    text = (tmp_path / "sweep" / "table.md").read_text()
    acting = swept.models["awake"].dynamics
    shown = " | ".join(f"{value:.2g}" for value in (acting.jumps, acting.turning, acting.entanglement))
    assert f"| awake | {shown} |\n| late | – | – | – |\n\nHow much the learned dynamics do" in text
    assert "| asleep (reference, asleep) |" in text
    assert ASLEEP_NOTE in text


def test_a_sleeping_trial_is_marked(tiny_store, tmp_path):
    training = {**TRAINING, "learning_rate": 1e-4}
    content = tiny_content(tiny_store, models={"asleep": SLEEPING, "awake": QINN}, training=training)
    space = {"learning_rate": {"low": 1e-5, "high": 1e-4}}
    config = parse_config({**content, "tune": {"space": space}}, "tiny")
    found = tune(config, tmp_path / "trials", trials=1)
    assert [one.trials[0].asleep for one in found.models.values()] == [True, False]
    assert [row[0].detail for row in found.table().rows] == ["(asleep)", ""]
    assert ASLEEP_NOTE in (tmp_path / "trials" / "trials.md").read_text()
    assert read_tuning(tmp_path / "trials").models["asleep"].trials[0].asleep


STREAM = {"kind": "qinn", "dynamics": "collisions", "evolution": "exact", "state_dims": 2, "num_vectors": 3}


@pytest.fixture(scope="module")
def compared_along(tiny_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    config = tiny_config(
        tiny_store,
        models={
            "along": STREAM,
            "pooled": QINN,
            "unitary": {**STREAM, "evolution": "unitary"},
            "map": {**STREAM, "evolution": "linear_map"},
            "gru": {"kind": "gru_stream", "memory_dim": 3},
        },
        training={**TRAINING, "learning_rate": 1e-5},
    )
    # Interactions that do nothing, and hardly learn to.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qinn.model.collisions._START", 1e-3)
        content = compare(config, folder)
    return folder, content


def test_a_sleeping_memory_is_in_no_table_without_its_warning(compared_along, capsys):
    from qinn.cli.training import show_comparison

    folder, content = compared_along
    stated = content.models["along"].dynamics
    assert stated.contraction < 0.02
    assert stated.rotation < 0.02
    assert stated.jumps is None
    assert content.models["map"].dynamics is content.models["gru"].dynamics is None
    warned = "next to never learns what is said"
    table = (folder / "table.md").read_text()
    assert "- **along, unitary**: The dynamics sleep: a step makes the memory forget less than 0.02" in table
    assert "| model | parameters | CPU s | jumps | ‖H‖T | contraction | rotation |" in table
    [row] = [line for line in table.splitlines() if line.startswith("| along (reference, asleep) |")]
    assert row.split(" | ")[3:5] == ["–", "–"]
    [result], _ = read_results([folder])
    shown = result.table()
    assert any(warned in remark for _, remark in shown.remarks)
    assert shown.header[3:7] == ("jumps", "‖H‖T", "contraction", "rotation")
    assert [cell.text for cell in shown.rows[1][5:7]] == ["–", "–"]
    show_comparison(content, as_json=False)
    printed = capsys.readouterr()
    assert warned in " ".join((printed.out + printed.err).split())


def test_a_run_along_the_stream_records_its_steps_every_epoch(compared_along):
    folder, _ = compared_along
    result = read_run(folder / "along" / "seed-0")
    [rows] = result.histories.values()
    assert len(rows) == 2
    assert all({"dynamics_contraction", "dynamics_rotation"} <= row.keys() for row in rows)
    assert not any("dynamics_jumps" in row for row in rows)
    section = run_section(result, "run", Numbering())
    assert dict(section.parts[0].facts)["dynamics"].startswith("a step forgets")
    captions = [getattr(exhibit, "caption", "") for part in section.parts for exhibit in part.exhibits]
    assert any("contraction" in caption for caption in captions)


def test_a_run_records_what_its_dynamics_did_every_epoch(compared):
    folder, _, content = compared
    run = RunFolder(folder / "awake" / "seed-0")
    stated = run.summary().dynamics
    assert asdict(stated) == json.loads((run.fold(0) / "fold.json").read_text())["dynamics"]
    assert stated == content.models["awake"].dynamics
    result = read_run(run.path)
    [rows] = result.histories.values()
    assert len(rows) == 2
    for row in rows:
        assert row["dynamics_jumps"] > 0.05
        assert row["dynamics_turning"] > 0.05
        assert math.isfinite(row["dynamics_entanglement"] + row["dynamics_gap"])
    section = run_section(result, "run", Numbering())
    facts = dict(section.parts[0].facts)
    assert facts["dynamics"].startswith(f"{stated.jumps:.2g} jumps of a trajectory")
    captions = [getattr(exhibit, "caption", "") for part in section.parts for exhibit in part.exhibits]
    assert any("jumps of a trajectory" in caption for caption in captions)


def test_runs_made_before_are_said_to_be_unrecorded(compared, tmp_path):
    import shutil

    from qinn.experiment.comparison import summarize

    folder, config, _ = compared
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    rewritten(copy / "awake" / "seed-0" / "run.json", lambda content: content.pop("dynamics"))
    content = summarize(config, copy)
    assert content.models["awake"].dynamics is None
    assert "not recorded" in content.models["awake"].remarks[0]
    assert not any(
        "not recorded" in one for label in ("none", "late") for one in content.models[label].remarks
    )
