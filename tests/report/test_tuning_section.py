"""The page about a tuning shows what its file holds: the budget, the best of each model and every trial."""

import json
from dataclasses import replace

import pytest

from qinn.errors import CheckpointError
from qinn.report.page import write_report
from qinn.report.tuning_section import best_so_far
from qinn.results.folder import RunFolder
from qinn.results.tuning import TRIALS_FILE, Trial, TunedModel, TuningResult, read_tuning


def trial(number, value, **choices):
    return Trial(
        number=number,
        value=value,
        choices=choices,
        epoch=None if value is None else 1.0,
        seconds=1.25,
        failure="" if value is not None else "Training diverged <b>here</b>.",
    )


@pytest.fixture
def tuning(tiny_run, tmp_path):
    made = RunFolder(tiny_run).summary()
    early = (trial(0, 0.9), trial(1, None, rank=2), trial(2, 0.625, rank=3))
    models = {
        "early": TunedModel(
            model="concatenation", monitor="valid_mae", direction="min", trials=early, best=2
        ),
        "<late>": TunedModel(
            model="late_fusion",
            monitor="valid_corr",
            direction="max",
            trials=tuple(trial(number, number / 8) for number in range(3)),
            best=2,
        ),
    }
    result = TuningResult(
        name="searched",
        data=made.data,
        num_trials=3,
        seed=4,
        storage="trials.db",
        models=models,
        versions=made.versions,
        machine=made.machine,
        folder=tmp_path / "out",
    )
    (tmp_path / "out").mkdir()
    result.write("name: x\n")
    return result


def test_what_was_written_is_read_again(tuning):
    found = read_tuning(tuning.folder)
    assert replace(found, files=None) == tuning
    assert set(found.files) == {"tuned.yaml", "trials.md"}


def test_the_page_holds_the_budget_the_best_and_every_trial(tuning, tmp_path):
    page = write_report([tuning.folder], tmp_path / "r.html").read_text()
    for said in (
        "Tuning: searched",
        "2 models tuned by 3 trials each on ",
        "3 trials of each model, the first as it is configured",
        "rank 3",
        "0.625",
        "1 failed",
        "3.8",  # seconds of the three trials
        "Trials of early, in their order.",
        "Trials of &lt;late&gt;, in their order.",
        "Training diverged &lt;b&gt;here&lt;/b&gt;.",
    ):
        assert said in page
    assert page.count("<svg") == 2
    assert "shown in detail" not in page
    assert "<late>" not in page


def test_a_tuning_stands_beside_runs_on_one_page(tuning, tiny_run, tmp_path):
    page = write_report([tuning.folder, tiny_run], tmp_path / "r.html").read_text()
    assert page.index("Tuning: searched") < page.index('id="run-1"')
    assert "1 run shown in detail" in page


def test_a_changed_result_is_refused(tuning, tmp_path):
    file = tuning.folder / TRIALS_FILE
    content = json.loads(file.read_text())
    content["models"]["early"]["trials"][2]["value"] = 0.1
    file.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="is not what was written"):
        write_report([tuning.folder], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_the_line_is_the_best_so_far_and_goes_the_right_way(tuning):
    assert best_so_far(tuning.models["early"]).tolist() == [0.9, 0.9, 0.625]
    assert best_so_far(tuning.models["<late>"]).tolist() == [0.0, 0.125, 0.25]
