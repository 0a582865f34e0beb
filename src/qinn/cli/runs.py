"""Commands about runs: train, evaluate, predict, explain, compare, report, info, demo."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import qinn
from qinn.cli.output import (
    JsonOption,
    OverwriteOption,
    console,
    echo,
    note,
    print_json,
    print_rows,
    print_table,
    progress_bar,
    show,
    show_table,
)
from qinn.results.as_json import document, plain

if TYPE_CHECKING:
    from qinn.results.comparison import ComparisonResult
    from qinn.results.steps import StepsSummary

RunArgument = Annotated[Path, typer.Argument(help="Folder of a finished run.")]
PredictingArgument = Annotated[
    Path,
    typer.Argument(help="Folder of a finished run, or of a model in a comparison: the mean of its seeds."),
]
ConfigArgument = Annotated[Path, typer.Argument(help="YAML configuration (see configs/).")]
SplitOption = Annotated[str | None, typer.Option(help="Only the samples of this split (train, valid, test).")]
NewSplitOption = Annotated[
    str | None,
    typer.Option(
        help="Only the samples of this split: train, valid, test, or all (default: test; all where there is none)."
    ),
]
LevelOption = Annotated[
    float,
    typer.Option(
        min=0.01,
        max=0.999,
        help="Share of new samples whose label the interval, or the set of classes, is to hold.",
    ),
]
AbsentOption = Annotated[
    list[str] | None,
    typer.Option("--absent", metavar="MODALITY", help="Do without this modality (repeat for more)."),
]
SamplesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="STORE|FILE...",
        help="Store with the samples; or files and folders, read as the run's own data were imported.",
    ),
]
ExplainedArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[STORE|FILE...]",
        help="Store with the samples; or files and folders, read as the run's own data were imported "
        "(default: the test samples of the run's own store).",
    ),
]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        metavar="LAYOUT", help="Layout of the files, where it is another than that of the run's own data."
    ),
]
FeatureOption = Annotated[
    list[str] | None,
    typer.Option(
        "--feature",
        metavar="NAME=FILE[:ARRAY]...",
        help="Where the features of a table or of computational sequences lie (default: beside it, by the name that "
        "those of the run's own data had; without an array, its arrays); repeat for more.",
    ),
]
ExtractorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--extractor",
        metavar="MODALITY=NAME@VERSION",
        help="What made a modality's features in the files (repeat for more).",
    ),
]
StoreOption = Annotated[Path | None, typer.Option(help="Another store than the one the run was trained on.")]


def train(
    config: ConfigArgument,
    to: Annotated[Path | None, typer.Option(help="Run folder (default: runs/NAME/MODEL/seed-SEED).")] = None,
    model: Annotated[str | None, typer.Option(help="Label of the model (default: the first).")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Seed (default: the first).")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run of another configuration or of other data.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train one model with one seed, then evaluate it on the sealed test split.

    A run that was killed continues where it stopped when the command is repeated.
    """
    from qinn.results.evaluation import metrics_tables

    finished = qinn.train(
        config,
        to,
        model=model,
        seed=seed,
        overwrite=overwrite,
        progress=not as_json and console.is_terminal,
        on_remark=_remark,
    )
    summary, measured = finished.summary(), finished.metrics()
    if as_json:
        print_json({"run": str(finished.path), "summary": summary, "metrics": measured})
        return
    for table in metrics_tables(summary, measured):
        print_table(table)
    for remark in summary.remarks:
        note(f"note: {remark}")
    show(f"run: {finished.path}")


def evaluate(
    run: RunArgument,
    split: SplitOption = "test",
    store: StoreOption = None,
    absent: AbsentOption = None,
    absent_rate: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Probability with which each modality of each sample is absent."),
    ] = 0.0,
    absent_seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of what is missing at that rate.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Recompute a run's predictions from its weights and state every metric with its interval.

    Exit code 1 if they are not those that the run stored, on the kind of device that made them.

    With modalities absent, their metrics stand beside those of the samples as they are. What is absent depends
    on the seed and the samples' ids alone: it is the same for every model.
    """
    found = qinn.evaluate(
        run,
        split=split,
        store=store,
        absent=absent or (),
        absent_rate=absent_rate,
        absent_seed=absent_seed,
    )
    if as_json:
        print_json(found)
    else:
        for table in found.tables(str(run)):
            print_table(table)
        for remark in found.notes:
            note(remark)
    if found.differs:
        raise typer.Exit(1)


def predict(
    run: PredictingArgument,
    samples: SamplesArgument,
    split: NewSplitOption = None,
    to: Annotated[
        Path | None, typer.Option(help="Write a .csv or .parquet file instead of printing.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, max=2**31 - 1, help="Samples per pass; results do not depend on it.")
    ] = 256,
    absent: AbsentOption = None,
    coupling: Annotated[
        float,
        typer.Option(
            min=0,
            max=1e6,
            help="Factor of what couples the modalities (or memory and stream); 1 is what was learned.",
        ),
    ] = 1.0,
    level: LevelOption = 0.9,
    layout: LayoutOption = None,
    feature: FeatureOption = None,
    extractor: ExtractorOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Predict scores with intervals, or class probabilities with the classes that cannot be excluded."""
    rows = qinn.predict(
        run,
        samples,
        to,
        layout=layout,
        options=_of_files(feature, extractor),
        split=split,
        batch_size=batch_size,
        absent=absent or (),
        coupling=coupling,
        level=level,
        overwrite=overwrite,
        on_remark=_remark,
    )
    if to is not None:
        note(f"wrote {len(rows)} predictions to {to}")
    elif as_json:
        print_json(rows)
    else:
        print_rows([list(rows[0]), *(list(row.values()) for row in rows)])


def _of_files(feature: list[str] | None, extractor: list[str] | None) -> dict[str, Any]:
    """Return what is said of files of new samples."""
    return {name: given for name, given in {"feature": feature, "extractor": extractor}.items() if given}


def calibrate(
    run: PredictingArgument,
    store: Annotated[Path, typer.Argument(help="Store with labelled samples that are new to the run.")],
    split: SplitOption = None,
    level: LevelOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Keep a run's errors on samples of your own: what `qinn predict` makes intervals of from then on.

    For samples made otherwise than those of training: another recogniser of speech, other speakers, another place.
    """
    from qinn.face.running import certainty_of

    record = qinn.calibrate(run, store, split=split)
    if as_json:
        print_json(record)
        return
    note(f"wrote {run / 'calibration.json'}")
    echo(certainty_of(record, level))


def publish(
    run: PredictingArgument,
    to: Annotated[Path, typer.Option(help="Folder to be.")],
    license: Annotated[
        str, typer.Option(help="Licence of the weights, for the model card: an identifier such as cc-by-4.0.")
    ] = "",
    data_terms: Annotated[
        str,
        typer.Option(help="What the data are, who is in them, and under which terms, for the model card."),
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a published model there.")] = False,
) -> None:
    """Write a run as a folder to give away: configuration, weights, calibration and a model card; no sample.

    `qinn predict`, `qinn explain` and `qinn.load` take the folder in place of the run.
    """
    qinn.publish(run, to, license=license, data_terms=data_terms, overwrite=overwrite)
    unstated = [
        f"--{name}" for name, given in (("license", license), ("data-terms", data_terms)) if not given
    ]
    if unstated:
        note(f"note: the card says `not stated` where {' and '.join(unstated)} would stand")
    echo(f"published: {to}")


def explain(
    run: RunArgument,
    samples: ExplainedArgument = None,
    store: Annotated[Path | None, typer.Option(hidden=True)] = None,
    split: NewSplitOption = None,
    fold: Annotated[
        str | None, typer.Option(help="Fold whose model explains (runs over several folds).")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder for data and figures (default: RUN/explanation).")
    ] = None,
    absent: AbsentOption = None,
    coupling: Annotated[
        str | None,
        typer.Option(
            help="Turn what couples the modalities (or memory and stream) down and up, by factors such as "
            "0,0.25,0.5,1,1.5: entanglement, score and metrics at each."
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Of several labels the one whose probability is explained (default: the first)."),
    ] = None,
    layout: LayoutOption = None,
    feature: FeatureOption = None,
    extractor: ExtractorOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Explain each sample: entanglement, correlation, counterfactual scores; along a stream what every step does."""
    if store is not None:
        note("note: `--store STORE` is written without the option now, as in `qinn explain RUN STORE`")
        samples = [store, *(samples or ())]
    found = qinn.explain_run(
        run,
        to,
        store=samples or None,
        layout=layout,
        options=_of_files(feature, extractor),
        split=split,
        fold=fold,
        absent=absent or (),
        label=label,
        couplings=coupling,
        overwrite=overwrite,
    )
    result, turned = found.summary, found.coupling
    if as_json:
        content = {**document(result), "remarks": result.remarks}
        print_json(content if turned is None else {**content, "coupling": plain(turned.points)})
        return
    means = [(name, "–" if value is None else f"{value:z.4f}") for name, value in result.mean.items()]
    show_table(f"Means over {result.samples} samples", ("quantity", "mean"), means)
    left_out = (
        "; their states are mixed, and the entropy of a part of a mixed state is not entanglement, so they are left "
        "out of the entropies"
        if any(name.startswith("entropy:") for name in result.mean)
        else ""
    )
    for name, count in result.absent.items():
        note(f"note: {count} of {result.samples} samples lack `{name}`{left_out}")
    for remark in result.remarks:
        note(f"note: {remark}")
    if turned is not None:
        print_table(turned.table(str(run)))
    written = ["explanation.parquet", "explanation.json"]
    if result.steps is not None:
        _show_steps(result.steps)
        written.insert(1, result.steps.file)
    *first, last = [str(found.folder / name) for name in written]
    note(f"wrote {', '.join(first)}, {last} and {len(found.figures)} figures")


def _show_steps(steps: "StepsSummary") -> None:
    """Show the words that do most, and note what was left out."""
    table = steps.words_table("", per_verdict=6)
    if table is not None:
        print_table(table)
    if steps.skipped_samples:
        note(f"note: the steps of {steps.skipped_samples} samples are left out: all would take some minutes")
    if steps.steps_without_contraction:
        note(
            f"note: {steps.steps_without_contraction} steps have no contraction and rotation, which take long"
        )
    if steps.axis is None:
        note("note: the memory says the same whatever it has met, so there is no axis and no verdict")


def compare(
    config: ConfigArgument,
    to: Annotated[Path | None, typer.Option(help="Comparison folder (default: runs/NAME).")] = None,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Runs at the same time.")] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace runs of another configuration or of other data.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train every model with every seed and print one table with intervals and paired tests."""
    with progress_bar("runs") as on_run:
        result = qinn.compare(
            config, to=to, workers=workers, overwrite=overwrite, on_run=on_run, on_remark=_remark
        )
    _show_comparison(result, as_json)


def tune(
    config: ConfigArgument,
    to: Annotated[Path | None, typer.Option(help="Folder of the result (default: runs/NAME-tuned).")] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Trainings of each model (default: as configured, 20)."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="URL of the database of trials, such as sqlite:///trials.db (default: in the folder)."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Search the options of every model with the same budget, by validation samples alone.

    The test split stays sealed. Writes tuned.yaml, which `qinn compare` reads, and every trial beside it.
    """
    from qinn.results.tuning import TABLE_FILE, TUNED_FILE

    with progress_bar("trials") as on_trial:
        result = qinn.tune(config, to, trials=trials, storage=storage, on_trial=on_trial)
    if as_json:
        print_json(result)
        return
    print_table(result.table())
    note(f"wrote {result.folder / TUNED_FILE} and {result.folder / TABLE_FILE}")
    show(f"next: qinn compare {result.folder / TUNED_FILE}")


def sweep_absent(
    runs: Annotated[list[Path], typer.Argument(help="Comparison folders (all their runs) or run folders.")],
    to: Annotated[
        Path | None,
        typer.Option(
            help="Folder for data, table and figures (default: COMPARISON/missing, if there is one)."
        ),
    ] = None,
    rates: Annotated[str, typer.Option(help="Rates of absence, rising, separated by commas.")] = (
        "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9"
    ),
    masks: Annotated[
        int, typer.Option(min=1, max=10_000, help="Number of masks (seeds 0, 1, …) to average over.")
    ] = 3,
    split: Annotated[str, typer.Option(help="Which samples: test or valid.")] = "test",
    reference: Annotated[
        str | None, typer.Option(help="Model that the others are tested against (default: the comparison's).")
    ] = None,
    num_resamples: Annotated[
        int | None,
        typer.Option(
            min=100, max=1_000_000, help="Bootstrap resamples and permutations (default: as configured)."
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take modalities away at rising rates from what finished runs are tested on, the same for every model."""
    from qinn.results.sweep import SWEEP_FILE, TABLE_FILE

    with progress_bar("runs") as on_run:
        result = qinn.sweep_absent(
            runs,
            to,
            rates=rates,
            masks=masks,
            split=split,
            reference=reference,
            num_resamples=num_resamples,
            overwrite=overwrite,
            on_run=on_run,
        )
    if as_json:
        print_json(result)
        return
    echo(result.to_markdown())
    for remark in result.remarks:
        note(f"note: {remark}")
    figures = [str(result.folder / f"{name}.svg") for name in result.drawn]
    note(f"wrote {result.folder / SWEEP_FILE}, {result.folder / TABLE_FILE} and {', '.join(figures)}")


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, comparisons and tunings.")],
    to: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    include_text: Annotated[
        bool,
        typer.Option("--include-text", help="Show transcripts of explained samples (mind their licence)."),
    ] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Write one self-contained HTML page about runs, comparisons and tunings."""
    qinn.write_report(
        runs,
        to,
        include_text=include_text,
        overwrite=overwrite,
        on_remark=_remark,
    )
    note(f"wrote {to}")


def info(
    path: Annotated[
        Path | None, typer.Argument(help="A run, a comparison or a store (default: this installation).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what this installation, a run, a comparison or a store is."""
    content = qinn.describe(path)
    if as_json:
        print_json(content)
        return
    show_table(
        str(path) if path else "This installation",
        (),
        [(name, _in_words(value)) for name, value in content.items()],
    )


def _remark(text: str) -> None:
    note(f"note: {text}")


def _in_words(value: Any) -> str:
    """Mappings and lists without brackets, and without what is not known."""
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_in_words(one)}" for name, one in value.items() if one not in (None, ""))
    if isinstance(value, list):
        return ", ".join(f"({_in_words(one)})" if isinstance(one, dict) else _in_words(one) for one in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def demo(
    to: Annotated[Path, typer.Option(help="Folder for the store, the runs and the report.")] = Path(
        "runs/demo"
    ),
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Runs at the same time.")] = 2,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train QiNN-QJ and baselines on two embedded synthetic sets, pooled and along streams, and report."""
    from qinn.extras import require

    require("report", "train", what="`qinn demo`")
    from qinn.face.reporting import demonstrate

    with progress_bar("runs") as on_run:
        found = demonstrate(to, workers=workers, overwrite=overwrite, on_run=on_run)
    result, streams = found.pooled, found.streams
    if as_json:
        places = {"report": str(found.page), "figure": str(found.figure)}
        print_json({**document(result), "streams": streams, **places})
        return
    _show_comparison(result.comparison, as_json=False)
    known = [(name, f"{value:.4f}") for name, value in result.known.items()]
    show_table("Against the known answer (test MAE)", ("predictor", "MAE"), known)
    reached, best = result.reached["QiNN-QJ"], result.known["best possible (Bayes)"]
    show(
        f"QiNN-QJ reached {reached:.4f}, {reached / best - 1:.0%} above the best possible; "
        f"late fusion {result.reached['late fusion']:.4f}."
    )
    print_table(streams.longest_table())
    show(f"comparison: {streams.comparison.folder}")
    show(f"figure: {found.figure}")
    show(f"report: {found.page}")


def _show_comparison(result: "ComparisonResult", as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    # Narrow terminals get fewer metrics, rather than cells broken in pieces; table.md has them all.
    names = result.metric_names[: 4 if console.width >= 140 else 2]
    if len(result.table(names).columns) > 5 and console.width < 100:
        names = names[:1]
    print_table(result.table(names))
    if (of_labels := result.labels_table(names)) is not None:
        print_table(of_labels)
    if (against := result.paired_table(names)) is not None:
        print_table(against)
    if (together := result.ensemble_table(names)) is not None:
        print_table(together)
    show(f"comparison: {result.folder}")
