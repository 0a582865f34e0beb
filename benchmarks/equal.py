"""Do the verdicts of a comparison keep what they promise? Simulated comparisons whose truth is known.

Every simulated comparison has two models, S seeds of each, and G units (samples, or groups of samples) which all seeds
predict. The difference of their errors is an effect, plus a part of the seed, a part of the unit, and one of both,
whose variances are stated as shares of the squared standard error.

- `verdicts`: how often a difference is found where there is none (size) and where there is one (power), and how often
  equivalence is found at the margin's edge (size) and without a difference (power). `accuracies`: the same of those.
- `pipeline`: the same through all of the code that `qinn compare` runs.
- `rows`: how often the interval of a model's own metric holds the truth over all seeds and samples.
- `rules`: the candidates among which the interval over seeds and samples was chosen.

    python benchmarks/equal.py --output benchmarks/results/equal.json
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from record import write_record
from scipy import stats

from qinn.evaluation.metric_names import metrics_of
from qinn.evaluation.over_seeds import Spread, accuracy_error, interval_over_seeds
from qinn.evaluation.resampling import resampled_metrics
from qinn.experiment.verdicts import judged
from qinn.results.metric_columns import SIGNIFICANCE, PairedDifference
from qinn.task import Task

PLAIN = Task("regression", 0.0, 100.0, "plain")
ERROR = 0.1
"""Standard error of the simulated differences."""

MARGIN = 4.0
"""Margin, and the difference of the alternatives, in standard errors."""


@dataclass(frozen=True)
class Case:
    """A kind of comparison.

    Attributes:
        seeds: Number of seeds.
        units: Number of units.
        size: Samples in each; 1 for samples without groups.
        shares: Parts of the squared standard error that seeds, units and both together make.
        shape: Whether the units' parts are normal, or skewed (exponential).
    """

    seeds: int
    units: int
    size: int
    shares: tuple[float, float, float]
    shape: str = "normal"

    def differences(self, random: np.random.Generator) -> np.ndarray:
        """Return a difference without effect for each seed and unit."""
        of_seed, of_unit, of_both = ERROR * np.sqrt(self.shares)
        draw = random.normal if self.shape == "normal" else _skewed(random)
        return (
            of_seed * np.sqrt(self.seeds) * random.normal(size=(self.seeds, 1))
            + of_unit * np.sqrt(self.units) * draw(size=(1, self.units))
            + of_both * np.sqrt(self.units * self.seeds) * random.normal(size=(self.seeds, self.units))
        )

    @property
    def groups(self) -> np.ndarray | None:
        """Group of each sample."""
        return None if self.size == 1 else np.repeat(np.arange(self.units), self.size)


CASES = (
    Case(1, 200, 1, (0.0, 1.0, 0.0)),
    Case(1, 200, 1, (0.0, 1.0, 0.0), "skewed"),
    Case(1, 30, 10, (0.0, 1.0, 0.0)),
    Case(1, 8, 20, (0.0, 1.0, 0.0)),
    Case(3, 200, 1, (0.0, 0.5, 0.5)),
    Case(3, 200, 1, (0.2, 0.6, 0.2)),
    Case(3, 200, 1, (0.7, 0.2, 0.1)),
    Case(3, 30, 10, (0.2, 0.6, 0.2)),
    Case(3, 30, 10, (0.2, 0.6, 0.2), "skewed"),
    Case(3, 8, 20, (0.4, 0.4, 0.2)),
    Case(5, 30, 10, (0.4, 0.4, 0.2)),
    Case(10, 200, 1, (0.2, 0.6, 0.2)),
    Case(10, 30, 10, (0.7, 0.2, 0.1)),
)


def _skewed(random: np.random.Generator) -> Any:
    return lambda size: random.exponential(size=size) - 1.0


@dataclass(frozen=True)
class Outcomes:
    """What many comparisons found, each as a share of them; `detectable` is a median."""

    different: float
    equivalent: float
    by_permutation: float
    covered: float
    detectable: float

    @classmethod
    def of(
        cls,
        spreads: Sequence[Spread],
        permutation: np.ndarray,
        truth: float,
        margin: float,
        at_least: float = 0.0,
    ) -> "Outcomes":
        """Return them from what each difference varies by, and its p-value of permutations."""
        over_seeds = np.array([0.0 if one.num_seeds == 1 else one.p_value() for one in spreads])
        equivalent = [one.equivalence_p_value(margin, at_least=at_least) < SIGNIFICANCE for one in spreads]
        return cls(
            float((np.maximum(permutation, over_seeds) < SIGNIFICANCE).mean()),
            float(np.mean(equivalent)),
            float((permutation < SIGNIFICANCE).mean()),
            float(np.mean([abs(one.value - truth) <= one.half_width(0.95) for one in spreads])),
            float(np.median([one.detectable(SIGNIFICANCE) for one in spreads])) / ERROR,
        )


def simulated(case: Case, effect: float, trials: int, seed: int = 0) -> Outcomes:
    """Return what the tests say of many comparisons of mean errors, by the formulas that bootstraps approximate.

    Args:
        case: Their kind.
        effect: The true difference, in standard errors; the margin is `MARGIN`.
        trials: How many.
        seed: Of what is drawn.
    """
    random = np.random.default_rng([seed, case.seeds, case.units])
    drawn = effect * ERROR + np.stack([case.differences(random) for _ in range(trials)])
    a, b, i = parts_of(drawn)
    spreads = [
        Spread(float(mean), *map(float, parts), case.units, case.seeds)
        for mean, *parts in zip(drawn.mean((1, 2)), a, b, i, strict=True)
    ]
    permutation = sign_flips(drawn.mean(1), random)
    return Outcomes.of(spreads, permutation, effect * ERROR, MARGIN * ERROR)


def sign_flips(values: np.ndarray, random: np.random.Generator, patterns: int = 199) -> np.ndarray:
    """Return the two-sided p-value of each row's mean under random signs; exact up to 10 units."""
    units = values.shape[1]
    exact = units <= 10
    signs = (
        1 - 2.0 * (np.arange(2**units)[:, None] >> np.arange(units) & 1)
        if exact
        else random.choice([-1.0, 1.0], size=(patterns, units))
    )
    extreme = (np.abs(values @ signs.T) >= np.abs(values.sum(1))[:, None] - 1e-10).sum(1)
    return extreme / len(signs) if exact else (1 + extreme) / (1 + patterns)


def verdicts(trials: int) -> Iterator[dict[str, Any]]:
    """Yield size and power of both tests for every case."""
    for case in CASES:
        null, edge = simulated(case, 0.0, trials), simulated(case, MARGIN, trials, 1)
        shown = simulated(case, null.detectable, trials, 2)
        yield {
            **asdict(case),
            "difference": {"size": null.different, "power": edge.different},
            "equivalence": {"size": edge.equivalent, "power": null.equivalent},
            "permutation alone": {"size": null.by_permutation},
            "detectable": {"median": null.detectable, "power": shown.different},
            "coverage": null.covered,
        }


def accuracies(trials: int) -> Iterator[dict[str, Any]]:
    """Yield the same for accuracies of one seed: disagreement both ways, and one way only."""
    for samples, margin, both_ways in (
        (200, 0.05, 0.05),
        (686, 0.03, 0.05),
        (200, 0.02, 0.0),
        (686, 0.02, 0.0),
    ):
        found = []
        for effect in (0.0, margin):
            random = np.random.default_rng([samples, round(1000 * effect)])
            drawn = random.random((trials, samples))
            values = (drawn < both_ways / 2 + effect) - 1.0 * (drawn > 1.0 - both_ways / 2)
            variances = values.var(1, ddof=1) / samples
            spreads = [
                Spread(float(mean), float(variance), 0.0, 0.0, samples, 1)
                for mean, variance in zip(values.mean(1), variances, strict=True)
            ]
            least = accuracy_error(margin, samples)
            found.append(Outcomes.of(spreads, sign_flips(values, random), effect, margin, least))
        null, edge = found
        yield {
            "samples": samples,
            "margin": margin,
            "disagreement both ways": both_ways,
            "difference": {"size": null.different, "power": edge.different},
            "equivalence": {"size": edge.equivalent, "power": null.equivalent},
        }


def tested(case: Case, effect: float, seed: int) -> PairedDifference:
    """Return what `qinn compare` says of the mean absolute errors of two simulated models.

    Args:
        case: Their kind.
        effect: The true difference, in standard errors; the margin is `MARGIN`.
        seed: Of what is drawn.
    """
    random = np.random.default_rng([seed, case.seeds, case.units, round(1000 * effect)])
    samples = case.units * case.size
    within = random.normal(size=(case.seeds, case.units, case.size)) * (case.size > 1)
    within = (within - within.mean(2, keepdims=True)).reshape(case.seeds, samples)
    shared = 50.0 + random.normal(size=(case.seeds, samples))
    difference = effect * ERROR + np.repeat(case.differences(random), case.size, axis=1) + within
    # Labels of 0 and positive outputs: the error is the output.
    labels, outputs = np.zeros(samples), {"ours": shared + difference, "reference": shared}
    given = {label: one[..., None] for label, one in outputs.items()}
    options = {"groups": case.groups, "num_resamples": 200, "seed": seed}
    resampled = {label: resampled_metrics(PLAIN, labels, one, **options) for label, one in given.items()}
    options |= {"level": 0.95, "num_permutations": 99}
    margins = {"mae": MARGIN * ERROR}
    return judged(PLAIN, labels, given, "reference", resampled, margins, options)["ours"]["mae"]


def pipeline(trials: int) -> Iterator[dict[str, Any]]:
    """Yield size and power through the code of `qinn compare`, bootstrap and all."""
    for case in (CASES[0], CASES[7]):
        null = [tested(case, 0.0, seed) for seed in range(trials)]
        edge = [tested(case, MARGIN, seed) for seed in range(trials)]
        yield {
            **asdict(case),
            "difference": {"size": _share(null, "is_significant"), "power": _share(edge, "is_significant")},
            "equivalence": {"size": _share(edge, "is_equivalent"), "power": _share(null, "is_equivalent")},
        }


def rows(trials: int) -> Iterator[dict[str, Any]]:
    """Yield how often a model's own interval holds the truth, by metric: normal labels, errors whose size varies."""
    names = ("mae", "corr", "r2")
    for seeds, units, size in ((3, 200, 1), (5, 30, 10), (10, 10, 10)):
        for between in (0.0, 0.1):
            truth = _truth(between)
            held = dict.fromkeys(names, 0)
            for seed in range(trials):
                random = np.random.default_rng([seed, seeds, units])
                labels = random.normal(size=units * size)
                noise = np.exp(between * random.normal(size=(seeds, 1))) * (
                    0.6 * np.repeat(random.normal(size=(1, units)), size, axis=1)
                    + 0.8 * random.normal(size=(seeds, units * size))
                )
                groups = None if size == 1 else np.repeat(np.arange(units), size)
                found = resampled_metrics(
                    PLAIN, labels, (labels + noise)[..., None], groups=groups, num_resamples=200, seed=seed
                )
                for name in names:
                    one = interval_over_seeds(found[name], 0.95, metrics_of(PLAIN)[name])
                    held[name] += one.low <= truth[name] <= one.high
            yield {
                "seeds": seeds,
                "units": units,
                "size": size,
                "between seeds": between,
                "coverage": {name: count / trials for name, count in held.items()},
            }


def _truth(between: float) -> dict[str, float]:
    """Return the metrics of a model with errors of normal size e^(between · z), mean over z."""
    z, weights = np.polynomial.hermite_e.hermegauss(41)
    sizes, weights = np.exp(between * z), weights / weights.sum()
    return {
        "mae": float(weights @ (sizes * np.sqrt(2.0 / np.pi))),
        "corr": float(weights @ (1.0 / np.sqrt(1.0 + sizes**2))),
        "r2": float(weights @ (1.0 - sizes**2)),
    }


def rules(trials: int) -> Iterator[dict[str, Any]]:
    """Yield the coverage of every candidate for a 95 % interval, and its mean width in standard errors."""
    shares = {
        "no seeds": (0.0, 0.5, 0.5),
        "some": (0.2, 0.6, 0.2),
        "half": (0.5, 0.3, 0.2),
        "most": (0.9, 0.05, 0.05),
    }
    for seeds in (2, 3, 5, 10):
        for units in (8, 30, 200):
            for name, parts in shares.items():
                case = Case(seeds, units, 1, parts)
                random = np.random.default_rng([seeds, units])
                drawn = np.stack([case.differences(random) for _ in range(trials)])
                half = _half_widths(drawn)
                mean = np.abs(drawn.mean((1, 2)))
                coverage = {rule: float((mean <= one).mean()) for rule, one in half.items()}
                few = drawn[: max(1, trials // 20)]
                crossed = [_crossed(one, random) for one in few]
                coverage["crossed bootstrap"] = float(np.mean([low <= 0.0 <= high for low, high in crossed]))
                widths = {rule: float(one.mean()) / ERROR for rule, one in half.items()}
                widths["crossed bootstrap"] = (
                    float(np.mean([high - low for low, high in crossed])) / 2 / ERROR
                )
                yield {
                    "seeds": seeds,
                    "units": units,
                    "part of the seeds": name,
                    "coverage": coverage,
                    "width": widths,
                }


def parts_of(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return A, B and I (see `qinn.evaluation.over_seeds`) of means over seeds and units; shape (trial, seed, unit)."""
    _, seeds, units = drawn.shape
    by_seed = drawn.mean(2)
    centred = drawn - by_seed[..., None]
    covariance = np.einsum("tsg,trg->tsr", centred, centred) / (units * (units - 1))
    a = covariance.mean((1, 2))
    if seeds == 1:
        return a, np.zeros_like(a), np.zeros_like(a)
    within = np.trace(covariance, axis1=1, axis2=2) / seeds
    return a, by_seed.var(1, ddof=1) / seeds, np.maximum(0.0, (within - a) / (seeds - 1))


def _half_widths(drawn: np.ndarray) -> dict[str, np.ndarray]:
    """Return half the width of each candidate's 95 % interval for means over seeds and units, in closed form."""
    _, seeds, units = drawn.shape
    a, b, i = parts_of(drawn)
    extra = np.maximum(0.0, b - i)
    error = np.sqrt(a + extra)
    parts = a**2 / (units - 1) + b**2 / (seeds - 1) + i**2 / ((seeds - 1) * (units - 1))
    degrees = np.where(extra > 0, np.maximum(error**4 / parts, min(seeds, units) - 1), units - 1)
    of_seeds, of_units = stats.t.ppf(0.975, seeds - 1), stats.t.ppf(0.975, units - 1)
    satterthwaite = error * stats.t.ppf(0.975, degrees)
    return {
        "samples alone": np.sqrt(a) * of_units,
        "seeds alone": np.sqrt(b) * of_seeds,
        "Satterthwaite": satterthwaite,
        "each its own quantile": np.sqrt(a * of_units**2 + extra * of_seeds**2),
        "the wider": np.maximum(satterthwaite, np.sqrt(b) * of_seeds),
    }


def _crossed(drawn: np.ndarray, random: np.random.Generator) -> tuple[float, float]:
    seeds, units = drawn.shape
    of_units = random.multinomial(units, [1 / units] * units, size=300) / units
    of_seeds = random.multinomial(seeds, [1 / seeds] * seeds, size=300) / seeds
    low, high = np.quantile(((of_units @ drawn.T) * of_seeds).sum(1), [0.025, 0.975])
    return float(low), float(high)


def _share(found: list[Any], what: str) -> float:
    return float(np.mean([getattr(one, what) for one in found]))


PARTS = {
    "verdicts": verdicts,
    "accuracies": accuracies,
    "pipeline": pipeline,
    "rows": rows,
    "rules": rules,
}


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--parts", nargs="+", default=list(PARTS))
    arguments = parser.parse_args()
    started = time.perf_counter()
    contents: dict[str, list[dict[str, Any]]] = {}
    for part in arguments.parts:
        contents[part] = []
        for one in PARTS[part](arguments.trials * (10 if part == "rules" else 1)):
            contents[part].append(one)
            print(part, one, flush=True)
    limits = stats.binom.interval(0.999, arguments.trials, SIGNIFICANCE)
    write_record(
        arguments.output,
        started,
        trials=arguments.trials,
        **{"binomial limits of 5 %, 99.9 %": [one / arguments.trials for one in limits]},
        **contents,
    )


if __name__ == "__main__":
    main()
