"""What `qinn explain` and `qinn sweep-absent` do, figures included, as functions."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qinn.data.subsets.absence_protocols import Pattern, ProtocolName
from qinn.destinations import check_destinations, resolved
from qinn.errors import ArgumentError, ConfigError
from qinn.experiment.absence_sweep import parse_factors, parse_rates
from qinn.experiment.absence_sweep import sweep_absent as sweep_runs
from qinn.experiment.coupling import couple_run, parse_couplings
from qinn.experiment.explanation import PRODUCTS
from qinn.experiment.explanation import explain_run as write_explanation
from qinn.face.new_samples import Sources, listed, new_samples
from qinn.folder_locks import held
from qinn.report.absence_figures import write_sweep_figures
from qinn.report.explanation_figures import write_coupling_figure, write_explanation_figures
from qinn.results.coupling import CouplingResult
from qinn.results.explanation import ExplanationSummary
from qinn.results.folder import RunFolder
from qinn.results.sweep import ProtocolRecord, SweepResult, sweep_folder
from qinn.typed_arguments import typed

OnRun = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ExplainedRun:
    """A run, explained.

    Attributes:
        folder: Where data and figures lie.
        summary: Means and names of what was found, and what a user should know.
        coupling: The run along the knob of its coupling; None where that was not asked for.
        figures: What was drawn.
    """

    folder: Path
    summary: ExplanationSummary
    coupling: CouplingResult | None
    figures: Sequence[Path]


@typed
def explain_run(
    run: Path | str,
    to: Path | str | None = None,
    *,
    store: Sources | None = None,
    layout: str | None = None,
    options: Mapping[str, object] | None = None,
    split: str | None = None,
    fold: str | None = None,
    absent: Sequence[str] = (),
    label: str | None = None,
    couplings: Sequence[float] | str | None = None,
    overwrite: bool = False,
) -> ExplainedRun:
    """Explain each sample: entanglement, correlation, counterfactuals, and along a stream every step: `qinn explain`.

    Args:
        run: Folder of a finished run.
        to: Folder for data and figures; ``RUN/explanation`` if None.
        store: Other samples than the test samples of the run's own store: a store; or files and folders, which are read
            as the run's own data were imported (see `qinn.face.new_samples.new_samples`).
        layout: Layout of the files, where it is another than that of the run's own data.
        options: Options of the import that differ for these files, by the names of `qinn.import_data`.
        split: Only the samples of this split; if None the test samples, and all where there are none; ``"all"`` for
            all.
        fold: Fold whose model explains; needed if the run has several.
        absent: Modalities to do without.
        label: Of several labels the one whose probability is explained; the first if None.
        couplings: Factors at which what couples the modalities (or memory and stream) is looked at too, as numbers or
            in a text with commas between them.
        overwrite: Replace what another program made, or was changed since.

    Returns:
        Where data and figures lie, means of what was found, and what a user should know.

    Raises:
        ConfigError: If the fold or split does not exist.
        ArgumentError: If there is no such modality or label, or the model has no coupling.
        OutputError: If the files would replace another's.
        DataError: If a file is damaged, or not what its layout says.
    """
    folder = Path(run) / "explanation" if to is None else Path(to)
    inputs = [run, *([] if store is None else listed(store))]
    check_destinations(folder, PRODUCTS, overwrite=overwrite, inputs=inputs)
    asked: dict[str, Any] = {"split": split, "fold": fold, "absent": absent, "overwrite": overwrite}
    if store is None and (layout is not None or options):
        raise ConfigError(
            "Argument `layout` and options of an import go with files of samples, but none is named; name them, or "
            "leave the options out."
        )
    RunFolder(Path(run)).summary()  # of what is no run nothing is made
    with ExitStack() as stack:
        stack.enter_context(held(resolved(folder)))
        samples = None
        if store is not None:
            samples = stack.enter_context(
                new_samples(run, store, absent=absent, layout=layout, options=options)
            )
        asked["store"] = None if samples is None else samples.store
        turned = None
        if couplings is not None:
            knob = parse_couplings(couplings) if isinstance(couplings, str) else couplings
            turned = couple_run(run, folder, couplings=knob, **asked)
            write_coupling_figure(folder, turned)
        summary = write_explanation(run, folder, label=label, **asked)
        figures = write_explanation_figures(folder)
    notes = () if samples is None else samples.notes
    summary = replace(summary, remarks=(*notes, *summary.remarks))
    return ExplainedRun(folder, summary, turned, figures)


@typed
def sweep_absent(
    runs: Sequence[Path | str],
    to: Path | str | None = None,
    *,
    protocol: ProtocolName = "whole",
    rates: Sequence[float] | str | None = None,
    masks: int = 3,
    pattern: Pattern = "scattered",
    burst: float | None = None,
    factors: Mapping[str, float] | Sequence[str] = (),
    split: str = "test",
    reference: str | None = None,
    num_resamples: int | None = None,
    overwrite: bool = False,
    on_run: OnRun | None = None,
) -> SweepResult:
    """Take data away at rising rates from what finished runs are tested on: what `qinn sweep-absent` does.

    Args:
        runs: Folders of comparisons (all their runs) and runs.
        to: Folder for data, table and figures; if None one in that of the only comparison, of its own for protocol,
            pattern, burst, factors, rates and split.
        protocol: What goes: ``"whole"`` modalities, each on its own; ``"keep-one"``, all but one of a sample's, and
            every choice of modalities; ``"steps"``, tokens and frames.
        rates: Rates of absence, rising, as numbers or in a text with commas between them; the protocol's if None.
        masks: Number of masks (seeds 0, 1, …) to average over.
        pattern: Which steps: ``"scattered"``, one ``"block"`` of a sample's, or ``"bursts"``.
        burst: Mean number of steps of a burst, of the pattern ``"bursts"`` alone; 5 if None.
        factors: Modality → what its rate is multiplied by, up to 1; 1 of those that are not named. Or texts
            such as ``"text=0.5"``.
        split: ``"test"`` or ``"valid"``.
        reference: Model that the others are tested against; the comparison's if None.
        num_resamples: Bootstrap resamples and permutations; as configured if None.
        overwrite: Replace what another program made, or was changed since.
        on_run: Called with (runs done, runs in all, label of the last) after each run.

    Returns:
        The metrics at every rate with the paired differences, as they stand in ``sweep.json``.

    Raises:
        ArgumentError: If rates are impossible, a run is named twice, or several runs have no folder for the result.
        CheckpointError: If a folder is no finished run or comparison.
        DataError: If the runs were not tested on the same samples.
        OutputError: If the files would replace another's, another command works in the folder, or it cannot be written.
    """
    taken = ProtocolRecord(
        name=protocol,
        pattern=pattern,
        burst=None if burst is None else float(burst),
        factors=factors if isinstance(factors, Mapping) else parse_factors(factors),
    )
    given = parse_rates(rates) if isinstance(rates, str) else rates
    if to is None:
        if not runs:
            raise ArgumentError("A sweep must be over at least one run or comparison; name its folder.")
        if len(runs) > 1:
            raise ArgumentError(
                "Several runs are swept together, so name a folder for the result with `--to`."
            )
        to = Path(runs[0]) / sweep_folder(taken, rates=given, split=split)
    return sweep_runs(
        runs,
        to,
        protocol=protocol,
        pattern=pattern,
        burst=taken.burst,
        factors=taken.factors,
        rates=given,
        mask_seeds=range(masks),
        split=split,
        reference=reference,
        num_resamples=num_resamples,
        overwrite=overwrite,
        draw=write_sweep_figures,
        on_run=on_run,
    )
