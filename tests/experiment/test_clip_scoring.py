"""A clip that is scored has the features and the prediction that a store of it has, and reasons that can be checked."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import qinn
from qinn.data.importing.transcripts import TextOptions
from qinn.data.stores.store import Store
from qinn.digests import file_digest
from qinn.errors import ClipError, ConfigError, QinnError
from qinn.experiment import clip_in_process, clip_reasons, clip_scoring, extraction
from qinn.experiment.clip_reasons import Reader
from qinn.experiment.clip_samples import ClipSample, Part, Variant, variants_of
from qinn.experiment.clip_scoring import ClipScorer
from qinn.experiment.prediction import predict_store
from qinn.experiment.publishing import publish_run
from qinn.experiment.run import run
from qinn.face.extracting import extract_features
from qinn.features.clip_features import ClipFeatures, Quality, Steps
from qinn.features.speech import Word
from qinn.features.text import TransformerEncoder
from qinn.results.clip_score import ClipScore
from qinn.results.folder import RunFolder
from qinn.results.reference import percentile, read_reference
from qinn.task import Task

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
    model = QINN | {"state_dims": {"text": 4, "audio": 2, "vision": 2}}
    config = tiny_config(folder / "store", models={"m": model}, name="clips")
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
    # A part of two states cannot be correlated with one of four as far as that could be.
    assert {one.between: one.maximum for one in first.correlations} == {
        "text | audio+vision": 2,
        "audio | text+vision": 1,
        "vision | text+audio": 1,
        "text : audio": 2,
        "text : vision": 2,
        "audio : vision": 2,
    }
    test = place.scorer.score(place.folder / "10.mp4", words=WORDS[4])
    table = RunFolder(place.run).table(RunFolder(place.run).explanation_table)
    values = table.column("entropy:text | audio+vision").to_pylist()
    assert test.correlations[0].bits == pytest.approx(values[0], abs=1e-5)
    assert test.correlations[0].percentile in (25.0, 75.0)  # it is one of the two itself
    assert test.jumps >= 0


def test_what_a_clip_lacks_is_said_and_has_no_effect(place):
    scored = place.scorer.score(place.folder / "silent.mp4", words="")
    by_name = {one.modality: one for one in scored.modalities}
    assert by_name["text"].reason == "The clip has none of it."
    assert by_name["vision"].reason == "The clip has nothing else that the model reads."
    assert by_name["vision"].effect is None
    assert scored.words == ()
    assert "There is no sound." in scored.warnings
    assert any(one.startswith("The clip has no `audio`, which every sample that") for one in scored.warnings)
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
    assert found.provenance.run_files["calibration.json"] == file_digest(copy / "calibration.json")


def test_every_hash_is_that_of_its_file(place, first):
    made = first.provenance
    assert made.clip_sha256 == file_digest(place.folder / "0.mp4")
    assert set(made.run_files) >= {"run.json", "config.yaml", "recipe.json", "reference.json"}
    assert made.run_files == {name: file_digest(place.run / name) for name in made.run_files}


def test_a_cut_says_where_it_begins(place, first):
    cut = place.scorer.score(place.folder / "0.mp4", begin=0.25, end=1.0, words=WORDS[0])
    assert (first.begin, cut.begin, cut.seconds) == (0.0, 0.25, pytest.approx(0.75, abs=0.05))


def test_without_a_modality_nothing_says_how_sure_it_is(place, first):
    found = ClipScorer.load(place.run, absent=["vision"], level=0.5).score(
        place.folder / "0.mp4", words=WORDS[0]
    )
    assert first.outcome.low is not None
    assert (found.outcome.low, found.outcome.high, found.outcome.p_positive) == (None, None, None)
    assert found.outcome.score == pytest.approx(
        next(one.without for one in first.modalities if one.modality == "vision"), abs=1e-5
    )


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
    assert both.jumps == pytest.approx((first.jumps + other.jumps) / 2)
    assert both.jumps != pytest.approx(other.jumps, rel=1e-9)
    names = [f"seed-{seed}/{name}" for seed in (0, 1) for name in first.provenance.run_files]
    assert both.provenance.run_files == {name: file_digest(place.model / name) for name in names}
    known = [read_reference(RunFolder(place.model / f"seed-{seed}")).correlations for seed in (0, 1)]
    for one in both.correlations:
        column = f"{'entropy' if one.kind == 'entanglement' else one.kind}:{one.between}"
        others = [value for values in known for value in values[column]]
        assert len(others) == 4
        assert one.percentile == percentile(round(one.bits, 6), others)


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
    twice = ClipScorer.load(folder, level=0.5)
    twice._predictors = twice._predictors * 2
    again = twice.score(place.folder / "3.mp4", words=WORDS[3])
    assert [word.memory for word in again.words] == [word.memory for word in scored.words]


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


def made_features(quality: Quality, **steps: Steps) -> ClipFeatures:
    return ClipFeatures(words=(), voiced=(), heard_by="given", steps=steps, tiers={}, quality=quality)


@pytest.mark.parametrize(("sure", "said"), [(0.79, True), (0.81, False), (None, False)])
def test_words_that_were_hardly_understood_are_doubted(place, sure, said):
    heard = made_features(Quality(seconds=1.0, container="mp4", decode_errors=0, word_probability=sure))
    found = place.scorer._warnings(heard, {"text", "audio", "vision"})
    assert found == (
        ["The recogniser is not sure of the words: their mean probability is 0.79."] if said else []
    )


@pytest.mark.parametrize(
    ("known", "given", "heard"),
    [
        ({"whisper-tiny.en@2#a": 3, "whisper-base@2#b": 9, "given": 30}, None, "whisper-base"),
        ({"given+whisper-base@2#b": 9}, ["so"], "whisper-base"),
        ({"given": 9}, ["so"], "none"),
        ({"given": 9}, None, "whisper-tiny.en"),
        (None, ["so"], "whisper-tiny.en"),
    ],
    ids=str,
)
def test_words_are_heard_by_what_heard_most_of_the_runs_own(place, monkeypatch, known, given, heard):
    monkeypatch.setattr(place.scorer, "_heard_by", known)
    assert place.scorer._listener(given) == heard


def test_of_classes_the_likeliest_is_explained_and_its_set_told():
    task = Task("classification", classes=("sad", "a|b", "glad"))
    value, explained = ClipScorer._explained(SimpleNamespace(task=task), np.array([[0.0, 2.0, 1.0]]))
    assert (explained.what, explained.of) == ("probability", "a|b")
    assert value(np.array([[0.0, 2.0, 1.0], [9.0, 0.0, 0.0]])) == pytest.approx(
        [explained.value, 1e-4], abs=1e-4
    )
    row = {"class": "a|b", "set": "a\\|b|glad"} | {f"probability:{name}": 0.3 for name in task.names}
    assert [(one.name, one.decided, one.possible) for one in clip_scoring._classes(row, task)] == [
        ("sad", False, False),
        ("a|b", True, True),
        ("glad", False, True),
    ]


def test_steps_on_a_line_between_two_seconds_lie_behind_it():
    seconds = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    values = np.zeros((5, 1), np.float32)
    quality = Quality(seconds=2.2, container="mp4", decode_errors=0)
    made = made_features(quality, audio=Steps(seconds, values))
    _, found = clip_reasons._stretches(ClipSample({"audio": Part(values)}, ""), made, None)
    assert found == {"audio": [(0.0, 1.0, 0, 2), (1.0, 2.0, 2, 4), (2.0, 2.2, 4, 5)]}


def test_words_left_out_are_encoded_together_and_the_next_clip_alone(monkeypatch):
    class Counting(TransformerEncoder):
        tier, dim, alone = "minilm", 1, True

        def __init__(self) -> None:
            pass

        def count_tokens(self, texts):
            return [(600, 600, 0)]

    encoder = Counting()
    alone: list[bool] = []

    def encoded(encoder, options, sentences, *, timed):
        alone.append(encoder.alone)
        if len(alone) > 1:
            raise MemoryError
        return [Part(np.zeros((len(words), 1), np.float32)) for words in sentences]

    monkeypatch.setattr(clip_reasons, "encoded_words", encoded)
    words = [Word("so", 0.1 * at, 0.1 * at + 0.1) for at in range(40)]
    reader = Reader("text", lambda: encoder, TextOptions(), timed=False)
    sample = ClipSample({"text": Part(np.zeros((40, 1), np.float32))}, "")
    groups, variants = clip_reasons._without_words(sample, words, reader, alone=False)
    # 600 tokens a sentence, of which 6000 but at least 16 sentences are afforded.
    assert (len(groups), groups[0]) == (14, range(3))
    assert [len(one.part.values) for one in variants] == [37] * 13 + [39]
    with pytest.raises(MemoryError):
        clip_reasons._without_words(sample, words, reader, alone=False)
    assert (alone, encoder.alone) == ([False, False], True)


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
