"""The preregistered study refuses what was not registered, chooses by validation alone, and counts what it says."""

import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from preregistered.fits import chosen_trials, run_fits
from preregistered.parts import EQUAL_CPU, EVALUATION, equal_cpu_fits, evaluation_fits, selection_fits
from preregistered.registration import (
    DESIGNS,
    PAGE,
    ROOT,
    NotRegisteredError,
    check_not_run,
    check_work,
    read_registration,
)
from preregistered.tables import markdown_of
from preregistered.verdicts import contents_of, sign_flip_p_value

from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store

DESIGN = DESIGNS / "s1.yaml"
TINY = {
    "kind": "store",
    "data": {"store": "tiny"},
    "encoder": {"hidden_dim": 4, "dropout": 0.0},
    "training": {"max_epochs": 1, "patience": 0, "tensorboard": False},
    "monitor": "mae",
    "rates": [0.0, 0.01],
    "selection_seeds": [100],
    "seeds": [0, 1],
    "keep_outputs": True,
    "margin": 0.02,
    "analysis": {"paired": ["mae", "corr"]},
    "reference": "concatenation",
    "cells": {"concatenation": {"kind": "concatenation"}, "late fusion": {"kind": "late_fusion"}},
}


def git(root: Path, *arguments: str) -> None:
    names = ["-c", "user.name=A", "-c", "user.email=a@b.invalid"]
    subprocess.run(["git", *names, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    for path in (DESIGN, PAGE):
        (root / path).parent.mkdir(parents=True)
    design = yaml.safe_dump(TINY).encode()
    (root / DESIGN).write_bytes(design)
    (root / PAGE).write_text(f"design: {hashlib.sha256(design).hexdigest()}")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "Register")
    return root


def test_a_committed_design_is_taken(repository: Path) -> None:
    registration = read_registration("S1", repository)
    assert registration.design["seeds"] == [0, 1]
    assert len(registration.commit) == 40


def test_a_design_that_is_not_committed_is_refused(repository: Path) -> None:
    (repository / DESIGN).write_text("seeds: []")
    with pytest.raises(NotRegisteredError, match="is not committed as it is"):
        read_registration("S1", repository)


def test_a_design_changed_after_its_registration_is_refused(repository: Path) -> None:
    (repository / DESIGN).write_text("seeds: []")
    git(repository, "commit", "--quiet", "-a", "-m", "Change")
    with pytest.raises(NotRegisteredError, match="was changed after"):
        read_registration("S1", repository)


def test_a_missing_page_is_refused(repository: Path) -> None:
    (repository / PAGE).unlink()
    with pytest.raises(NotRegisteredError, match="is missing"):
        read_registration("S1", repository)


def test_an_unknown_part_is_refused(repository: Path) -> None:
    with pytest.raises(NotRegisteredError, match="`S7` is no part of the study, which has S1"):
        read_registration("S7", repository)


def test_a_part_is_run_once(repository: Path, tmp_path: Path) -> None:
    registration = read_registration("S1", repository)
    check_not_run(registration, tmp_path / "study-s1.json")
    (tmp_path / "study-s1.json").write_text("{}")
    with pytest.raises(NotRegisteredError, match="run once"):
        check_not_run(registration, tmp_path / "study-s1.json")


def test_fits_of_another_design_are_refused(repository: Path, tmp_path: Path) -> None:
    registration = read_registration("S1", repository)
    check_work(registration, tmp_path / "work")
    check_work(registration, tmp_path / "work")
    (tmp_path / "work" / "fits" / "S1.sha256").write_text("another")
    with pytest.raises(NotRegisteredError, match="another design"):
        check_work(registration, tmp_path / "work")


PARTS = sorted((ROOT / DESIGNS).glob("*.yaml"))


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.stem)
def test_the_page_of_this_repository_names_every_design(path: Path) -> None:
    assert hashlib.sha256(path.read_bytes()).hexdigest() in (ROOT / PAGE).read_text()


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.stem)
def test_every_design_makes_fits_that_can_be_told_apart(path: Path) -> None:
    section = yaml.safe_load(path.read_bytes())
    selection = selection_fits(path.stem, section)
    fits = selection or evaluation_fits(path.stem, section, [])
    assert fits
    assert len({fit.place for fit in fits}) == len(fits)
    # Nothing is chosen with test samples at hand, or with a seed that counts later.
    assert not any(fit.source.get("tests") for fit in selection)
    assert not set(section.get("selection_seeds", ())) & set(section.get("seeds", ()))


def test_a_key_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="`expiry`"):
        selection_fits("S1", {**TINY, "variants": {"with expiry": {"expiry": 2.0}}})


def result(cell: str, trial: str, value: float | None, **more: object) -> dict:
    valid = {} if value is None else {"accuracy": value}
    return {"variant": "", "cell": cell, "trial": trial, "valid": valid, "cpu_seconds": 1.0, **more}


def test_the_best_validation_value_chooses_and_a_failed_fit_never_does() -> None:
    results = [result("a", "slow", 0.7), result("a", "fast", 0.9), result("a", "fast", None)]
    assert chosen_trials(results, "accuracy", larger_is_better=True) == {("", "a"): "slow"}
    assert chosen_trials(results[:2], "accuracy", larger_is_better=True) == {("", "a"): "fast"}
    assert chosen_trials(results[:2], "accuracy", larger_is_better=False) == {("", "a"): "slow"}


def test_of_equal_settings_the_first_is_taken() -> None:
    results = [result("a", "slow", 0.9), result("a", "fast", 0.9)]
    assert chosen_trials(results, "accuracy", larger_is_better=True) == {("", "a"): "slow"}


def test_a_cell_that_takes_half_the_time_gets_twice_the_epochs() -> None:
    design = {**TINY, "monitor": "accuracy", "equal_cpu": "concatenation"}
    selection = [
        result("concatenation", "rate 0.01", 0.9) | {"cpu_seconds": 4.0},
        result("late fusion", "rate 0.01", 0.9) | {"cpu_seconds": 2.0},
    ]
    fits = equal_cpu_fits("S1", design, selection)
    assert {(fit.cell, fit.phase, fit.training["max_epochs"]) for fit in fits} == {
        ("late fusion", EQUAL_CPU, 2)
    }
    assert [fit.seed for fit in fits] == [0, 1]


@pytest.mark.parametrize("count", [3, 6, 10])
def test_sign_flips_of_equal_differences_are_as_rare_as_two_patterns(count: int) -> None:
    assert sign_flip_p_value(np.ones(count)) == pytest.approx(2 / 2**count)


def test_sign_flips_of_no_difference_say_nothing() -> None:
    assert sign_flip_p_value(np.zeros(5)) == 1.0


@pytest.mark.slow
def test_a_tiny_part_is_run_counted_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    write_synthetic_store(
        tmp_path / "stores" / "tiny", SyntheticSpec(num_train=60, num_valid=20, num_test=30)
    )
    design = {**TINY, "rates": [0.001, 0.01]}
    selection = run_fits(selection_fits("S1", design), tmp_path, workers=1)
    fits = evaluation_fits("S1", design, selection)
    assert {fit.phase for fit in fits} == {EVALUATION}
    counted = run_fits(fits, tmp_path, workers=1)
    contents = contents_of("S1", design, selection, counted, tmp_path)
    assert {row["cell"]: row["fits"] for row in contents["rows"]} == {"concatenation": 2, "late fusion": 2}
    paired = contents["paired"][""]["mae"]["late fusion"]
    assert paired["difference"] == pytest.approx(
        contents["rows"][1]["tests"]["test"]["mae"]["mean"]
        - contents["rows"][0]["tests"]["test"]["mae"]["mean"],
        abs=1e-5,
    )
    assert (
        paired["equivalent"] is (paired["low"] > -0.02 and paired["high"] < 0.02) or not paired["equivalent"]
    )
    assert json.loads(json.dumps(contents)) == contents
    assert "| late fusion |" in markdown_of(contents)
    # What was run is not run again: the numbers come from the files.
    [kept] = list(tmp_path.glob("fits/S1/evaluation_late-fusion_*seed-0*.json"))
    changed = json.loads(kept.read_text()) | {"cpu_seconds": 1234.0}
    kept.write_text(json.dumps(changed))
    assert 1234.0 in [one["cpu_seconds"] for one in run_fits(fits, tmp_path, workers=1)]
