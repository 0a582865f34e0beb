"""The synthetic set's known answers are what simulation finds, and a small network comes near the best."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from qinn.data.stores.store import Store
from qinn.data.subsets.batching import batch_of
from qinn.data.subsets.cross_validation import cross_validation, fixed_fold
from qinn.data.subsets.subset import subset_of
from qinn.data.synthetic.known_answer_set import (
    MODALITIES,
    SyntheticSamples,
    SyntheticSpec,
    ceiling,
    draw_samples,
    known_answer,
    write_synthetic_store,
)
from qinn.data.synthetic.uniform_sums import density, distribution, mean_absolute, same_sign
from qinn.errors import ArgumentError, OutputError

SPECS = {
    "default": SyntheticSpec(),
    "absent modalities": SyntheticSpec(absent_rate=0.3),
    "other weights": SyntheticSpec(
        text_audio=1.1, audio_vision=0.2, additive=(0.1, 0.6, 0.3), label_noise=0.4, absent_rate=0.1
    ),
    "classes": SyntheticSpec(kind="classification"),
    "classes with absent modalities": SyntheticSpec(kind="classification", absent_rate=0.25, label_noise=0.3),
}
NUM_DRAWN = 40_000


def z_score(values: np.ndarray, expected: float) -> float:
    return float((values.mean() - expected) / (values.std(ddof=1) / math.sqrt(len(values))))


def light(spec: SyntheticSpec) -> SyntheticSpec:
    """The same answers with one-step sequences, quick to draw."""
    return dataclasses.replace(spec, text_dim=2, audio_dim=2, vision_dim=2, min_length=1, max_length=1)


def centre(spec: SyntheticSpec, latents: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Own reckoning of the best prediction from the latents of the modalities that are seen."""
    result = np.zeros(len(latents))
    for row, ((u, wt), (s, wa), (v, wv)) in enumerate(latents):
        text, audio, vision = seen[row]
        result[row] += (
            spec.additive[0] * wt * text + spec.additive[1] * wa * audio + spec.additive[2] * wv * vision
        )
        if audio and text:
            result[row] += spec.text_audio * s * u
        if audio and vision:
            result[row] += spec.audio_vision * s * v
    return result


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
@pytest.mark.parametrize(
    "chosen", [(), *itertools.combinations(MODALITIES, 1), MODALITIES, MODALITIES[:2]], ids="+".join
)
def test_each_ceiling_is_reached_by_the_centre(spec: SyntheticSpec, chosen: tuple[str, ...]) -> None:
    samples = draw_samples(light(spec), NUM_DRAWN // 4, np.random.default_rng(1))
    seen = samples.present & np.isin(MODALITIES, chosen)
    prediction = centre(spec, samples.latents, seen)
    if spec.kind == "regression":
        scores = np.abs(samples.scores - prediction)
    else:
        guess = np.random.default_rng(2).random(len(prediction)) < 0.5
        scores = (np.where(prediction == 0, guess, prediction > 0) == samples.labels).astype(float)
    expected = ceiling(spec, chosen)
    assert abs(z_score(scores, expected)) < 4
    answer = known_answer(spec)
    named = {(): answer.constant, MODALITIES: answer.bayes} | {(m,): answer.unimodal[m] for m in MODALITIES}
    assert named.get(chosen, expected) == pytest.approx(expected, rel=1e-12)


@pytest.fixture(scope="module")
def many_samples() -> SyntheticSamples:
    return draw_samples(light(SyntheticSpec()), 120_000, np.random.default_rng(5))


@pytest.mark.parametrize(
    "chosen", [(), ("text",), ("audio",), ("vision",), ("text", "vision"), ("audio", "vision")]
)
def test_no_prediction_from_some_modalities_beats_their_ceiling(
    many_samples: SyntheticSamples, chosen: tuple[str, ...]
) -> None:
    """The conditional median estimated by brute force in bins of the seen latents is not better."""
    spec, samples = SyntheticSpec(), many_samples
    keys = np.zeros(len(samples.scores), dtype=np.int64)
    for modality in chosen:
        index = MODALITIES.index(modality)
        for latent in range(2):
            keys = keys * 6 + np.minimum((samples.latents[:, index, latent] + 1) * 3, 5).astype(np.int64)
    order = np.argsort(keys, kind="stable")
    bounds = np.flatnonzero(np.diff(keys[order])) + 1
    fitted = np.empty(len(keys))
    for rows in np.split(order, bounds):
        fitted[rows] = np.median(samples.scores[rows])
    error = np.abs(samples.scores - fitted).mean()
    best = ceiling(spec, chosen)
    assert best * 0.985 < error < best * 1.06


@pytest.mark.slow
@pytest.mark.parametrize("absent_rate", [0.0, 0.3])
def test_the_best_sum_of_single_modality_functions_reaches_the_additive_ceiling_and_not_more(
    absent_rate: float,
) -> None:
    """Free functions of each modality, tables over a grid of its latents, fitted for least absolute error."""
    spec = light(SyntheticSpec(absent_rate=absent_rate))
    samples = draw_samples(spec, NUM_DRAWN, np.random.default_rng(7))
    bins = np.minimum((samples.latents + 1) * 4, 7).astype(np.int64)
    cells = np.where(samples.present, bins[:, :, 0] * 8 + bins[:, :, 1], 64)
    tables = torch.zeros(3, 65, dtype=torch.float64, requires_grad=True)
    offset = torch.from_numpy(samples.latents[:, :, 1] * samples.present) @ torch.tensor(
        spec.additive, dtype=torch.float64
    )
    target, index = torch.from_numpy(samples.scores) - offset, torch.from_numpy(cells)
    optimiser = torch.optim.Adam([tables], lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        loss = (target - sum(tables[m][index[:, m]] for m in range(3))).abs().mean()
        loss.backward()
        optimiser.step()
    answer = known_answer(spec)
    assert answer.additive is not None
    residual = (target - sum(tables[m][index[:, m]] for m in range(3))).abs().detach().numpy()
    assert answer.additive * 0.98 < residual.mean() < answer.additive * 1.01
    assert abs(z_score(target.abs().numpy(), answer.additive)) < 4


def test_an_additive_optimum_is_the_same_seen_from_fresh_samples() -> None:
    spec = light(SyntheticSpec(absent_rate=0.3))
    samples = draw_samples(spec, NUM_DRAWN, np.random.default_rng(8))
    answer = known_answer(spec)
    prediction = (samples.latents[:, :, 1] * samples.present) @ np.array(spec.additive)
    assert answer.additive is not None
    assert abs(z_score(np.abs(samples.scores - prediction), answer.additive)) < 4


def test_the_interaction_is_worth_more_than_a_quarter() -> None:
    answer = known_answer(SyntheticSpec())
    assert answer.additive is not None
    assert answer.additive > 1.25 * answer.bayes
    assert answer.bayes == pytest.approx(0.35)
    assert answer.bayes < answer.additive < min(answer.unimodal.values()) < answer.constant


def test_the_mean_of_a_sequence_holds_the_latents_exactly() -> None:
    spec = SyntheticSpec(absent_rate=0.2, noise=2.0)
    samples = draw_samples(spec, 300, np.random.default_rng(0))
    planes = np.random.default_rng([spec.seed, 99])
    for index, (name, dim) in enumerate(spec.dims.items()):
        plane = np.linalg.qr(planes.normal(size=(dim, 2)))[0].T
        values, lengths = samples.features[name]
        assert ((lengths > 0) == samples.present[:, index]).all()
        rows = np.split(values.astype(np.float64), np.cumsum(lengths)[:-1])
        for row, steps in enumerate(rows):
            if len(steps):
                found = plane @ steps.mean(axis=0)
                np.testing.assert_allclose(found, samples.latents[row, index], atol=1e-5)
                assert spec.min_length <= len(steps) <= spec.max_length


def test_features_off_the_plane_are_white_noise() -> None:
    spec = SyntheticSpec(noise=0.7, max_length=6)
    values, _ = draw_samples(spec, 2000, np.random.default_rng(0)).features["audio"]
    eigenvalues = np.linalg.eigvalsh(np.cov(values, rowvar=False))
    np.testing.assert_allclose(eigenvalues[:10], 0.49, rtol=0.1)


def test_the_bayes_score_in_the_table_has_the_bayes_error(synthetic_store: Store) -> None:
    table = synthetic_store.table
    error = np.abs(table.column("score").to_numpy() - table.column("bayes_score").to_numpy())
    spec = SyntheticSpec(absent_rate=0.2)
    assert abs(z_score(error, known_answer(spec).bayes)) < 4
    drawn, known = synthetic_store.manifest["notes"]
    assert drawn.startswith("drawn with num train 300, num valid 60, ")
    assert "additive 0.5 and 0.2 and 0.2" in drawn
    assert known.startswith(f"known answer: metric: mae, bayes: {known_answer(spec).bayes:.6g}, ")
    assert not any(sign in drawn + known for sign in "={}'_")


def test_a_store_is_the_same_for_the_same_seed_and_its_test_split_for_any_training_size(tmp_path) -> None:
    small = SyntheticSpec(num_train=20, num_valid=10, num_test=30)
    stores = [
        write_synthetic_store(tmp_path / name, dataclasses.replace(small, **changes))
        for name, changes in (("a", {}), ("b", {}), ("c", {"seed": 1}), ("d", {"num_train": 50}))
    ]
    assert stores[0].sha256 == stores[1].sha256 != stores[2].sha256
    first, last = (batch_of(subset_of(store, "test"), range(30)) for store in (stores[0], stores[3]))
    assert torch.equal(first.features["vision"].values, last.features["vision"].values)
    with pytest.raises(OutputError, match="exists already"):
        write_synthetic_store(tmp_path / "a", small)


def test_the_store_has_groups_folds_texts_and_the_asked_sizes(synthetic_store: Store) -> None:
    assert synthetic_store.manifest["splits"] == {"train": 300, "valid": 60, "test": 100}
    fold = fixed_fold(synthetic_store)
    assert len(cross_validation(synthetic_store, by="fold")) == 5
    there = fold.test.lengths("text") > 0
    assert all(bool(text) is bool(present) for text, present in zip(fold.test.texts, there, strict=True))
    assert fold.test.texts[int(np.argmax(there))].startswith("The ")


def test_classes_are_the_signs_of_the_scores(tmp_path) -> None:
    spec = SyntheticSpec(num_train=50, num_valid=0, num_test=0, kind="classification")
    store = write_synthetic_store(tmp_path / "s", spec)
    assert store.task.classes == ("negative", "positive")
    np.testing.assert_array_equal(store.labels, store.table.column("score").to_numpy() > 0)
    assert known_answer(spec).additive is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train": 0}, "`num_train` must be at least 1"),
        ({"audio_dim": 1}, "`audio_dim` must be at least 2"),
        ({"min_length": 30}, "`max_length` must be at least 30"),
        ({"noise": -1.0}, "`noise`"),
        ({"noise": float("nan")}, "`noise`"),
        ({"absent_rate": 1.0}, "`absent_rate`"),
        ({"label_noise": 0.8}, "at most 3"),
        ({"additive": (-0.1, 0.0, 0.0)}, "0 or more"),
        ({"kind": "ranking"}, "`regression`, `classification` or `multilabel`"),
    ],
    ids=str,
)
def test_an_impossible_specification_is_refused(unchecked_types: None, changes: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        SyntheticSpec(**changes)


def test_the_ceiling_of_an_unknown_modality_is_refused() -> None:
    with pytest.raises(ArgumentError, match="smell"):
        ceiling(SyntheticSpec(), ("smell",))


@pytest.mark.slow
def test_a_small_network_on_mean_features_comes_within_15_percent_of_the_best(tmp_path) -> None:
    torch.manual_seed(0)
    spec = SyntheticSpec()
    fold = fixed_fold(write_synthetic_store(tmp_path / "s", spec))
    pooled = []
    for part in (fold.development.train, fold.test):
        batch = batch_of(part, range(len(part)))
        means = [value.values.sum(1) / value.lengths[:, None] for value in batch.features.values()]
        pooled.append((torch.cat(means, 1), batch.labels))
    (inputs, labels), (test_inputs, test_labels) = pooled
    network = torch.nn.Sequential(
        torch.nn.Linear(inputs.shape[1], 64),
        torch.nn.GELU(),
        torch.nn.Linear(64, 64),
        torch.nn.GELU(),
        torch.nn.Linear(64, 1),
    )
    optimiser = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, epochs=20, steps_per_epoch=32)
    for _ in range(20):
        for rows in torch.randperm(len(inputs)).tensor_split(32):
            optimiser.zero_grad()
            (network(inputs[rows])[:, 0] - labels[rows]).abs().mean().backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        error = float((network(test_inputs)[:, 0] - test_labels).abs().mean())
    answer = known_answer(spec)
    assert answer.additive is not None
    assert answer.bayes * 0.9 < error < answer.bayes * 1.15 < answer.additive


# Sums of uniforms


@pytest.mark.parametrize(
    "widths", [[0.7], [1.0, 0.2], [0.8, 0.6, 0.7], [0.8, 0.6, 0.5, 0.2, 0.2, 0.7]], ids=str
)
def test_the_law_of_a_sum_of_uniforms_agrees_with_quadrature_and_simulation(widths: list[float]) -> None:
    top = sum(widths)
    x = np.linspace(-top, top, 4001)
    assert integrate.trapezoid(density(widths, x), x) == pytest.approx(1, abs=1e-3)
    assert integrate.trapezoid(density(widths, x) * np.abs(x), x) == pytest.approx(
        mean_absolute(widths), rel=1e-3
    )
    drawn = np.random.default_rng(0).uniform(-1, 1, (20_000, len(widths))) @ np.array(widths)
    assert abs(z_score(np.abs(drawn), mean_absolute(widths))) < 4
    assert stats.kstest(drawn, lambda y: distribution(widths, y)).pvalue > 1e-4


def test_the_probability_of_the_same_sign_agrees_with_simulation() -> None:
    known, unknown = [0.8, 0.5], [0.7, 0.6, 0.1]
    generator = np.random.default_rng(0)
    first = generator.uniform(-1, 1, (100_000, 2)) @ np.array(known)
    second = generator.uniform(-1, 1, (100_000, 3)) @ np.array(unknown)
    assert abs(z_score((first * (first + second) > 0).astype(float), same_sign(known, unknown))) < 4
    assert same_sign([], unknown) == 0.5
    assert same_sign(known, [0.0]) == 1.0
    assert mean_absolute([]) == 0.0
