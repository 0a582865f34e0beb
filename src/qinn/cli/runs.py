"""Commands about finished runs: evaluate, sweep-absent, report, info."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import qinn
from qinn.cli.output import (
    JsonOption,
    OverwriteOption,
    echo,
    note,
    note_remark,
    print_json,
    print_table,
    progress_bar,
    show_table,
)

RunArgument = Annotated[Path, typer.Argument(help="Folder of a finished run.")]
SplitOption = Annotated[str | None, typer.Option(help="Only the samples of this split (train, valid, test).")]
AbsentOption = Annotated[
    list[str] | None,
    typer.Option("--absent", metavar="MODALITY", help="Do without this modality (repeat for more)."),
]
StoreOption = Annotated[Path | None, typer.Option(help="Another store than the one the run was trained on.")]


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
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="Seed of what is missing at that rate (default: 0)."),
    ] = None,
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


def sweep_absent(
    runs: Annotated[list[Path], typer.Argument(help="Comparison folders (all their runs) or run folders.")],
    to: Annotated[
        Path | None,
        typer.Option(
            help="Folder for data, table and figures (default: one in the only comparison, such as missing)."
        ),
    ] = None,
    protocol: Annotated[
        Literal["whole", "keep-one", "steps"],
        typer.Option(
            help="What goes: whole modalities, each on its own; all but one of a sample's; or steps of them."
        ),
    ] = "whole",
    rates: Annotated[
        str | None,
        typer.Option(
            help="Rates of absence, rising, separated by commas (default: 0, 0.1 … 0.9; keep-one: until one is left)."
        ),
    ] = None,
    masks: Annotated[
        int, typer.Option(min=1, max=10_000, help="Number of masks (seeds 0, 1, …) to average over.")
    ] = 3,
    pattern: Annotated[
        Literal["scattered", "block", "bursts"],
        typer.Option(help="Which steps go: each on its own, one block of a sample's, or bursts of them."),
    ] = "scattered",
    burst: Annotated[
        float | None,
        typer.Option(min=1, max=1e6, help="Of bursts: steps of each, on average (default: 5)."),
    ] = None,
    factor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITY=NUMBER", help="What the rate of a modality is multiplied by (repeat for more)."
        ),
    ] = None,
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
    """Take data away at rising rates from what finished runs are tested on, the same for every model.

    Whole modalities, each on its own; all but one of a sample's (keep-one, and every choice of modalities beside it);
    or tokens and frames (steps), where transcripts are encoded anew without the words that go.
    """
    from qinn.results.sweep import SWEEP_FILE, TABLE_FILE

    with progress_bar("runs") as on_run:
        result = qinn.sweep_absent(
            runs,
            to,
            protocol=protocol,
            rates=rates,
            masks=masks,
            pattern=pattern,
            burst=burst,
            factors=factor or (),
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
        note_remark(remark)
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
        on_remark=note_remark,
    )
    note(f"wrote {to}")


def info(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A run, a model, a comparison, a published model or a store (default: this installation)."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what this installation, a run, a comparison, a published model or a store is."""
    content = qinn.describe(path)
    if as_json:
        print_json(content)
        return
    show_table(
        str(path) if path else "This installation",
        (),
        [(name, _in_words(value)) for name, value in content.items()],
    )


def _in_words(value: Any) -> str:
    """Mappings and lists without brackets, and without what is not known."""
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_in_words(one)}" for name, one in value.items() if one not in (None, ""))
    if isinstance(value, list):
        return ", ".join(f"({_in_words(one)})" if isinstance(one, dict) else _in_words(one) for one in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
