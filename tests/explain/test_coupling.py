"""The coupling turned down and up: the model itself at 1, nothing entangled at 0, and refused where there is none."""

import json
import shutil

import numpy as np
import pytest
import torch

from qinn import cli
from qinn.errors import ArgumentError, CheckpointError
from qinn.experiment.coupling import couple_run, parse_couplings
from qinn.experiment.prediction import predict_store
from qinn.explain.activity import activity_of_batches
from qinn.explain.coupling import coupled
from qinn.explain.explanation import explain_batch
from qinn.quantum import QuantumJumps, scale_coupling
from qinn.records import Batch, Features
from qinn.report.explanation_figures import coupling_figure
from qinn.report.numbering import Numbering
from qinn.report.sections import run_section
from qinn.results.as_json import document
from qinn.results.coupling import read_coupling
from qinn.results.files import read_table
from qinn.results.folder import RunFolder
from qinn.results.run import read_run

from ..tiny import rewritten
from .test_explain import BATCH, MISSING, build

POOLED = ["jumps", "exact", "heisenberg", "hybrid", "gumbel", "unitary"]


@pytest.mark.parametrize("evolution", POOLED)
@pytest.mark.parametrize("batch", [BATCH, MISSING], ids=["complete", "missing"])
def test_at_one_it_is_the_model_bit_for_bit_and_afterwards_too(evolution, batch):
    model = build(evolution=evolution)
    with torch.no_grad():
        before = model(batch).output
        with coupled(model, 1.0):
            assert torch.equal(model(batch).output, before)
        with coupled(model, 0.3):
            assert not torch.allclose(model(batch).output, before, atol=1e-6)
        assert torch.equal(model(batch).output, before)


@pytest.mark.parametrize("evolution", POOLED)
def test_at_nought_nothing_is_entangled(evolution):
    model = build(evolution=evolution, jump_scale=2.0, hamiltonian_scale=2.0)
    with coupled(model, 0.0):
        explained = explain_batch(model, BATCH)
        assert activity_of_batches(model, [BATCH]).entanglement < 1e-3
    # In single precision; the trajectories of the relaxation are evaluated as true jumps.
    assert float(explained.entropy_per_trajectory.max()) < 1e-3
    assert float(explained.negativity.max()) < 1e-3
    assert float(explained.mutual_information.max()) < 1e-3
    assert float(explain_batch(model, BATCH).entropy.max()) > 0.01


def test_generators_are_the_scaled_ones_and_are_made_once():
    model = build(evolution="exact")
    with torch.no_grad(), coupled(model, 0.5):
        found = model.fusion.generators()
        expected = scale_coupling(model.fusion.lindbladian(), (2, 3, 2), 0.5)
        assert torch.equal(found.superoperator(), expected.superoperator())
        assert model.fusion.generators() is found
    assert model.fusion.coupling == 1
    with torch.no_grad():
        state = model.fusion(model.states(BATCH), evolution=QuantumJumps(2, seed=0), lindbladian=found)
    assert state.state.kets.shape[-1] == 12


def test_the_coupling_is_restored_after_an_error():
    model = build(evolution="exact")
    with pytest.raises(RuntimeError), coupled(model, 0.0):
        raise RuntimeError
    assert model.fusion.coupling == 1


@pytest.mark.parametrize("form", ["factorised", "joint"])
@pytest.mark.parametrize("evolution", ["exact", "unitary"])
def test_along_a_stream_nothing_reaches_the_memory_without_coupling(form, evolution):
    model = build(dynamics="collisions", evolution=evolution, memory_dim=3, form=form, by_pass=False)
    features = {name: Features(5 - one.values, one.lengths) for name, one in BATCH.features.items()}
    other = Batch(BATCH.ids, features)
    with torch.no_grad():
        learned = model(BATCH).output
        assert not torch.allclose(model(other).output, learned, atol=1e-4)
        with coupled(model, 1.0):
            assert torch.equal(model(BATCH).output, learned)
        with coupled(model, 0.0):
            still = activity_of_batches(model, [BATCH])
            # The same steps, at which something else is said.
            assert torch.allclose(model(other).output, model(BATCH).output, atol=1e-4)
            for interaction, ancillas in getattr(model.fusion, "meetings", lambda _: [])(model.states(BATCH)):
                unitary = interaction.unitary.reshape(3, -1, 3, ancillas.density().shape[-1])
                # A product of two: every block is the same unitary times a number.
                blocks = unitary.permute(1, 3, 0, 2).flatten(0, 1).flatten(1)
                assert torch.linalg.svdvals(blocks)[1] < 1e-5
    assert still.contraction < 1e-4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evolution": "none"}, "no Hamiltonian and no Lindblad"),
        ({"evolution": "linear_map"}, "no Hamiltonian"),
        ({"dynamics": "collisions", "evolution": "linear_map"}, "no Hamiltonian"),
        ({"kind": "concatenation"}, "no quantum model"),
        ({"dims": {"text": 4}, "evolution": "exact"}, "a single modality"),
    ],
)
def test_models_without_coupling_are_refused_unless_it_is_one(changes, words):
    model = build(**changes)
    with pytest.raises(ArgumentError, match=words), coupled(model, 0.5):
        pass
    with coupled(model, 1.0):
        pass
    with pytest.raises(ArgumentError, match="finite and ≥ 0"), coupled(model, -1.0):
        pass


@pytest.mark.parametrize("text", ["", "a", "1,0", "0,0", "-1", "nan", "0;1"])
def test_settings_that_are_none_are_refused(text):
    with pytest.raises(ArgumentError, match="`coupling` must"):
        parse_couplings(text)


@pytest.fixture(scope="module")
def turned(tiny_run, tmp_path_factory):
    copy = tmp_path_factory.mktemp("coupling") / "run"
    shutil.copytree(tiny_run, copy)
    content = couple_run(copy, copy / "explanation", couplings=[0.0, 0.5, 1.0, 1.5])
    return copy, content


def test_along_the_knob_stand_entanglement_scores_and_metrics(turned):
    folder, content = turned
    run = RunFolder(folder)
    points = {point.coupling: point for point in content.points}
    assert list(points) == [0.0, 0.5, 1.0, 1.5]
    assert points[0.0].entanglement < 1e-4 < points[1.0].entanglement
    assert points[1.0].shift == 0
    assert points[0.0].shift > 0
    assert points[1.0].metrics["mae"] == pytest.approx(run.metrics().test["mae"].value, rel=1e-6)
    assert points[1.0].jumps == pytest.approx(run.summary().dynamics.jumps, rel=1e-6)
    predictions = read_table(run.predictions_file)
    scores = predictions.column("output_0").to_numpy()
    assert points[1.0].output == pytest.approx(float(np.mean(scores)), rel=1e-6)
    table = content.table("a run")
    assert table.header[:2] == ("coupling", "entanglement (bits)")
    assert [row[0].text for row in table.rows] == ["0", "0.5", "1", "1.5"]
    assert coupling_figure(content).startswith("<svg")


def test_the_report_shows_the_knob_of_its_own_run_only(turned, tmp_path):
    folder, _ = turned
    section = run_section(read_run(folder), "run", Numbering())
    [part] = [part for part in section.parts if part.title == "Along the coupling"]
    assert len(part.exhibits) == 2
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    rewritten(copy / "run.json", lambda content: content.update(seconds=1.0))
    with pytest.raises(CheckpointError, match="is of another run"):
        read_run(copy)
    path = folder / "explanation" / "coupling.json"
    text = path.read_text()
    path.write_text(text.replace('"samples": 10', '"samples": 11'))
    with pytest.raises(CheckpointError, match="not what was written"):
        read_coupling(path.parent, RunFolder(folder))
    path.write_text(text)
    assert read_coupling(tmp_path, RunFolder(folder)) is None


def test_the_commands_turn_the_knob(turned, tiny_store, tmp_path, capsys, monkeypatch):
    def main(arguments):
        monkeypatch.setattr("sys.argv", ["qinn", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0

    folder, content = turned
    assert main(["explain", str(folder), "--to", str(tmp_path), "--coupling", "0,1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [point["coupling"] for point in printed["coupling"]] == [0.0, 1.0]
    assert printed["coupling"][0] == document(content.points[0])
    assert {"coupling.json", "coupling.svg", "explanation.json"} <= {path.name for path in tmp_path.iterdir()}
    assert (
        main(["predict", str(folder), str(tiny_store), "--split", "test", "--coupling", "0", "--json"]) == 0
    )
    rows = json.loads(capsys.readouterr().out)
    assert float(np.mean([row["score"] for row in rows])) == pytest.approx(content.points[0].output, rel=1e-6)
    plain = predict_store(folder, tiny_store, split="test")
    assert rows != plain
    assert main(["predict", str(folder), str(tiny_store), "--coupling", "-1"]) == 2
    assert "greater than or equal to 0" in " ".join(capsys.readouterr().err.split())
