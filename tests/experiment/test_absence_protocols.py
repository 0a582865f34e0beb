"""Sweeps by protocol: one kept, steps, blocks and bursts, texts encoded anew; areas under curves, and choices."""

import errno
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import qinn
from qinn.data.importing.transcripts import TextOptions, encode_texts
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.data.subsets.absence import Absence
from qinn.data.subsets.absence_protocols import OneKept, Steps, sample_rates
from qinn.data.subsets.cross_validation import fixed_fold
from qinn.errors import ArgumentError, CheckpointError, DataError, OutputError
from qinn.evaluation.metrics import metrics
from qinn.evaluation.paired_tests import holm_correction, paired_test
from qinn.evaluation.predict import predict
from qinn.experiment import absence_sweep, provenance
from qinn.experiment.absence_statistics import trapezoid
from qinn.experiment.absence_sweep import parse_factors, sweep_absent
from qinn.experiment.build import resolved
from qinn.experiment.comparison import compare
from qinn.experiment.idle_keys import idle_keys
from qinn.experiment.masked_texts import masked_texts, texts_for_training
from qinn.experiment.model_configs import parse_model
from qinn.experiment.predictor import Predictor
from qinn.experiment.run import run
from qinn.features.hashing import HashEncoder
from qinn.features.words import WordEncoder
from qinn.results.comparison import read_comparison
from qinn.results.files import write_atomically
from qinn.results.sweep import ProtocolRecord, read_own_sweeps, read_sweep, sweep_folder, sweep_folders
from qinn.task import Task
from qinn.training.options import FitOptions

from ..tiny import TRAINING, tiny_config, tiny_content

TASK = Task("regression", -3.0, 3.0, "mosi")
WORDS = ["good", "bad", "film", "so", "not", "very"]
MODELS = {
    "late": {"kind": "late_fusion"},
    "together": {"kind": "concatenation"},
    "unlike": {"kind": "constant"},
}
RATES = (0.0, 0.2)


def worded_store(path: Path, encoder, texts_too: bool = True, change: float = 0.0) -> Store:
    """A store of transcripts, encoded, and of sound."""
    random = np.random.default_rng(0)
    vocabulary = tuple(encoder.vocabulary) if isinstance(encoder, WordEncoder) else ()
    text = Modality(encoder.dim, "sequence", encoder.tier, vocabulary)
    modalities = {"text": text, "audio": Modality(2, "sequence", "made@1")}
    with StoreWriter(path, name="worded", task=TASK, modalities=modalities, layout="test") as writer:
        for row in range(60):
            said = " ".join(random.choice(WORDS, random.integers(3, 9)))
            [features] = encode_texts(encoder, [said], TextOptions())
            writer.add(
                f"s{row}",
                {"text": features + change, "audio": random.normal(size=(int(random.integers(4, 12)), 2))},
                label=float(np.clip(said.count("good") - said.count("bad"), -3, 3)),
                split="train" if row < 36 else "valid" if row < 48 else "test",
                text=said if texts_too else "",
            )
    return Store.open(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return worded_store(tmp_path_factory.mktemp("worded") / "store", HashEncoder())


@pytest.fixture(scope="module")
def compared(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("protocols") / "comparison"
    config = tiny_config(
        store.path, models=MODELS, seeds=[0, 1], evaluation={"num_resamples": 100, "explain": False}
    )
    compare(config, folder)
    return folder


@pytest.fixture(scope="module")
def kept(compared):
    """A sweep of one kept at two rates, and of every choice."""
    return sweep_absent(
        [compared], compared / "missing-keep-one", protocol="keep-one", rates=RATES, mask_seeds=(0, 1)
    )


def outputs_of(compared, slug, subset):
    return [
        predict(Predictor.load(compared / slug / f"seed-{seed}").models["fixed"], subset).outputs
        for seed in (0, 1)
    ]


@pytest.mark.slow
def test_steps_go_from_what_models_see_and_words_before_they_are_encoded(compared, store):
    swept = qinn.sweep_absent([compared], protocol="steps", rates=[0.5, 1.0], masks=1, num_resamples=10)
    assert swept.folder == compared / "missing-steps-rates-0.5-1"
    assert any("Words of `text` that go are unknown words to `hash@1`" in one for one in swept.remarks)
    test = fixed_fold(store).test
    texts, _ = masked_texts(store, ["text"])
    taken = Steps(texts=texts).without(test, sample_rates(0.5, test, 0), 0)
    found = [metrics(TASK, test.labels, one)["mae"] for one in outputs_of(compared, "together", taken)]
    entry = swept.models["together"].rates[0]["mae"]
    assert entry.mean == pytest.approx(np.mean(found), abs=1e-6)
    assert entry.sd == pytest.approx(np.std(found, ddof=1), abs=1e-6)
    # Of unknown words there are as many as of known ones, so text is never absent; sound is once all its steps are.
    assert swept.absent[1].modalities == 0.5
    assert "each step of each modality was taken away" in swept.how()


@pytest.mark.slow
def test_the_area_is_that_of_trapezoids_and_its_test_that_of_the_mean(kept, compared, store):
    assert trapezoid([0.0, 0.2]) == [0.5, 0.5]
    assert trapezoid([0.0, 0.2, 0.8]) == pytest.approx([0.125, 0.5, 0.375])
    for label, entry in kept.models.items():
        assert entry.area["mae"].mean == pytest.approx(np.mean([one["mae"].mean for one in entry.rates]))
        assert entry.area["mae"].low <= entry.area["mae"].mean <= entry.area["mae"].high
        if label != kept.reference:
            of_rates = [one["mae"].difference for one in kept.paired[label]]
            assert kept.paired_area[label]["mae"].difference == pytest.approx(np.mean(of_rates))
    # Of two rates that count alike the mean over runs is the mean over rates: one test of all runs together.
    test = fixed_fold(store).test
    order = np.argsort(np.array(test.ids, dtype=object))
    thinned = [OneKept().without(test, sample_rates(0.2, test, mask), mask) for mask in (0, 1)]
    outputs = {
        label: np.concatenate([outputs_of(compared, label, one) for one in (test, test, *thinned)])[:, order]
        for label in ("late", "together")
    }
    options = {"num_resamples": 100, "num_permutations": 100}
    expected = paired_test(TASK, test.labels[order], outputs["together"], outputs["late"], **options)["mae"]
    found = kept.paired_area["together"]["mae"]
    assert (found.difference, found.p_value) == pytest.approx(
        (expected.difference, expected.p_value), abs=1e-6
    )
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    holm = holm_correction({label: one["mae"].p_value for label, one in kept.paired_area.items()})
    assert {label: one["mae"].p_value_holm for label, one in kept.paired_area.items()} == holm


@pytest.mark.slow
def test_one_kept_goes_through_every_choice(kept, compared, store):
    assert kept.absent[1].modalities == pytest.approx(0.2, abs=0.15)
    assert all(one.empty == 0.0 for one in kept.absent)
    assert kept.subsets == ("text", "audio")
    test = fixed_fold(store).test
    without = Absence(("audio",)).apply(test)
    found = [metrics(TASK, test.labels, one)["mae"] for one in outputs_of(compared, "late", without)]
    entry = kept.models["late"].subsets[0]["mae"]
    assert entry.mean == pytest.approx(np.mean(found), abs=1e-6)
    assert entry.sd_masks is None
    assert set(kept.paired_subsets) == {"together", "unlike"}
    table = kept.to_markdown()
    assert "| model | text | audio |" in table
    assert "| model | 0 | 0.2 | area |" in table
    assert read_sweep(kept.folder) == kept
    assert set(kept.to_frame()["rate"]) == {*RATES, "area", "text", "audio"}


@pytest.mark.slow
def test_a_comparison_keeps_a_sweep_of_each_protocol(kept, compared):
    bursts = qinn.sweep_absent(
        [compared], protocol="steps", pattern="bursts", burst=3, rates="0.5", masks=1, num_resamples=10
    )
    comparison = read_comparison(compared)
    given = replace(next(iter(comparison.models.values())), runs=())  # as of one that was trained elsewhere
    beside = replace(comparison, models={**comparison.models, "theirs": given})
    found = {one.folder.name: one for one in read_own_sweeps(beside)}
    with pytest.raises(CheckpointError, match="is of a model `late` that was trained here"):
        read_own_sweeps(replace(comparison, models={**comparison.models, "late": given}))
    assert {"missing-keep-one": kept, "missing-steps-bursts-of-3-rates-0.5": bursts}.items() <= found.items()
    assert bursts.protocol == ProtocolRecord(name="steps", pattern="bursts", burst=3.0)
    assert "in bursts of 3 on average" in bursts.how()


@pytest.mark.slow
def test_a_factor_changes_the_rate_of_its_modality_alone(compared, store):
    run = compared / "late" / "seed-0"
    swept = sweep_absent(
        [run],
        compared.parent / "factors",
        rates=(0.4,),
        mask_seeds=(0, 1),
        factors=parse_factors(["audio=0", "text=2"]),
    )
    assert swept.protocol.factors == {"audio": 0.0, "text": 2.0}
    masks = [Absence(rate=0.8, seed=seed).mask(fixed_fold(store).test.ids, ["text"]) for seed in (0, 1)]
    assert swept.absent[0].modalities == pytest.approx(np.mean(masks) / 2)
    assert "`audio` 0, `text` 2 times the one stated" in swept.how()
    assert swept.models["late"].area == {}
    assert "area" not in swept.to_markdown()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"factors": {"voice": 1.0}}, r"which are \['text', 'audio'\], but it is that of `voice`"),
        ({"factors": {"text": -1.0}}, "must be 0 or more, but it is -1.0"),
        ({"factors": ["text=much"]}, "must be numbers, but they are `text=much`"),
        ({"protocol": "keep-one", "rates": (0.1, 0.5, 0.6)}, "From the rate 0.5 on a single one of 2"),
        ({"pattern": "block"}, "is one of steps, but the protocol is `whole`"),
        ({"protocol": "steps", "pattern": "bursts", "burst": 0.1}, "1 step or more on average"),
        (
            {"protocol": "steps", "burst": 3},
            "goes with the pattern `bursts` alone, but the pattern is `scattered`",
        ),
        ({"protocol": "frames"}, "`protocol`"),
    ],
)
def test_impossible_protocols_are_refused_and_write_nothing(options, words, compared, tmp_path):
    with pytest.raises((ArgumentError, TypeError), match=words):
        qinn.sweep_absent([compared], tmp_path / "sweep", **options)
    assert not (tmp_path / "sweep").exists()


def test_one_kept_needs_several_modalities_that_all_runs_share(compared, store, tmp_path):
    models = {"alone": {"kind": "constant"}}
    alone = run(
        tiny_config(store.path, models=models, data={"store": str(store.path), "modalities": ["text"]}),
        tmp_path / "alone",
    ).path
    for runs, words in (([alone], "two modalities or more"), ([alone, compared], "sweep them apart")):
        with pytest.raises(ArgumentError, match=words):
            sweep_absent(runs, tmp_path / "sweep", protocol="keep-one", mask_seeds=(0,))
    assert not (tmp_path / "sweep").exists()


def test_of_models_that_are_solved_training_takes_nothing_away_and_says_so(store, tmp_path):
    training = {**TRAINING, "absent_rate": 0.5, "absent_protocol": "keep-one"}
    models = {"unlike": {"kind": "constant"}, "late": {"kind": "late_fusion"}}
    config = tiny_config(store.path, models=models, training=training)
    done = [run(config.only(label, 0), tmp_path / label) for label in models]
    assert [len(one.summary().remarks) for one in done] == [1, 0]
    assert "a model of kind `constant` is fitted to them as they are" in done[0].summary().remarks[0]
    swept = sweep_absent([one.path for one in done], tmp_path / "sweep", rates=(0.5,), num_resamples=100)
    assert swept.models["unlike"].training == {"absent_rate": 0.0}
    assert swept.models["late"].training["absent_rate"] == 0.5
    assert swept.remarks == (
        "Nothing was taken away from the training samples of `unlike`, which were fitted to them as they are.",
    )


@pytest.mark.parametrize(
    ("training", "names", "words"),
    [
        ({"absent_protocol": "keep-one"}, ["text"], ["`text` is all that there is"]),
        ({"absent_protocol": "steps", "absent_all": True}, ["a", "b"], ["absent_all"]),
        ({"absent_protocol": "steps", "absent_burst": 9.0}, ["a", "b"], ["absent_burst"]),
        ({"absent_protocol": "steps", "absent_pattern": "bursts", "absent_burst": 9.0}, ["a"], []),
        ({"selection_rates": (0.5,), "monitor": "last", "patience": 0}, ["a"], ["selection_rates"]),
        ({"absent_rate": 0.0, "absent_all": True, "absent_protocol": "keep-one"}, ["a", "b"], []),
    ],
)
def test_keys_of_absence_that_change_nothing_are_named(training, names, words):
    options = FitOptions(**{"absent_rate": 0.5, **training})
    found = idle_keys(parse_model("m", {"kind": "concatenation"}), options, names)
    assert len(found) == len(words)
    assert all(word in said for word, said in zip(words, found, strict=True))


def test_a_run_with_a_sweep_of_any_protocol_is_replaced_when_asked(store, tmp_path):
    config = tiny_config(store.path, models={"m": {"kind": "constant"}})
    place = run(config, tmp_path / "run").path
    for name in (*sweep_folders(), sweep_folder(ProtocolRecord(factors={"text": 0.5}), split="valid")):
        (place / name).mkdir()
        (place / name / "sweep.json").write_text("{}")
    (place / "missing-valid" / ".outputs.partial").mkdir(parents=True)  # of a sweep that was killed
    other = config.model_copy(update={"threads": 2})
    run(other, place, overwrite=True)
    assert not any(place.glob("missing*"))
    (place / "missing-pages").mkdir()
    (place / "missing-pages" / "mine.tex").touch()
    with pytest.raises(CheckpointError, match="holds `missing-pages` beside a run"):
        run(config, place, overwrite=True)


def test_sweeps_of_different_questions_lie_in_different_folders():
    steps, bursts = (
        ProtocolRecord(name="steps", pattern=pattern, burst=burst)
        for pattern, burst in (("scattered", None), ("bursts", 5.0))
    )
    names = [
        sweep_folder(steps),
        sweep_folder(bursts),
        sweep_folder(replace(bursts, burst=5.5)),
        *(sweep_folder(replace(steps, factors=one)) for one in ({"a": 0.5}, {"b": 0.5}, {"a": 0.50000001})),
        *(sweep_folder(replace(steps, factors=one)) for one in ({"a b": 0.5}, {"a/b": 0.5}, {"../b": 0.5})),
        *(sweep_folder(steps, rates=one) for one in ((0.5,), (0.0, 0.5), np.linspace(0, 1, 99).tolist())),
        sweep_folder(steps, split="valid"),
        sweep_folder(steps, split="valid", rates=(0.5,)),
    ]
    assert names[:2] == ["missing-steps", "missing-steps-bursts"]  # where studies have theirs
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"missing-steps[\w.-]{0,120}", name) for name in names)
    assert sweep_folder(replace(steps, factors={"a": 1.0})) == "missing-steps"


@pytest.mark.slow
def test_a_sweep_that_could_not_be_written_goes_on_where_it_stopped(store, tmp_path, monkeypatch):
    done = run(tiny_config(store.path, models={"m": {"kind": "constant"}}), tmp_path / "run").path

    def sweep(to, rate=0.5, **options):
        return sweep_absent(
            [done], tmp_path / to, rates=(rate,), mask_seeds=(0,), num_resamples=10, **options
        )

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    expected, predict_all = sweep("expected"), absence_sweep.predict_parts
    said = r"Cannot write `.*`: No space left on device; free space"
    write = absence_sweep.write_text
    monkeypatch.setattr(absence_sweep, "write_text", lambda path, _: write_atomically(path, full))
    with pytest.raises(OutputError, match=said):
        sweep("sweep")
    monkeypatch.setattr(absence_sweep, "write_text", write)
    monkeypatch.setattr(absence_sweep, "predict_parts", never)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(provenance, "code_digest", lambda: "another")
        with pytest.raises(AssertionError):  # what other code predicted is no part of a result
            sweep("sweep")
    with pytest.raises(OutputError, match="no figures"):
        sweep("sweep", draw=unable)
    found = sweep("sweep")
    assert found.models == expected.models
    assert sorted(path.name for path in found.folder.iterdir()) == ["sweep.json", "table.md"]
    with pytest.raises(AssertionError):  # what was kept is gone
        sweep("sweep")
    monkeypatch.setattr(absence_sweep, "predict_parts", predict_all)
    with pytest.raises(OutputError):
        sweep("sweep", draw=unable)
    [kept] = (tmp_path / "sweep" / ".outputs.partial").iterdir()
    kept.write_bytes(kept.read_bytes()[:200])  # damaged, it is made anew
    assert sweep("sweep").absent == expected.absent
    with pytest.raises(OutputError):
        sweep("sweep", draw=unable)
    assert sweep("sweep", rate=0.1).absent != expected.absent
    monkeypatch.setattr(absence_sweep, "predict_parts", never)
    assert sweep("sweep").models == expected.models  # what was kept of it stayed
    assert sorted(path.name for path in found.folder.iterdir()) == ["sweep.json", "table.md"]


def never(*_):
    raise AssertionError("computed again")


def unable(folder):
    raise OutputError(f"There are no figures in `{folder}`.")


def test_masked_texts_are_those_of_the_encoder_and_kept(store, tmp_path):
    texts, _ = masked_texts(store, ["text", "audio"], tmp_path)
    said, lengths = ["so good", "not bad film"], np.array([2, 3])
    gone = np.array([False, True, False, False, True])
    expected = HashEncoder().encode_words([["so", ""], ["not", "bad", ""]])
    for _ in range(2):
        assert np.array_equal(texts["text"].features(said, lengths, gone), np.concatenate(expected))
    assert len(list(tmp_path.iterdir())) == 1
    other = texts["text"].features(said, lengths, ~gone)
    assert not np.array_equal(other, np.concatenate(expected))
    whole = texts["text"].features(said, lengths, np.zeros(5, dtype=bool))
    assert np.array_equal(whole, np.concatenate(HashEncoder().encode(said)))
    partly = texts["text"].features(said, np.array([0, 3]), gone[2:])
    assert np.array_equal(partly, expected[1])
    with pytest.raises(DataError, match="`so good` makes 2 steps, but the store has 1 for it"):
        texts["text"].features(said, np.array([1, 3]), gone[1:])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: worded_store(path, HashEncoder(), texts_too=False), "since the store has none"),
        (lambda path: worded_store(path, HashEncoder(), change=1.0), "make other features than it has"),
        (lambda path: renamed(path), r"what made them \(glove@1\) is not known here"),
    ],
)
def test_of_text_features_that_cannot_be_made_anew_the_step_goes(make, reason, tmp_path):
    texts, remarks = masked_texts(make(tmp_path / "store"), ["text", "audio"])
    assert texts == {}
    assert len(remarks) == 1
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(remarks[0])


def renamed(path: Path) -> Store:
    class Glove(HashEncoder):
        tier = "glove@1"

    return worded_store(path, Glove())


def test_ids_of_words_that_go_are_those_of_unknown_words(tmp_path):
    texts, _ = masked_texts(worded_store(tmp_path / "store", WordEncoder(WORDS)), ["text"])
    found = texts["text"].features(["so good"], np.array([2]), np.array([True, False]))
    assert found.tolist() == [[0.0], [1.0]]


@pytest.mark.slow
def test_training_by_steps_encodes_words_anew(store, tmp_path):
    training = {**TRAINING, "absent_protocol": "steps", "absent_rate": 0.5, "selection_rates": [0.0, 0.5]}
    config = tiny_config(store.path, models={"m": {"kind": "concatenation"}}, training=training)
    texts, said = texts_for_training(store, resolved(config, store))
    assert (set(texts), said) == ({"text"}, [])
    plain = tiny_config(store.path, models={"m": {"kind": "concatenation"}})
    assert texts_for_training(store, resolved(plain, store)) == ({}, [])
    done, undisturbed = run(config, tmp_path / "run"), run(plain, tmp_path / "plain")
    plain_weights, weights = (
        load_file(next(one.path.rglob("weights.safetensors"))) for one in (undisturbed, done)
    )
    assert any(not torch.equal(plain_weights[name], weights[name]) for name in weights)


WHOLE = (
    "Steps of `text` that go are absent from features of the whole sentence, in which the others still know of them: "
    "no transcript can be encoded anew, since the store has none."
)


@pytest.mark.slow
def test_training_by_steps_of_features_that_are_not_made_anew_says_so(tmp_path):
    pytest.importorskip("optuna")
    place = worded_store(tmp_path / "store", HashEncoder(), texts_too=False).path
    taken = {**TRAINING, "max_epochs": 1, "absent_protocol": "steps"}

    def said_of(kind: str, **training):
        said: list[str] = []
        content = tiny_content(place, models={"m": {"kind": kind}}, training={**taken, **training})
        name = f"run-{len([*tmp_path.iterdir()])}"
        summary = qinn.train(content, tmp_path / name, on_remark=said.append).summary()
        assert [one for one in said if one in summary.remarks] == [one for one in said if "Steps" in one]
        return [one for one in said if "Steps" in one]

    assert said_of("concatenation", absent_rate=0.5) == [WHOLE]
    assert said_of("concatenation", absent_rate={"audio": 0.5}) == []
    assert said_of("concatenation", absent_rate={"audio": 0.5}, selection_rates=[0.5]) == [WHOLE]
    assert said_of("constant", absent_rate=0.5) == []
    tuned = {"trials": 1, "space": {"absent_rate": [0.1, 0.2]}}
    content = tiny_content(place, models={"m": {"kind": "concatenation"}}, training=taken, tune=tuned)
    assert qinn.tune(content, tmp_path / "tuned").remarks == ()
    assert qinn.tune(content, tmp_path / "tuned", trials=2).remarks == (WHOLE,)


@pytest.mark.parametrize(
    "training",
    [
        {"absent_protocol": "frames"},
        {"selection_rates": [0.5, 1.5]},
        {"absent_rate": [0.1, 1.0]},
        {"absent_burst": 0.5},
    ],
)
def test_impossible_training_by_protocols_is_refused(training, store):
    from qinn.errors import ConfigError
    from qinn.experiment.config import parse_config

    with pytest.raises(ConfigError, match=next(iter(training))):
        parse_config(tiny_content(store.path, training={**TRAINING, **training}), "tiny")
