"""Commands ``qinn data import LAYOUT``: one for each layout, made of the options that its class states.

Without a layout, ``qinn data import SOURCE …`` finds it out and goes on as if it had been named.
"""

import inspect
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from qinn.cli.output import JsonOption, note, print_json, progress_bar

if TYPE_CHECKING:
    from qinn.data.importing.option import Option
    from qinn.data.importing.reader import Layout


class _LayoutGroup(TyperGroup):
    """Takes a source in place of a layout's name, and finds the layout by what is in it.

    The commands are made when one is asked for, so that other commands do not wait for the readers.
    """

    @cached_property
    def _layouts(self) -> dict[str, Any]:
        from qinn.data.importing import LAYOUTS

        made = typer.Typer(add_completion=False)
        for name, layout in LAYOUTS.items():
            made.command(name=name, help=layout.help)(_command(layout))
        return dict(typer.main.get_group(made).commands)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the layouts."""
        return list(self._layouts)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of a layout."""
        return self._layouts.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command to run: the layout that is named, or else that of the source."""
        if args[0] in self._layouts:
            return super().resolve_command(ctx, args)
        rest = args[1:] if args[0] == "auto" else args
        if not rest or not Path(rest[0]).exists():
            ctx.fail(
                f"`{rest[0] if rest else args[0]}` is neither a layout ({', '.join(self._layouts)}) nor a file or "
                "folder to import; the source comes before the options."
            )
        from qinn.data.importing import detect_layout

        layout = detect_layout(rest[0])
        note(f"`{rest[0]}` has the layout `{layout}`")
        return layout, self._layouts[layout], rest


import_app = typer.Typer(
    cls=_LayoutGroup,
    help="Import a data set into a store: `qinn data import SOURCE --to STORE`, with the options of its layout. "
    "The layout is found by what is in the source; name it first to be sure, as in `qinn data import mmsa SOURCE "
    "--to STORE`, and for its options, as in `qinn data import mmsa --help`.",
    no_args_is_help=True,
    subcommand_metavar="[LAYOUT] SOURCE --to STORE [OPTIONS]",
)

_TYPES: dict[str, Any] = {
    "text": str | None,
    "whole": int | None,
    "flag": bool,
    "repeated": list[str] | None,
    "listed": str | None,
    "pairs": list[str] | None,
    "range": tuple[float, float] | None,
}


def _command(layout: "Layout") -> Any:
    """Return the function that typer makes the command of a layout of."""

    def command(**typed: Any) -> None:
        _import(layout, **typed)

    stated: dict[str, tuple[Any, Any]] = {
        "source": (
            Annotated[Path, typer.Argument(help="File or folder to import.")],
            inspect.Parameter.empty,
        ),
        "to": (
            Annotated[Path, typer.Option("--to", help="Folder of the store to write.")],
            inspect.Parameter.empty,
        ),
    }
    for one in _options(layout):
        shown: dict[str, Any] = {
            "help": escape(one.meaning.replace("`", "")) + ".",
            "metavar": one.value or None,
        }
        if one.bounds:
            shown |= {"min": one.bounds[0], "max": one.bounds[1]}
        off = False if one.form == "flag" else None
        stated[one.name] = (Annotated[_TYPES[one.form or "text"], typer.Option(one.flag, **shown)], off)
        if one.off:
            flag = typer.Option("--" + one.off[0].replace("_", "-"), help=f"{one.off[1]}.")
            stated[one.off[0]] = (Annotated[bool, flag], False)
    stated["name"] = (
        Annotated[str | None, typer.Option(help="Name of the data set (default: the target's).")],
        None,
    )
    stated["overwrite"] = (
        Annotated[bool, typer.Option("--overwrite", help="Replace a store that an import made.")],
        False,
    )
    stated["as_json"] = (JsonOption, False)
    kind = inspect.Parameter.KEYWORD_ONLY
    # What typer reads; type checkers know no such attribute of a function.
    command.__signature__ = inspect.Signature(  # pyright: ignore[reportFunctionMemberAccess]
        [
            inspect.Parameter(name, kind, annotation=annotation, default=default)
            for name, (annotation, default) in stated.items()
        ]
    )
    return command


def _options(layout: "Layout") -> "Iterator[Option]":
    """Go through a layout's options: its own, how text is encoded, and those of every layout."""
    from qinn.data.importing.option import options_of
    from qinn.data.importing.reader import COMMON
    from qinn.data.importing.transcripts import EncoderOptions

    every = list(options_of(layout.options))
    yield from (one for one in every if one.place[0] not in (*COMMON, "text"))
    if layout.has_text:
        yield from options_of(EncoderOptions)
    yield from (one for one in every if one.place[0] == "text")
    yield from (one for one in every if one.place[0] in COMMON)


def _import(
    layout: "Layout", source: Path, to: Path, name: str | None, overwrite: bool, as_json: bool, **typed: Any
) -> None:
    from qinn.data.importing import describe_import
    from qinn.face.importing import import_data

    given = {option: value for option, value in typed.items() if value not in (None, False, [])}
    with progress_bar("samples") as progress:
        store = import_data(
            source,
            to,
            layout.name,
            name=name,
            overwrite=overwrite,
            progress=progress,
            **given,
        )
    if as_json:
        print_json(store.manifest)
        return
    note(f"wrote {to}: {len(store)} samples; this is what was understood:")
    for line in describe_import(store):
        note(f"  {line}")
