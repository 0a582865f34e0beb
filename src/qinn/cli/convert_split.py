"""Commands that make other files or another store of a store: convert, split. Imported when one is asked for."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from qinn.cli.output import JsonOption, echo, note, note_remark, print_json
from qinn.cli.stated_commands import with_options
from qinn.data.exporting import ConversionOptions
from qinn.data.exporting import convert as convert_store
from qinn.data.stores.store_place import check_store_place
from qinn.data.stores.unchanged import open_unchanged
from qinn.data.subsets.division import COMMAND, SplitOptions, divide, write_division
from qinn.stated_options import made, options_of


@with_options(options_of(ConversionOptions))
def convert(
    store: Annotated[Path, typer.Argument(help="Folder of a store.")],
    to: Annotated[
        Path, typer.Option(help="File to write: .pkl (MMSA), .parquet or .npz; or a folder (parquet).")
    ],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: JsonOption = False,
    **typed: Any,
) -> None:
    """Write a store as a file for other programs: an MMSA pickle, Parquet or npz."""
    options = replace(made(ConversionOptions, typed), overwrite=overwrite)
    report = convert_store(open_unchanged(store), to, options)
    if as_json:
        print_json({**asdict(report), "path": str(report.path)})
        return
    sizes = ", ".join(f"{split or 'no split'} {count}" for split, count in report.splits.items())
    note(f"wrote {report.path} ({report.format}): {sizes}")
    for name, shape in report.shapes.items():
        echo(f"{name}: {' × '.join(map(str, shape))}")
    for remark in report.notes:
        note_remark(remark)


@with_options(options_of(SplitOptions))
def split(
    store: Annotated[Path, typer.Argument(help="Folder of a store.")],
    to: Annotated[Path, typer.Option(help="Folder of the new store.")],
    *,
    name: Annotated[str | None, typer.Option(help="Name of the data set (default: the old one).")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a store that this command made.")
    ] = False,
    as_json: JsonOption = False,
    **typed: Any,
) -> None:
    """Divide a store anew into splits or folds: whole groups, stratified, seeded."""
    check_store_place(to, COMMAND, overwrite=overwrite, inputs=[store])
    opened = open_unchanged(store)
    options = made(SplitOptions, typed)
    division = divide(opened, options)
    written = write_division(opened, division, options, to, name=name, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "store": str(to),
                "sha256": written.sha256,
                "sizes": division.sizes,
                "groups": division.groups,
                "labels": division.labels,
                "warnings": list(division.warnings),
            }
        )
        return
    note(f"wrote {to}: {options.describe()}")
    echo(division.render())
