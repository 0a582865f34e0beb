"""A clip that is scored has the features and the prediction that a store of it has, and reasons that can be checked."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import qinn
from qinn.data.stores.store import Store
from qinn.errors import ClipError, ConfigError, QinnError
from qinn.experiment import clip_in_process, clip_reasons, clip_scoring, extraction
from qinn.experiment.clip_samples import Variant, variants_of
from qinn.experiment.clip_scoring import ClipScorer
from qinn.experiment.prediction import predict_store
from qinn.experiment.publishing import publish_run
from qinn.experiment.run import run
from qinn.face.extracting import extract_features
from qinn.results.clip_score import ClipScore
from qinn.results.folder import RunFolder
from qinn.results.reference import read_reference

from ..clip_packages import needs_clips
from ..made_clips import draw_face, gray, voice, write_clip
from ..tiny import QINN, rewritten, tiny_config

pytestmark = needs_clips

WORDS = ["a good film", "not good at all", "so dull", "what a lovely day", "awful", "I like it"]
STREAM = {
    "kind": "qinn",
    "dynamics": "collisions",
    "evolution": "exact",
    "memory_dim": 2,
    "num_vectors": 3,
    "head": "linear",
    "by_pass": False,
}


def in_this_process(jobs, module, workers, on_answer, limits=None):
    for index, job in enumerate(jobs):
        error = None
        try:
            clip_in_process.do(json.loads(json.dumps(job)), lambda what: None)
        except QinnError as found:
            error = found
        on_answer(index, error)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> SimpleNamespace:
    """Twelve clips, their store, and a run."""
    folder = tmp_path_factory.mktemp("scoring")
    rows = ["id,file,label,split,text"]
    for number in range(12):
        faces = [
            draw_face((64, 48), smile=float((-1) ** number), jaw=float(at % 2))
            for at in range(8 + number % 3)
        ]
        write_clip(folder / f"{number}.mp4", faces, voice(1.2, 110 + 9 * number), fps=8)
        split = "train" if number < 5 else "valid" if number < 10 else "test"
        rows.append(f"{number},{number}.mp4,{number % 5 - 2},{split},{WORDS[number % 6]}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction, "work_in_processes", in_this_process)
        made = extract_features(
            folder / "clips.csv",
            folder / "store",
            text_column="text",
            scale="mosi",
            speech="none",
            face="pixels",
            text="hash",
        )
    config = tiny_config(folder / "store", models={"m": QINN}, name="clips")
    for seed in (0, 1):
        run(config.only("m", seed), folder / "m" / f"seed-{seed}")
    write_clip(folder / "silent.mp4", gray([90] * 8), fps=8)
    write_clip(folder / "voice.wav", sound=voice(1.0, 130), audio="pcm_s16le")
    return SimpleNamespace(
        folder=folder,
        store=made.store,
        run=folder / "m" / "seed-0",
        model=folder / "m",
        scorer=ClipScorer.load(folder / "m" / "seed-0", level=0.5),
    )


@pytest.fixture(scope="module")
def first(place) -> ClipScore:
    return place.scorer.score(place.folder / "0.mp4", words=WORDS[0])


@pytest.mark.parametrize("number", [0, 1, 7])
def test_a_store_and_a_score_agree_bit_by_bit(place, number, monkeypatch):
    seen = []

    def watched(*arguments, **options):
        seen.append(sample_of(*arguments, **options))
        return seen[-1]

    sample_of = clip_scoring.sample_of
    monkeypatch.setattr(clip_scoring, "sample_of", watched)
    scored = place.scorer.score(place.folder / f"{number}.mp4", words=WORDS[number % 6].split())
    store = Store.open(place.store.path)
    row = list(store.strings("id")).index(str(number))
    for name in store.modalities:
        start, stop = store.offsets(name)[row : row + 2]
        part = seen[0].parts[name]
        assert part.values.tobytes() == np.asarray(store.sample(row, name)).tobytes()
        assert part.seconds.tobytes() == np.asarray(store.times(name)[start:stop]).tobytes()
    predicted = predict_store(place.run, store.path, split="all", level=0.5, batch_size=1)[row]
    outcome = scored.outcome
    said = (outcome.score, outcome.low, outcome.high, outcome.p_positive, outcome.trajectory_std)
    assert said == tuple(predicted[name] for name in ("score", "low", "high", "p_positive", "trajectory_std"))
    assert scored.explained.value == outcome.score


def test_the_command_decodes_in_another_process(place, first, monkeypatch):
    def refused(*given, **options):
        raise AssertionError("decoded here")

    monkeypatch.setattr("qinn.features.extraction.decode", refused)
    (found,) = qinn.score_clips(place.folder / "0.mp4", place.run, words=WORDS[0], level=0.5)
    assert found.score is not None
    assert replace(found.score, provenance=first.provenance) == first


def test_what_a_modality_does_is_what_predicting_without_it_says(place, first):
    row = list(place.store.strings("id")).index("0")
    for one in first.modalities:
        without = predict_store(place.run, place.store.path, split="all", absent=[one.modality])[row]["score"]
        assert one.without == pytest.approx(without, abs=1e-5)
        assert one.effect == pytest.approx(first.outcome.score - without, abs=1e-5)


def test_a_word_left_out_is_its_step_left_out_where_words_are_encoded_alone(place, first, monkeypatch):
    kept = []
    sample_of = clip_scoring.sample_of

    def watched(*arguments, **options):
        kept.append(sample_of(*arguments, **options))
        return kept[-1]

    monkeypatch.setattr(clip_scoring, "sample_of", watched)
    again = place.scorer.score(place.folder / "0.mp4", words=WORDS[0])
    predictor = place.scorer._predictor
    cut = [Variant("text", begin=at, end=at + 1) for at in range(3)]
    outputs = predictor.predict(variants_of(kept[0], cut, predictor)).outputs[:, 0]
    assert [word.effect for word in again.words] == pytest.approx(outputs[0] - outputs[1:], abs=1e-6)
    assert [word.text for word in again.words] == WORDS[0].split()
    assert len({word.effect for word in again.words}) > 1
    # The same again, but for the time it took.
    same = replace(again, provenance=replace(again.provenance, seconds=first.provenance.seconds))
    assert same == first


def test_seconds_are_cut_where_their_steps_lie(place, first):
    strips = {strip.modality: strip.spans for strip in first.strips}
    assert set(strips) == {"audio", "vision"}
    for spans in strips.values():
        assert [span.begin for span in spans] == [0.0, 1.0]
        assert spans[0].end == 1.0
        assert spans[1].end == pytest.approx(first.seconds, abs=0.1)
    assert all(span.effect for span in strips["audio"])


def test_long_clips_have_longer_stretches_and_words_in_groups(place, monkeypatch):
    monkeypatch.setattr(clip_reasons, "_MOST_STEPS", 1)
    monkeypatch.setattr(clip_reasons, "_MOST_GROUPS", 2)
    found = place.scorer.score(place.folder / "1.mp4", words="one two three four five")
    assert [word.group for word in found.words] == [0, 0, 0, 1, 1]
    assert found.words[0].effect == found.words[2].effect
    assert any("3 at a time" in note for note in found.notes)


def test_correlations_are_compared_with_the_test_samples_of_the_run(place, first):
    kinds = [(one.kind, one.between) for one in first.correlations]
    assert kinds[0] == ("entanglement", "text | audio+vision")
    assert kinds[-1] == ("mutual_information", "audio : vision")
    for one in first.correlations:
        assert 0 <= one.bits <= one.maximum + 1e-6
        assert one.percentile in (0.0, 25.0, 50.0, 75.0, 100.0)  # of two test samples
    test = place.scorer.score(place.folder / "10.mp4", words=WORDS[4])
    table = RunFolder(place.run).table(RunFolder(place.run).explanation_table)
    values = table.column("entropy:text | audio+vision").to_pylist()
    assert test.correlations[0].bits == pytest.approx(values[0], abs=1e-5)
    assert test.jumps >= 0


def test_what_a_clip_lacks_is_said_and_has_no_effect(place):
    scored = place.scorer.score(place.folder / "silent.mp4", words="")
    by_name = {one.modality: one for one in scored.modalities}
    assert by_name["text"].reason == "The clip has none of it."
    assert by_name["vision"].reason == "The clip has nothing else that the model reads."
    assert by_name["vision"].effect is None
    assert scored.words == ()
    assert "There is no sound." in scored.warnings
    assert "The clip has no `audio`, which every sample that the run was trained on had." in scored.warnings
    entangled = [one for one in scored.correlations if one.kind == "entanglement"]
    assert all(one.bits is None and "lacks a modality" in one.reason for one in entangled)
    heard = place.scorer.score(place.folder / "voice.wav", words="a good film")
    assert heard.outcome.score is not None
    assert {strip.modality for strip in heard.strips} == {"audio"}


def test_a_clip_with_nothing_that_the_run_reads_is_refused(place):
    scorer = ClipScorer.load(place.run, absent=["audio", "vision"])
    with pytest.raises(
        ClipError, match=r"voice\.wav` has nothing that the run reads, which is `text`: no word"
    ):
        scorer.score(place.folder / "voice.wav", words=[])
    with pytest.raises(ClipError, match="has no sound"):
        scorer.score(place.folder / "silent.mp4", words=[])


def test_a_published_model_says_the_same(place, first, tmp_path):
    copy = publish_run(place.run, tmp_path / "model")
    found = ClipScorer.load(copy, level=0.5).score(place.folder / "0.mp4", words=WORDS[0])
    assert replace(found, provenance=first.provenance) == first
    assert set(found.provenance.run_files) >= {"run.json", "reference.json", "folds/000/weights.safetensors"}
    assert str(place.folder) not in json.dumps(found.to_json())


def test_the_seeds_of_a_model_say_their_mean(place, first):
    scorer = ClipScorer.load(place.model, level=0.5)
    both = scorer.score(place.folder / "0.mp4", words=WORDS[0])
    other = ClipScorer.load(place.model / "seed-1").score(place.folder / "0.mp4", words=WORDS[0])
    assert both.outcome.score == pytest.approx((first.outcome.score + other.outcome.score) / 2)
    assert both.provenance.seeds == (0, 1)
    assert both.words[0].effect == pytest.approx(
        (first.words[0].effect + other.words[0].effect) / 2, abs=1e-6
    )
    assert scorer.name == "clips/m"


def test_one_seed_of_a_published_model_says_why_nothing_says_how_sure_it_is(place, tmp_path):
    model = publish_run(place.model, tmp_path / "model")
    errors = model / "calibration.json"
    for lose, words in (
        (lambda: None, "errors are kept of the mean of all its seeds"),
        (errors.unlink, "The published model has no `calibration.json`"),
        (lambda: errors.symlink_to(tmp_path / "nowhere"), "The published model has no `calibration.json`"),
    ):
        lose()
        outcome = ClipScorer.load(model / "seed-1").score(place.folder / "voice.wav", words="good").outcome
        assert words in outcome.certainty
        assert outcome.low is None


def test_an_older_run_is_compared_as_far_as_it_can_be(place, first, tmp_path):
    older = shutil.copytree(place.run, tmp_path / "older")
    (older / "reference.json").unlink()
    rewritten(older / "run.json", lambda content: content["files"].pop("reference.json"))
    found = ClipScorer.load(older, speech="none", level=0.5).score(place.folder / "0.mp4", words=WORDS[0])
    assert found.correlations == first.correlations
    for name in ("explanation.parquet", "explanation.json"):
        rewritten(older / "run.json", lambda content, name=name: content["files"].pop(name))
    bare = ClipScorer.load(older, speech="none", level=0.5).score(place.folder / "0.mp4", words=WORDS[0])
    assert bare.correlations[0].bits == first.correlations[0].bits
    assert bare.correlations[0].percentile is None
    assert bare.correlations[0].reason == "The run keeps no values of its test samples to compare with."


def test_a_run_keeps_what_its_samples_were_like(place):
    kept = read_reference(RunFolder(place.run))
    assert kept.samples == 12
    assert kept.absent == {"text": 0, "audio": 0, "vision": 0}
    assert kept.heard_by == {"given": 12}
    assert len(kept.correlations["mutual_information:text : audio"]) == 2


def test_a_run_on_foreign_features_is_refused_in_a_sentence(tiny_run, place):
    with pytest.raises(
        ConfigError, match=r"reads `audio` made by `.*` and `vision` .* `qinn features extract`"
    ):
        ClipScorer.load(tiny_run)
    with pytest.raises(ConfigError, match=r"has the modalities .* so `smell` cannot be absent"):
        ClipScorer.load(place.run, absent=["smell"])
    with pytest.raises(ConfigError, match="nothing to go by"):
        ClipScorer.load(place.run, absent=["text", "audio", "vision"])
    with pytest.raises(ConfigError, match=r"`speech` must be one of whisper-tiny\.en"):
        ClipScorer.load(place.run, speech="loud")
    with pytest.raises(ConfigError, match="have to be given"):
        ClipScorer.load(place.run, speech="none").score(place.folder / "0.mp4")


def test_words_that_a_model_with_a_memory_met_say_what_they_did_to_it(place, tmp_path):
    config = tiny_config(place.store.path, models={"m": STREAM}, name="stream")
    folder = run(config, tmp_path / "run").path
    scored = ClipScorer.load(folder, level=0.5).score(place.folder / "3.mp4", words=WORDS[3])
    assert scored.correlations == ()
    assert scored.jumps is None
    assert len(scored.words) == 4
    for word in scored.words:
        assert word.memory is not None
        assert 0 <= word.memory.contraction <= 1
        assert word.memory.change is not None
        assert word.effect is not None
    assert ClipScore.from_json(scored.to_json()) == scored


@pytest.mark.parametrize(
    ("known", "now", "words"),
    [
        (None, "whisper@1#a", "Nothing says who heard the words"),
        (None, "given", ""),
        ({"given": 3}, "given+whisper@1#a", ""),
        (
            {"given": 3},
            "whisper@1#a+voice",
            "trained on transcripts that were given; here `whisper@1#a` heard",
        ),
        ({"whisper@1#a": 3}, "whisper@1#a", ""),
        ({"whisper@1#a": 3}, "whisper@1#b", "words that `whisper@1#a` heard; here `whisper@1#b` did"),
        ({"whisper@1#a": 3}, "given", "here they were given"),
    ],
)
def test_words_that_come_about_otherwise_than_in_training_are_doubted(known, now, words):
    found = clip_scoring._doubt_of_words(known, now)
    assert words in found
    assert bool(found) == bool(words)


def test_progress_goes_through_the_stages(place):
    stages = []
    place.scorer.score(
        place.folder / "0.mp4", words="good", progress=lambda stage, share: stages.append(stage)
    )
    assert list(dict.fromkeys(stages)) == ["decoding", "sound", "speech", "text", "scoring", "reasons"]


def test_the_seeds_of_a_model_load_as_one(place):
    both = qinn.load(place.model)
    rows = [predict_store(place.model, place.store.path, split="all")[0]["score"]]
    subset = both.subset(place.store, None)
    assert both.predict(subset).outputs[0, 0] == pytest.approx(rows[0])
    assert list(both.models) == ["seed-0", "seed-1"]
