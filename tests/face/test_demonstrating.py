"""The demo of clips goes the whole way, from films to what is possible beside it, and keeps what is there."""

import json
import sys
from dataclasses import replace

import pytest

from qinn import cli
from qinn.data.synthetic.clips.clip_set import ClipsSpec, ceiling, known_answer
from qinn.errors import OutputError
from qinn.experiment import clip_demo
from qinn.explain.activity import Activity, activity_remarks, mean_activity
from qinn.face import demonstrating
from qinn.face.demonstrating import demonstrate_clips
from qinn.results.demo import BAYES, CONSTANT

from ..clip_packages import needs_clips

SPEC = ClipsSpec(num_train=8, num_valid=3, num_test=4, clips_per_speaker=2)


@pytest.fixture
def tiny(monkeypatch):
    """Few clips, one seed, two epochs."""
    whole = clip_demo.clip_config

    def quick(store):
        found = whole(store)
        training = found.training.model_copy(update={"max_epochs": 2, "tensorboard": False})
        return found.model_copy(update={"training": training, "seeds": (0,)})

    monkeypatch.setattr(demonstrating, "_SPEC", SPEC)
    monkeypatch.setattr(clip_demo, "clip_config", quick)


def says_in_words(result, jumps):
    """What the demo would say of two runs whose jumps fall so often."""
    runs = [Activity(jumps=number, turning=1.0) for number in jumps]
    label = result.comparison.reference
    entry = replace(
        result.comparison.models[label],
        dynamics=mean_activity(runs),
        remarks=tuple(remark for run in runs for remark in activity_remarks([run])),
    )
    models = {**result.comparison.models, label: entry}
    return replace(result, comparison=replace(result.comparison, models=models)).findings[1]


@needs_clips
@pytest.mark.slow
def test_the_demo_of_clips_goes_from_films_to_a_model_and_keeps_what_is_there(
    tiny, tmp_path, monkeypatch, capsys
):
    found = demonstrate_clips(tmp_path, workers=1)
    result, answer = found.result, known_answer(SPEC)
    assert result.tiers == {
        "text": "hash@1/words",
        "audio": "acoustic@2/10Hz",
        "vision": "pixels@1/10fps",
    }
    assert (result.known[BAYES], result.known[CONSTANT]) == (answer.bayes, answer.constant)
    assert set(result.reached) == {"QiNN-QJ", "late fusion", "constant"}
    assert {name: one.best for name, one in result.without.items()} == {
        "text": ceiling(SPEC, ("audio", "vision")),
        "audio": ceiling(SPEC, ("text", "vision")),
        "vision": ceiling(SPEC, ("text", "audio")),
    }
    assert len({one.error for one in result.without.values()} | {result.reached["QiNN-QJ"]}) == 4
    acts = result.comparison.models["QiNN-QJ"].dynamics
    assert acts is not None
    assert acts.jumps is not None
    assert f"{acts.jumps:.2g} jumps" in result.findings[1]
    assert says_in_words(result, (0.2, 0.3)).startswith("Its dynamics turn and jump: 0.25 jumps")
    assert says_in_words(result, (0.07, 0.04)).startswith("Its dynamics turn, but hardly jump: 0.055 jumps")
    assert found.drawn.id == "test-0004"
    assert found.drawn.speaker not in (tmp_path / "clips" / "clips.csv").read_text()
    assert found.model == tmp_path / "comparison" / "qinn-qj"
    assert [word.text for word in found.score.words] == list(found.drawn.sentence.words)
    assert found.score.outcome.score is not None
    page = found.page.read_text()
    assert all(word in page for word in found.drawn.sentence.words)
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")

    def never(*_, **__):
        raise AssertionError("made again")

    for name in ("extract_features", "write_clip"):
        monkeypatch.setattr(demonstrating, name, never)
    monkeypatch.setattr(sys, "argv", ["qinn", "demo", "clips", "--to", str(tmp_path), "--workers", "1"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out = " ".join(capsys.readouterr().out.split())
    assert end.value.code in (0, None)
    assert "above the best possible 0.150" in out
    assert "15 clips" in out
    assert f"page: {tmp_path / 'score.html'}" in out
    assert f"the best possible prediction {found.drawn.best:.2f}" in out
    assert f"qinn score CLIP --run {found.model}" in out
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    assert json.loads(capsys.readouterr().out)["without"]["text"]["best"] == pytest.approx(0.6875)
    with pytest.raises(OutputError, match=r"other features.*--overwrite"):
        demonstrate_clips(tmp_path, tiers="real", workers=1)
