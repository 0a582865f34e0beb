"""How much the learned dynamics do, and that nobody is left in ignorance of dynamics that do nothing."""

import json
import math

import pytest
import torch

from qinn.experiment.comparison import compare, markdown_table
from qinn.experiment.folder import RunFolder
from qinn.explain.activity import Activity, activity_of_batches, activity_remarks, mean_activity
from qinn.quantum import QuantumJumps, find_attractor
from qinn.report.exhibits import Numbering
from qinn.report.results import read_results, read_run
from qinn.report.sections import run_section
from qinn.report.tables import comparison_table
from qinn.testing import example_batch

from ..tiny import QINN, TRAINING, rewritten, tiny_config
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


def test_batches_are_averaged_over_samples_not_over_batches():
    model = build(evolution="exact")
    whole = activity_of_batches(model, [BATCH])
    parts = activity_of_batches(model, [BATCH.first(1), _rest(BATCH)])
    assert parts.jumps == pytest.approx(whole.jumps, rel=1e-5)
    assert parts.entanglement == pytest.approx(whole.entanglement, rel=1e-4)


def _rest(batch):
    from qinn.records import Batch, Features

    features = {name: Features(one.values[1:], one.lengths[1:]) for name, one in batch.features.items()}
    return Batch(batch.ids[1:], features)


def test_models_without_generators_have_no_activity():
    for model in (build(evolution="none"), build(evolution="linear_map"), build(kind="concatenation")):
        assert activity_of_batches(model, [BATCH]) is None


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
    ],
)
def test_what_is_warned_of(activity, words):
    remarks = activity_remarks([activity])
    assert [words in remark for remark in remarks] == ([True] if words else [])
    several = activity_remarks([Activity(1.0, 1.0), activity])
    assert all("in at least one fold" in remark for remark in several)
    assert len(several) == len(remarks)


def test_a_mean_says_nothing_where_a_part_is_silent():
    parts = [Activity(1.0, 2.0, 0.5, None).to_dict(), Activity(3.0, 4.0, None, 0.25).to_dict()]
    assert mean_activity(parts) == Activity(2.0, 3.0, None, None)
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
    from qinn.cli.runs import _show_comparison

    folder, _, content = compared
    assert content["models"]["asleep"]["dynamics"]["jumps"] < 0.05
    assert content["models"]["late"]["dynamics"] is content["models"]["none"]["dynamics"] is None
    warned = "The dynamics sleep"
    table = (folder / "table.md").read_text()
    assert table == markdown_table(content)
    assert f"- **asleep**: {warned}" in table
    assert "| model | parameters | jumps | ‖H‖T |" in table
    [result], _ = read_results([folder])
    shown = comparison_table(result)
    assert [note for note in shown.notes if warned in note] == [
        f"asleep: {content['models']['asleep']['remarks'][0]}"
    ]
    assert shown.header[2:4] == ("jumps", "‖H‖T")
    assert [cell.text for cell in shown.rows[3][2:4]] == ["–", "–"]
    _show_comparison(content, folder, as_json=False)
    printed = capsys.readouterr()
    assert warned in " ".join((printed.out + printed.err).split())


def test_a_run_records_what_its_dynamics_did_every_epoch(compared):
    folder, _, content = compared
    run = RunFolder(folder / "awake" / "seed-0")
    stated = run.summary()["dynamics"]
    assert stated == json.loads((run.fold(0) / "fold.json").read_text())["dynamics"]
    assert stated == content["models"]["awake"]["dynamics"]
    result = read_run(run.path)
    [rows] = result.histories.values()
    assert len(rows) == 2
    for row in rows:
        assert row["dynamics_jumps"] > 0.05
        assert row["dynamics_turning"] > 0.05
        assert math.isfinite(row["dynamics_entanglement"] + row["dynamics_gap"])
    section = run_section(result, "run", Numbering())
    facts = dict(section.parts[0].facts)
    assert facts["dynamics"].startswith(f"{stated['jumps']:.2g} jumps of a trajectory")
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
    assert content["models"]["awake"]["dynamics"] is None
    assert "not recorded" in content["models"]["awake"]["remarks"][0]
    assert not any(
        "not recorded" in one for label in ("none", "late") for one in content["models"][label]["remarks"]
    )
