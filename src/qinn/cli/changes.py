"""Commands that make other files or another store of a store: convert, split."""

from pathlib import Path
from typing import Annotated

import typer

from qinn.cli.output import JsonOption, echo, note, print_json


def convert(
    store: Annotated[Path, typer.Argument(help="Folder of a store.")],
    to: Annotated[
        Path, typer.Option(help="File to write: .pkl (MMSA), .parquet or .npz; or a folder (parquet).")
    ],
    format: Annotated[str | None, typer.Option(help="mmsa, parquet or npz (default: by the suffix).")] = None,
    aligned: Annotated[bool, typer.Option("--aligned", help="mmsa: one length for all modalities.")] = False,
    max_length: Annotated[
        list[str] | None, typer.Option(help="mmsa: MODALITY=STEPS, most steps to keep; repeat.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a store as a file for other programs: an MMSA pickle, Parquet or npz."""
    from dataclasses import asdict

    from qinn.data.exporting import ConversionOptions
    from qinn.data.exporting import convert as convert_store
    from qinn.data.exporting.options import parse_lengths
    from qinn.data.stores.unchanged import open_unchanged

    options = ConversionOptions(format, overwrite, aligned, parse_lengths(max_length or []))
    report = convert_store(open_unchanged(store), to, options)
    if as_json:
        print_json({**asdict(report), "path": str(report.path)})
        return
    sizes = ", ".join(f"{split or 'no split'} {count}" for split, count in report.splits.items())
    note(f"wrote {report.path} ({report.format}): {sizes}")
    for name, shape in report.shapes.items():
        echo(f"{name}: {' × '.join(map(str, shape))}")
    for remark in report.notes:
        note(f"note: {remark}")


def split(
    store: Annotated[Path, typer.Argument(help="Folder of a store.")],
    to: Annotated[Path, typer.Option(help="Folder of the new store.")],
    fractions: Annotated[
        tuple[float, float, float], typer.Option(help="Shares of train, valid and test; they add up to 1.")
    ] = (0.7, 0.1, 0.2),
    folds: Annotated[
        int | None, typer.Option(min=2, max=10_000, help="Make this many folds, not splits.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed.")] = 0,
    stratify: Annotated[bool, typer.Option(help="The same labels in every part.")] = True,
    group: Annotated[bool, typer.Option(help="Keep each group in one part.")] = True,
    name: Annotated[str | None, typer.Option(help="Name of the data set (default: the old one).")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a store that this command made.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Divide a store anew into splits or folds: whole groups, stratified, seeded."""
    from qinn.data.stores.place import check_store_place
    from qinn.data.stores.unchanged import open_unchanged
    from qinn.data.subsets.division import COMMAND, SplitOptions, divide, write_division

    check_store_place(to, COMMAND, overwrite=overwrite, inputs=[store])
    opened = open_unchanged(store)
    options = SplitOptions(fractions, folds, seed, stratify, group)
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
