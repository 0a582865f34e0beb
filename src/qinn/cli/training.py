"""Commands that train: train, tune, compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import qinn
from qinn.cli.output import (
    AddressOption,
    JsonOption,
    console,
    note,
    note_remark,
    print_json,
    print_table,
    progress_bar,
    show,
)

if TYPE_CHECKING:
    from qinn.results.comparison import ComparisonResult


ConfigArgument = Annotated[Path, typer.Argument(help="YAML configuration (see configs/).")]


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

    said: set[str] = set()

    def say(remark: str) -> None:
        said.add(remark)
        note_remark(remark)

    finished = qinn.train(
        config,
        to,
        model=model,
        seed=seed,
        overwrite=overwrite,
        progress=not as_json and console.is_terminal,
        on_remark=say,
    )
    summary, measured = finished.summary(), finished.metrics()
    if as_json:
        print_json({"run": str(finished.path), "summary": summary, "metrics": measured})
        return
    for table in metrics_tables(summary, measured):
        print_table(table)
    for remark in summary.remarks:
        if remark not in said:
            note_remark(remark)
    show(f"run: {finished.path}")


def tune(
    config: ConfigArgument,
    to: Annotated[Path | None, typer.Option(help="Folder of the result (default: runs/NAME-tuning).")] = None,
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


def compare(
    config: ConfigArgument,
    to: Annotated[Path | None, typer.Option(help="Comparison folder (default: runs/NAME).")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Runs at the same time (default: 1; of an engine, as many as there is room for).",
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray", "slurm"],
        typer.Option(
            help="Who trains: local, or ray or slurm on machines that see the folder and the store."
        ),
    ] = "local",
    address: AddressOption = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION", help="Option of sbatch, such as --partition=long (repeat for more)."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace runs of another configuration or of other data.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train every model with every seed and print one table with intervals and paired tests."""
    with progress_bar("runs" if engine == "local" else "tasks") as on_run:
        result = qinn.compare(
            config,
            to=to,
            workers=workers,
            engine=engine,
            address=address,
            sbatch=sbatch or (),
            overwrite=overwrite,
            on_run=on_run,
            on_remark=note_remark,
        )
    show_comparison(result, as_json)


def show_comparison(result: "ComparisonResult", as_json: bool) -> None:
    """Show a comparison, as many metrics as fit."""
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
