"""Commands about new samples: predict, explain; and what makes a run ready for them: calibrate, publish."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import qinn
from qinn.cli.output import (
    AddressOption,
    JsonOption,
    OverwriteOption,
    echo,
    note,
    note_remark,
    print_json,
    print_rows,
    print_table,
    show_table,
)
from qinn.cli.runs import AbsentOption, RunArgument, SplitOption
from qinn.errors import ConfigError
from qinn.results.as_json import document, plain
from qinn.results.number_text import counted

if TYPE_CHECKING:
    from qinn.results.steps import StepsSummary


PredictingArgument = Annotated[
    Path,
    typer.Argument(help="Folder of a finished run, or of a model in a comparison: the mean of its seeds."),
]
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
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(
            help="Who predicts: this process; or ray, part by part, a store of millions (needs --to)."
        ),
    ] = "local",
    address: AddressOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Predict scores with intervals, or class probabilities with the classes that cannot be excluded."""
    if engine == "ray":
        if to is None or len(samples) != 1 or layout or feature or extractor or as_json:
            raise ConfigError(
                "Option `--engine ray` takes one store, and writes a .parquet file that `--to` names; import files."
            )
        number = qinn.predict_by_ray(
            run,
            samples[0],
            to,
            split=split,
            batch_size=batch_size,
            absent=absent or (),
            coupling=coupling,
            level=level,
            address=address,
            overwrite=overwrite,
            on_remark=note_remark,
        )
        note(f"wrote {number:,} predictions to {to}")
        return
    if address is not None:
        raise ConfigError("Option `--address` goes with `--engine ray`; leave it out.")
    if to is not None and as_json:
        raise ConfigError(
            "Options `--to` and `--json` say two places for the predictions; leave one of them out."
        )
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
        on_remark=note_remark,
    )
    if to is not None:
        note(f"wrote {len(rows)} predictions to {to}")
    elif as_json:
        print_json(rows)
    else:
        print_rows([list(rows[0]), *(list(row.values()) for row in rows)])


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
    show_table(f"Means over {counted(result.samples, 'sample')}", ("quantity", "mean"), means)
    left_out = (
        "; their states are mixed, and the entropy of a part of a mixed state is not entanglement, so they are left "
        "out of the entropies"
        if any(name.startswith("entropy:") for name in result.mean)
        else ""
    )
    for name, count in result.absent.items():
        note(f"note: {count} of {result.samples} samples lack `{name}`{left_out}")
    for remark in result.remarks:
        note_remark(remark)
    if turned is not None:
        print_table(turned.table(str(run)))
    written = ["explanation.parquet", "explanation.json"]
    if result.steps is not None:
        _show_steps(result.steps)
        written.insert(1, result.steps.file)
    *first, last = [str(found.folder / name) for name in written]
    note(f"wrote {', '.join(first)}, {last} and {len(found.figures)} figures")


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


def _of_files(feature: list[str] | None, extractor: list[str] | None) -> dict[str, Any]:
    """Return what is said of files of new samples."""
    return {name: given for name, given in {"feature": feature, "extractor": extractor}.items() if given}


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
