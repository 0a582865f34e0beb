"""What is expensive is said before it begins."""

import pytest

from qinn.data.stores.store import Store
from qinn.experiment import cost
from qinn.experiment.build import build_folds
from qinn.experiment.comparison import compare
from qinn.experiment.run import run

from ..tiny import QINN, tiny_config

LARGE = {**QINN, "state_dims": 5}


def notes_of(store, **changes):
    config = tiny_config(store, **changes)
    opened = Store.open(store)
    return list(cost.cost_notes(config, opened, build_folds(opened, config.data, seed=0)))


def test_a_large_joint_dimension_is_said_with_what_would_be_smaller(tiny_store):
    [note] = notes_of(tiny_store, models={"large": LARGE})
    assert note.startswith(
        "`large` has the joint dimension 5 × 5 × 5 = 125: every operator has 15,625 entries"
    )
    assert "`state_dims: 4` gives 64" in note
    assert notes_of(tiny_store) == []
    assert (
        notes_of(
            tiny_store,
            models={
                "c": {"kind": "concatenation"},
            },
        )
        == []
    )


def test_long_epochs_and_much_memory_are_said(tiny_store, monkeypatch):
    monkeypatch.setattr(cost, "_LONG_EPOCH", 0.0)
    monkeypatch.setattr(cost, "available_memory", lambda: 2**21)
    said = notes_of(tiny_store, models={"large": LARGE})
    assert any(
        "of 2.1 MB of memory are needed" in note or "MiB of memory are needed" in note for note in said
    )
    assert "for 1 × 2 epochs if none stops early" in said[-1]


def test_costs_are_said_before_the_first_run_and_once(tiny_store, tmp_path, monkeypatch):
    said, done = [], []
    config = tiny_config(tiny_store, models={"large": LARGE, "mean": {"kind": "constant"}}, seeds=[0, 1])

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("qinn.experiment.comparison.run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare(config, tmp_path / "c", on_remark=said.append, on_run=lambda *one: done.append(one))
    assert len(said) == 1
    assert done == []
    mean = tiny_config(tiny_store, models={"mean": {"kind": "constant"}})
    run(mean, tmp_path / "r", on_remark=said.append)
    assert len(said) == 1
