"""Explanations read back and drawn."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qinn.errors import CheckpointError, QinnError
from qinn.report.explanation_figures import (
    counterfactual_figure,
    entropy_figure,
    mutual_information_figure,
    write_explanation_figures,
)
from qinn.results.chosen_samples import choose_samples, errors_of
from qinn.results.explanation import ExplanationTable, read_explanation
from qinn.results.run import read_run
from qinn.task import Task

NOTHING = ExplanationTable((), np.zeros((0, 1)), {}, {}, {}, {}, {})


def table_of(**columns: dict[str, list[float]]) -> ExplanationTable:
    """Three samples with a score of 0 and some explanations."""
    arrays = {name: {key: np.array(each) for key, each in value.items()} for name, value in columns.items()}
    entropy = arrays.get("entropy", {})
    removed = {name: each[:, None] for name, each in arrays.get("counterfactuals", {}).items()}
    maximum = dict.fromkeys(entropy, 2.0)
    return ExplanationTable(("a", "b", "c"), np.zeros((3, 1)), entropy, entropy, maximum, {}, removed)


def test_explanation_is_read_as_written(make_run: Callable[..., Path]) -> None:
    run = make_run()
    table, stored = read_explanation(run), pq.read_table(run / "explanation.parquet")
    assert table.ids == tuple(stored["id"].to_pylist())
    for cut, values in table.entropy.items():
        np.testing.assert_array_equal(values, stored[f"entropy:{cut}"].to_numpy())
        np.testing.assert_array_equal(
            table.entropy_peak[cut], stored[f"entropy_trajectory_maximum:{cut}"].to_numpy()
        )
        assert (table.entropy_peak[cut] >= values).all()
    assert table.entropy_maximum == {
        "text | audio+vision": 2.0,
        "audio | text+vision": 1.0,
        "vision | text+audio": 1.0,
    }
    np.testing.assert_array_equal(
        table.counterfactuals["without text"][:, 0], stored["counterfactual:without text_0"].to_numpy()
    )


def test_shift_is_after_minus_before(make_run: Callable[..., Path]) -> None:
    table = read_explanation(make_run())
    expected = table.counterfactuals["no jumps"][:, 0] - table.output[:, 0]
    np.testing.assert_array_equal(table.shifts()["no jumps"], expected)


def test_shift_of_a_classifier_is_the_probability_that_its_choice_loses() -> None:
    table = ExplanationTable(
        ("a",), np.log([[0.7, 0.3]]), {}, {}, {}, {}, {"without text": np.log([[0.2, 0.8]])}
    )
    assert table.is_classification
    np.testing.assert_allclose(table.shifts()["without text"], [-0.5])


def test_entanglement_is_relative_to_the_maximum_and_ignores_cuts_that_have_none() -> None:
    entropy = {"a | b": np.array([0.5, 1.0]), "a | c": np.zeros(2)}
    maximum = {"a | b": 2.0, "a | c": 0.0}
    table = ExplanationTable(("x", "y"), np.zeros((2, 1)), entropy, entropy, maximum, {}, {})
    np.testing.assert_allclose(table.relative_entanglement(), [0.25, 0.5])
    assert "<svg" in (entropy_figure(table) or "")


@pytest.mark.parametrize("figure", [entropy_figure, mutual_information_figure, counterfactual_figure])
def test_nothing_is_drawn_of_nothing(figure: Callable[[ExplanationTable], str | None]) -> None:
    assert figure(NOTHING) is None
    assert NOTHING.relative_entanglement() is None


def test_figures_lie_beside_the_data(make_run: Callable[..., Path]) -> None:
    run = make_run()
    written = write_explanation_figures(run)
    assert [path.name for path in written] == ["entropy.svg", "mutual_information.svg", "counterfactuals.svg"]
    assert all(path.parent == run and path.read_text().startswith("<svg") for path in written)


def test_figures_that_a_model_has_not_are_left_out(make_run: Callable[..., Path]) -> None:
    run = make_run()
    table = pq.read_table(run / "explanation.parquet")
    kept = [name for name in table.column_names if not name.startswith(("entropy", "mutual"))]
    pq.write_table(table.select(kept), run / "explanation.parquet")
    assert [path.name for path in write_explanation_figures(run)] == ["counterfactuals.svg"]


def test_missing_explanation_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="qinn explain"):
        write_explanation_figures(tmp_path)


def test_explanation_that_contradicts_its_names_is_refused(make_run: Callable[..., Path]) -> None:
    run = make_run()
    names = json.loads((run / "explanation.json").read_text())
    names["counterfactuals"].append("without smell")
    (run / "explanation.json").write_text(json.dumps(names))
    with pytest.raises(CheckpointError, match="do not fit together"):
        read_explanation(run)


def test_figures_that_cannot_be_written_are_an_error(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    run = make_run()
    monkeypatch.setattr("qinn.atomic_writing.remove_stale", refuse)
    with pytest.raises(QinnError, match="Permission denied"):
        write_explanation_figures(run)


def test_chosen_samples_are_the_extremes(make_run: Callable[..., Path]) -> None:
    run = read_run(make_run())
    assert run.explanation is not None
    table = run.explanation
    chosen = {reason: sample for sample in choose_samples(run, table) for reason in sample.reasons}
    entangled, shifts = table.relative_entanglement(), np.abs(list(table.shifts().values())).max(0)
    assert entangled is not None
    assert run.trajectory_std is not None
    for reason, values, extreme in [
        ("largest error", errors_of(run), np.max),
        ("most entangled", entangled, np.max),
        ("least entangled", entangled, np.min),
        ("largest counterfactual shift", shifts, np.max),
        ("largest standard deviation over trajectories", run.trajectory_std[:, 0], np.max),
    ]:
        assert values[chosen[reason].row] == extreme(values)
        assert run.ids[chosen[reason].row] == table.ids[chosen[reason].explained] == chosen[reason].id


def test_choice_does_not_depend_on_the_order_of_the_samples(make_run: Callable[..., Path]) -> None:
    path = make_run()
    run = read_run(path)
    before = [(sample.id, sample.reasons) for sample in choose_samples(run, read_explanation(path))]
    table = pq.read_table(path / "explanation.parquet")
    pq.write_table(table.take(pa.array(range(table.num_rows))[::-1]), path / "explanation.parquet")
    after = choose_samples(run, read_explanation(path))
    assert [(sample.id, sample.reasons) for sample in after] == before
    assert all(run.ids[sample.row] == sample.id for sample in after)


def test_nothing_is_chosen_from_samples_that_were_not_predicted(make_run: Callable[..., Path]) -> None:
    assert choose_samples(read_run(make_run()), table_of(entropy={"a | b": [0.1, 0.2, 0.3]})) == []


def test_error_of_a_classifier_is_the_probability_of_the_other_classes(
    make_run: Callable[..., Path], emotions: Task
) -> None:
    run = read_run(make_run(task=emotions))
    exponentials = np.exp(run.outputs)
    true = exponentials[np.arange(len(run.labels)), run.labels] / exponentials.sum(1)
    np.testing.assert_allclose(errors_of(run), 1 - true)
