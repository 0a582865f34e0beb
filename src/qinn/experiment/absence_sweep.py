"""How finished runs bear missing data: one sweep over rates of absence, the same masks for every model."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from qinn.data.files.numerals import number_of
from qinn.data.subsets.absence import Absence, present_modalities
from qinn.data.subsets.absence_protocols import AbsenceProtocol, Pattern, ProtocolName, Steps, protocol_of
from qinn.data.subsets.subset import Subset
from qinn.destinations import Product, check_destinations, marked, resolved
from qinn.errors import ArgumentError, DataError
from qinn.evaluation.paired_tests import PairedDraws
from qinn.experiment import provenance
from qinn.experiment.absence_statistics import (
    Measured,
    Tested,
    area_between,
    area_under,
    prior_of,
    trapezoid,
)
from qinn.experiment.config import config_of
from qinn.experiment.evaluation import (
    check_not_fitted_to,
    evaluated_subsets,
    predict_parts,
    training_parts,
)
from qinn.experiment.idle_keys import FITTED_AS_THEY_ARE
from qinn.experiment.masked_texts import check_absence_in_sweep, masked_texts
from qinn.experiment.predictor import Predictor
from qinn.experiment.swept_outputs import KeptOutputs, SweptOutputs
from qinn.explain.activity import mean_activity, sleep_remarks
from qinn.folder_locks import held
from qinn.results.comparison import COMPARISON_FILE, read_comparison
from qinn.results.files import digests_of, write_text
from qinn.results.folder import RunFolder
from qinn.results.metric_columns import PairedDifference, shown_metrics
from qinn.results.summary import commits_of
from qinn.results.sweep import (
    FORMAT,
    SWEEP_FILE,
    TABLE_FILE,
    ProtocolRecord,
    Shares,
    SweepResult,
    SweptModel,
    Trained,
)
from qinn.stated_options import parse_pairs
from qinn.task import Task

COMMAND = "qinn sweep-absent"
MARK = f"<!-- made by {COMMAND} -->"
"""Last line of its tables and figures."""


@dataclass(frozen=True)
class _Samples:
    """What all runs were tested on, in the order of the ids."""

    task: Task
    ids: tuple[str, ...]
    labels: Shaped[np.ndarray, "sample *label"]
    groups: Shaped[np.ndarray, "sample"] | None


@dataclass(frozen=True)
class _Plan:
    """What is taken away: at every rate under every mask, and for every choice of modalities that are kept."""

    protocol: AbsenceProtocol
    rates: tuple[float, ...]
    mask_seeds: tuple[int, ...]
    factors: Mapping[str, float]
    subsets: tuple[tuple[str, ...], ...]

    def at(self, subset: Subset, rate: float, seed: int) -> Subset:
        """Return samples at a rate under a mask."""
        rates = {name: min(1.0, rate * self.factors.get(name, 1.0)) for name in subset.modalities}
        return self.protocol.without(subset, rates, seed) if rate else subset


@dataclass(frozen=True)
class _Swept:
    """One run, by its digest: its outputs, the labels that it was trained on, and what a user should know."""

    digest: str
    outputs: SweptOutputs
    training_labels: list[np.ndarray]
    remarks: list[str]


def sweep_absent(
    paths: Sequence[Path | str],
    target: Path | str,
    *,
    protocol: ProtocolName = "whole",
    rates: Sequence[float] | None = None,
    mask_seeds: Sequence[int] = (0, 1, 2),
    pattern: Pattern = "scattered",
    burst: float | None = None,
    factors: Mapping[str, float] | None = None,
    split: str = "test",
    reference: str | None = None,
    num_resamples: int | None = None,
    overwrite: bool = False,
    draw: Callable[[Path], object] | None = None,
    on_run: Callable[[int, int, str], None] | None = None,
) -> SweepResult:
    """Evaluate runs with modalities, or steps of them, taken away at rising rates; write ``sweep.json``, ``table.md``.

    What goes at a rate is what the protocol says (`qinn.data.subsets.absence_protocols`); samples that lose everything
    stay, and their prediction is the model's prior. Masks depend on the mask seed and the samples' ids alone, so that
    all models and seeds lose the same. Nothing is trained or chosen. A sweep that was killed, or could not be written,
    goes on where it stopped.

    Args:
        paths: Comparisons (all their runs) and single runs, all on one data set and split.
        target: Folder for the files.
        protocol: ``"whole"`` modalities, each on its own; ``"keep-one"``, all but one, and every choice of modalities;
            or ``"steps"``.
        rates: Rates of absence; those of the protocol if None.
        mask_seeds: Seeds of the masks; a metric is the mean over them.
        pattern: Of steps: ``"scattered"``, ``"block"`` or ``"bursts"``.
        burst: Mean number of steps of a burst, of bursts alone; 5 if None.
        factors: Modality → what its rate is multiplied by, up to 1.
        split: ``"test"`` or ``"valid"``.
        reference: Model that the others are tested against (default: the comparison's, or the first).
        num_resamples: Bootstrap resamples and permutations (default: those of the first run's configuration).
        overwrite: Replace files of the names that are written where another program made them.
        draw: Draws figures of the files in a folder, beside them.
        on_run: Called with (runs done, runs in all, label) after each run.

    Returns:
        The result, as ``sweep.json`` keeps it. Per model and rate every metric's mean, its standard deviation over
        training seeds (each averaged over masks) and over masks (each averaged over training seeds), its bootstrap
        interval, and the paired test against the reference; the same of the area under the curve and of every choice of
        modalities; per model under ``empty`` what it says about samples that have nothing, beside mean and median of
        the training labels.

    Raises:
        ArgumentError: If rates, seeds or factors are impossible, a run is named twice, or the reference is unknown.
        CheckpointError: If a folder is no finished run or comparison, or a run is replaced meanwhile.
        ConfigError: If what encodes transcripts anew cannot be loaded, or a run was fitted to the split as well.
        DataError: If the runs were not tested on the same samples.
        OutputError: If the files, or the figures that will lie beside them, would replace another's, another command
            works in the folder, or it cannot be written.
    """
    chosen = protocol_of(protocol, pattern=pattern, burst=burst)
    runs, reference = _find_runs([Path(path) for path in paths], reference)
    for folder in (folder for folders in runs.values() for folder in folders):
        check_not_fitted_to(folder, split)
    first = next(iter(runs.values()))[0]
    check_destinations(target, _products(first.summary().task), overwrite=overwrite, inputs=list(paths))
    modalities = _modalities(chosen, runs)
    given = chosen.usual_rates(list(modalities)) if rates is None else tuple(rates)
    plan = _Plan(chosen, given, tuple(mask_seeds), factors or {}, chosen.fixed_subsets(list(modalities)))
    _check(plan, list(modalities))
    with held(resolved(target)):
        kept = KeptOutputs(Path(target), [*_told(plan), split])
        result = _swept(runs, reference, plan, Path(target), kept, split, num_resamples, on_run)
        if draw is not None:
            draw(result.folder)
        kept.remove()
    return result


def _told(plan: _Plan) -> list[object]:
    """Return what a plan takes away, as JSON can hold it."""
    protocol = plan.protocol
    steps = [protocol.pattern, protocol.burst] if isinstance(protocol, Steps) else []
    return [protocol.name, steps, plan.rates, plan.mask_seeds, dict(plan.factors), plan.subsets]


def _swept(
    runs: Mapping[str, Sequence[RunFolder]],
    reference: str,
    plan: _Plan,
    target: Path,
    kept: KeptOutputs,
    split: str,
    num_resamples: int | None,
    on_run: Callable[[int, int, str], None] | None,
) -> SweepResult:
    """Make and write the result in a folder that is held."""
    started, chosen, first = time.perf_counter(), plan.protocol, next(iter(runs.values()))[0]
    config, modalities = config_of(first), list(_modalities(chosen, runs))
    samples, swept, said = None, {}, list[str]()
    done, total = 0, sum(map(len, runs.values()))
    with tempfile.TemporaryDirectory(prefix="qinn-sweep-") as encoded:
        if isinstance(chosen, Steps):
            own = Predictor.load(first.path).own_store()
            texts, said = masked_texts(own, modalities, Path(encoded))
            check_absence_in_sweep(runs, plan.rates, plan.factors, texts)
            plan = replace(plan, protocol=replace(chosen, texts=texts))
        for label, folders in runs.items():
            swept[label] = []
            for folder in folders:
                samples, result = _sweep_run(folder, plan, split, samples, kept)
                swept[label].append(result)
                done += 1
                if on_run is not None:
                    on_run(done, total, f"{label}, seed {folder.summary().seed}")
    assert samples is not None
    tested = Tested(
        samples.task,
        samples.labels,
        samples.groups,
        config.evaluation.num_resamples if num_resamples is None else num_resamples,
        config.evaluation.level,
    )
    described = {label: [folder.summary() for folder in folders] for label, folders in runs.items()}
    by_rate, by_subset, tests, tests_of_subsets = _measured(tested, swept, reference)
    weights = trapezoid(plan.rates) if len(plan.rates) > 1 else []
    areas = {label: tested.stated(area_under(by_rate[label], weights)) for label in runs} if weights else {}
    remarks = (one for found in swept.values() for r in found for one in r.remarks)
    result = SweepResult(
        name=first.summary().name,
        protocol=ProtocolRecord(
            name=chosen.name,
            pattern=chosen.pattern if isinstance(chosen, Steps) else None,
            burst=chosen.burst if isinstance(chosen, Steps) and chosen.pattern == "bursts" else None,
            factors=plan.factors,
        ),
        reference=reference,
        data=first.summary().data,
        split=split,
        rates=plan.rates,
        mask_seeds=plan.mask_seeds,
        level=tested.level,
        num_resamples=tested.num_resamples,
        num_test=len(samples.ids),
        num_groups=None if samples.groups is None else len(np.unique(samples.groups)),
        absent=next(iter(swept.values()))[0].outputs.shares,
        models={
            label: SweptModel(
                model=described[label][0].model,
                num_parameters=described[label][0].num_parameters,
                training=_absences_in_training(folders[0]),
                seeds=tuple(summary.seed for summary in described[label]),
                dynamics=mean_activity([summary.dynamics for summary in described[label]]),
                asleep=any(sleep_remarks(one.remarks) for one in described[label]),
                runs_sha256=tuple(one.digest for one in swept[label]),
                rates=tuple(map(tested.stated, by_rate[label])),
                area=areas.get(label, {}),
                subsets=tuple(map(tested.stated, by_subset[label])),
                empty=prior_of(
                    tested,
                    [one.outputs.empty for one in swept[label]],
                    [one.training_labels for one in swept[label]],
                ),
            )
            for label, folders in runs.items()
        },
        paired=_by_label([tested.corrected(one) for one in tests]),
        paired_area=tested.corrected(area_between(tests, weights)) if weights else {},
        subsets=tuple("+".join(kept) for kept in plan.subsets),
        paired_subsets=_by_label([tested.corrected(one) for one in tests_of_subsets]),
        remarks=tuple(dict.fromkeys([*said, *_fitted_as_they_are(runs), *remarks])),
        trained_at=commits_of(one for summaries in described.values() for one in summaries),
        **provenance.origin(),
        seconds=round(time.perf_counter() - started, 1),
        folder=target,
    )
    for label, folders in runs.items():
        for folder, one in zip(folders, swept[label], strict=True):
            folder.check_unreplaced(one.digest)
    # Of a sweep that is replaced, so that an interruption leaves none beside the numbers of another one.
    for name in shown_metrics(samples.task):
        (result.folder / f"{name}.svg").unlink(missing_ok=True)
    table = result.folder / TABLE_FILE
    write_text(table, f"{result.to_markdown()}\n{MARK}\n")
    result = replace(result, files=digests_of(result.folder, [table]))
    result.write()
    return result


def _measured(
    tested: Tested, swept: Mapping[str, Sequence[_Swept]], reference: str
) -> tuple[
    dict[str, list[Measured]],
    dict[str, list[Measured]],
    list[dict[str, PairedDraws]],
    list[dict[str, PairedDraws]],
]:
    """Return metrics and tests of every model at every rate, and for every choice of modalities."""
    rates = {label: np.stack([one.outputs.rates for one in found], axis=1) for label, found in swept.items()}
    subsets = {
        label: np.stack([one.outputs.subsets for one in found], axis=1) for label, found in swept.items()
    }
    metrics = [
        {label: [tested.measured(one) for one in outputs] for label, outputs in conditions.items()}
        for conditions in (rates, subsets)
    ]
    tests = [
        [
            tested.tests({label: outputs[index] for label, outputs in conditions.items()}, reference)
            for index in range(len(conditions[reference]))
        ]
        for conditions in (rates, subsets)
    ]
    return metrics[0], metrics[1], tests[0], tests[1]


def _by_label(
    found: Sequence[Mapping[str, Mapping[str, PairedDifference]]],
) -> dict[str, tuple[Mapping[str, PairedDifference], ...]]:
    return {label: tuple(one[label] for one in found) for label in (found[0] if found else {})}


def _products(task: Task) -> list[tuple[str, Product]]:
    """Every file that a sweep and its figures may write."""
    figures = [f"{name}.svg" for name in shown_metrics(task)]
    return [
        (SWEEP_FILE, marked(COMMAND, f'"format": "{FORMAT}"')),
        *((name, marked(COMMAND, MARK)) for name in (TABLE_FILE, *figures)),
    ]


def parse_rates(text: str) -> tuple[float, ...]:
    """Return rates that are separated by commas.

    Raises:
        ArgumentError: If a part is no number.

    Examples:
        >>> parse_rates("0, 0.5")
        (0.0, 0.5)
    """
    try:
        return tuple(number_of(part) for part in text.split(","))
    except ValueError:
        raise ArgumentError(
            f"Rates of absence must be numbers separated by commas, but they are `{text}`."
        ) from None


def parse_factors(items: Sequence[str]) -> dict[str, float]:
    """Return factors that are typed as ``MODALITY=NUMBER``.

    Raises:
        ArgumentError: If one is no number.
        ConfigError: If one is no pair.

    Examples:
        >>> parse_factors(["text=0.5"])
        {'text': 0.5}
    """
    pairs = parse_pairs(items, "factor")
    try:
        return {name: number_of(value) for name, value in pairs.items()}
    except ValueError:
        raise ArgumentError(f"Factors of rates must be numbers, but they are `{', '.join(items)}`.") from None


def _modalities(protocol: AbsenceProtocol, runs: Mapping[str, Sequence[RunFolder]]) -> dict[str, None]:
    """Return the modalities of all runs."""
    by_run = {
        str(run.path): list(run.summary().data.modalities) for folders in runs.values() for run in folders
    }
    path, first = next(iter(by_run.items()))
    for other, names in by_run.items():
        if protocol.name == "keep-one" and set(names) != set(first):
            raise ArgumentError(
                f"What the protocol `keep-one` keeps is drawn from the modalities of a run, but `{path}` has {first} "
                f"and `{other}` {names}, so they would not lose the same; sweep them apart."
            )
    return dict.fromkeys(name for names in by_run.values() for name in names)


def _check(plan: _Plan, modalities: Sequence[str]) -> None:
    rates, mask_seeds = plan.rates, plan.mask_seeds
    if not rates or list(rates) != sorted(set(rates)) or not 0 <= rates[0] <= rates[-1] <= 1:
        raise ArgumentError(
            f"Rates of absence must be distinct, rising and between 0 and 1, but they are {list(rates)}."
        )
    if not mask_seeds or len(set(mask_seeds)) < len(mask_seeds) or min(mask_seeds) < 0:
        raise ArgumentError(f"Mask seeds must be distinct and 0 or more, but they are {list(mask_seeds)}.")
    for name, factor in plan.factors.items():
        if name not in modalities:
            raise ArgumentError(
                f"A factor must be that of a modality of the data, which are {list(modalities)}, but it is that of "
                f"`{name}`."
            )
        if not 0 <= factor < np.inf:
            raise ArgumentError(f"The factor of `{name}` must be 0 or more, but it is {factor}.")
    if plan.protocol.name == "keep-one" and len(modalities) < 2:
        raise ArgumentError(
            f"The protocol `keep-one` needs two modalities or more, but there is {list(modalities)} alone, which "
            "always stays; choose `whole` or `steps`."
        )
    alone = 1 - 1 / len(modalities)
    if plan.protocol.name == "keep-one" and sum(rate >= alone for rate in rates) > 1 and not plan.factors:
        raise ArgumentError(
            f"From the rate {alone:.3g} on a single one of {len(modalities)} modalities is left, so higher rates say "
            f"the same; give one of them, not {[rate for rate in rates if rate >= alone]}."
        )


def _find_runs(paths: Sequence[Path], reference: str | None) -> tuple[dict[str, list[RunFolder]], str]:
    """Label → its finished runs, those of a comparison in the order of its models and seeds; and the reference."""
    if not paths:
        raise ArgumentError("A sweep must be over at least one run or comparison; name its folder.")
    folders, references = [], []
    for path in paths:
        if (path / COMPARISON_FILE).is_file():
            compared = read_comparison(path)
            references.append(compared.reference)
            folders += [run for label in compared.models for run in compared.runs(label)]
        else:
            folders.append(RunFolder(path))
    found: dict[str, dict[int, RunFolder]] = {}
    data = folders[0].summary().data.sha256
    for folder in folders:
        summary = folder.summary()
        if summary.data.sha256 != data:
            raise DataError(
                f"Run `{folder.path}` is on other data than `{folders[0].path}`; sweep them apart."
            )
        seeds = found.setdefault(summary.label, {})
        if summary.seed in seeds:
            raise ArgumentError(
                f"Model `{summary.label}` with seed {summary.seed} is named twice, the second time by `{folder.path}`; "
                "give runs of different labels, or each run once."
            )
        seeds[summary.seed] = folder
    if reference is not None and reference not in found:
        raise ArgumentError(f"The reference must be one of {list(found)}, but it is `{reference}`.")
    runs = {label: list(seeds.values()) for label, seeds in found.items()}
    return runs, reference or next(iter([*references, *found]))


def _sweep_run(
    folder: RunFolder, plan: _Plan, split: str, expected: _Samples | None, kept: KeptOutputs
) -> tuple[_Samples, _Swept]:
    digest = folder.digest()
    predictor = Predictor.load(folder.path)
    given = evaluated_subsets(predictor, split=split)
    samples, order = _samples(predictor.task, [subset for _, subset in given], folder)
    if expected is not None and samples.ids != expected.ids:
        raise DataError(
            f"Run `{folder.path}` was tested on other samples than the first run; sweep them apart."
        )
    trained = training_parts(predictor)
    parts = [(fold, _known(subset, trained[str(fold)])) for fold, subset in given]

    def outputs(lacking: Sequence[tuple[str | None, Subset]]) -> np.ndarray:
        return np.concatenate([table.outputs for table in predict_parts(predictor, lacking)])[order]

    def changed(change: Callable[[Subset], Subset]) -> list[tuple[str | None, Subset]]:
        return [(fold, change(subset)) for fold, subset in parts]

    def all_outputs() -> SweptOutputs:
        complete, by_rate, shares = outputs(parts), list[list[np.ndarray]](), list[Shares]()
        for rate in plan.rates:
            masked, there = list[np.ndarray](), list[np.ndarray]()
            for seed in plan.mask_seeds:
                lacking = changed(lambda subset, rate=rate, seed=seed: plan.at(subset, rate, seed))
                masked.append(outputs(lacking) if rate else complete)
                there += [present_modalities(subset) for _, subset in lacking]
            present = np.concatenate(there)
            by_rate.append(masked)
            shares.append(Shares(float((~present).mean()), float((~present.any(axis=1)).mean())))
        by_subset = [
            outputs(
                changed(Absence(tuple(name for name in parts[0][1].modalities if name not in kept)).apply)
            )
            for kept in plan.subsets
        ]
        return SweptOutputs(
            np.array(by_rate),
            np.array(by_subset)[:, None] if by_subset else np.zeros((0, 1, *complete.shape)),
            outputs(changed(Absence(rate=1.0).apply)),
            tuple(shares),
        )

    return samples, _Swept(
        digest,
        kept.of(folder, digest, all_outputs),
        [part.labels for part in trained.values() if part.labels is not None],
        predictor.remarks([subset for _, subset in given]),
    )


def _known(subset: Subset, trained: Subset) -> Subset:
    """Return samples without what no training sample had, which models take for absent: a mask is to leave no less."""
    unseen = [not trained.lengths(name).any() for name in subset.modalities]
    absent: Bool[np.ndarray, "n modality"] = np.tile(np.array(unseen), (len(subset), 1))
    return subset.lacking(absent) if any(unseen) else subset


def _samples(task: Task, subsets: Sequence[Subset], folder: RunFolder) -> tuple[_Samples, np.ndarray]:
    """The samples of all folds, sorted by id, and how to sort what is predicted fold by fold."""
    ids = [identifier for subset in subsets for identifier in subset.ids]
    labels = [subset.labels for subset in subsets if subset.labels is not None and subset.labelled.all()]
    if len(labels) < len(subsets):
        raise ArgumentError(f"Samples of run `{folder.path}` have no labels, so there is nothing to measure.")
    groups = [group for subset in subsets if subset.groups is not None for group in subset.groups]
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__))
    return (
        _Samples(
            task,
            tuple(ids[row] for row in order),
            np.concatenate(labels)[order],
            np.array(groups)[order] if len(groups) == len(ids) else None,
        ),
        order,
    )


def _fitted_as_they_are(runs: Mapping[str, Sequence[RunFolder]]) -> list[str]:
    """Say which models were fitted to complete samples though the others were trained without some of theirs."""
    solved = [label for label, folders in runs.items() if folders[0].summary().model in FITTED_AS_THEY_ARE]
    if not solved or not any(_absences_in_training(folders[0])["absent_rate"] for folders in runs.values()):
        return []
    named = ", ".join(f"`{label}`" for label in solved)
    return [
        f"Nothing was taken away from the training samples of {named}, which were fitted to them as they are."
    ]


def _absences_in_training(folder: RunFolder) -> dict[str, Trained]:
    if folder.summary().model in FITTED_AS_THEY_ARE:
        return {"absent_rate": 0.0}
    training = config_of(folder).training
    return {
        "absent_rate": training.absent_rate,
        "absent_all": training.absent_all,
        "absent_protocol": training.absent_protocol,
        "absent_pattern": training.absent_pattern,
        "selection_rates": training.selection_rates,
    }
