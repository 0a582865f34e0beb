"""Commands about data: import, inspect, verify, describe, and those of `qinn.cli.convert_split` and `.synthesis`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qinn.cli.imports import import_app
from qinn.cli.output import JsonOption, OverwriteOption, echo, note, print_json
from qinn.cli.stated_commands import Commands, LazyGroup


class _DataGroup(LazyGroup):
    """Commands about data, of which those that make data of others wait for the classes of their options."""

    def stated(self) -> dict[str, tuple[Any, None]]:
        """Return the commands that make data."""
        from qinn.cli.convert_split import convert, split
        from qinn.cli.synthesis import synthesize

        return {"convert": (convert, None), "split": (split, None), "synthesize": (synthesize, None)}


data_app = Commands(cls=_DataGroup, help="Import, inspect and make data.", no_args_is_help=True)
data_app.add_typer(import_app, name="import")


@data_app.command()
def look(
    source: Annotated[Path, typer.Argument(help="File or folder.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a file or folder holds, which layout it has or is nearest to, and what to type next."""
    from qinn.face.importing import look as look_at

    found = look_at(source)
    if as_json:
        print_json(found)
    else:
        echo("\n".join(found.lines()))


@data_app.command()
def inspect(
    store: Annotated[Path, typer.Argument(help="Folder of a store.")],
    verify: Annotated[bool, typer.Option(help="Also recompute the content hash.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a store holds, and what is wrong with it; exit code 1 where there are errors."""
    from qinn.data.checking.inspection import inspect as inspect_store
    from qinn.data.stores.unchanged import open_unchanged

    opened = open_unchanged(store)
    if verify:
        opened.verify()
    inspection = inspect_store(opened)
    if as_json:
        print_json(inspection)
    else:
        echo(inspection.render())
    if inspection.has_errors:
        raise typer.Exit(1)


@data_app.command()
def verify(
    store: Annotated[Path, typer.Argument(help="Folder of a store.")],
    sources: Annotated[
        list[Path] | None,
        typer.Option(help="Source files, or a folder to look for them by name (repeat for more)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a store, and its source files if found, with the hashes in its manifest; exit code 1 if wrong."""
    from qinn.data.checking.verification import verify as verify_store
    from qinn.data.stores.store import Store

    found = verify_store(Store.open(store), sources or [])
    if as_json:
        print_json(found.to_json())
    else:
        echo(found.render())
    if not found.is_right:
        raise typer.Exit(1)


@data_app.command()
def describe(
    store: Annotated[Path, typer.Argument(help="Folder of a store.")],
    html: Annotated[Path, typer.Option("--html", help="HTML file to write.")],
    overwrite: OverwriteOption = False,
) -> None:
    """Write one self-contained HTML page about a store: labels, lengths, coverage, features, findings."""
    from qinn.data.stores.unchanged import open_unchanged
    from qinn.report.dataset_page import write_dataset_page

    write_dataset_page(open_unchanged(store), html, overwrite=overwrite)
    note(f"wrote {html}")
