"""Commands ``qinn data import LAYOUT``: one for each layout, made of the options that its class states.

Without a layout, ``qinn data import SOURCE …`` finds it out and goes on as if it had been named.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qinn.cli.output import JsonOption, note, print_json, progress_bar
from qinn.cli.stated_commands import Commands, LazyGroup, given_of, with_options

if TYPE_CHECKING:
    from qinn.data.importing.reader import Layout
    from qinn.stated_options import Option


class _LayoutGroup(LazyGroup):
    """Takes a source in place of a layout's name, and finds the layout by what is in it."""

    def stated(self) -> dict[str, tuple[Any, str]]:
        """Return the commands of all layouts."""
        from qinn.data.importing import LAYOUTS

        return {name: (_command(layout), layout.help) for name, layout in LAYOUTS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command to run: the layout that is named, or else that of the source."""
        if args[0] in self.made_commands and not self._is_source(ctx, args):
            return super().resolve_command(ctx, args)
        rest = args[1:] if args[0] == "auto" else args
        if not rest or not Path(rest[0]).exists():
            ctx.fail(
                f"`{rest[0] if rest else args[0]}` is neither a layout ({', '.join(self.made_commands)}) nor a file or "
                "folder to import; the source comes before the options."
            )
        from qinn.face.importing import layout_of

        layout = layout_of(rest[0])
        note(f"`{rest[0]}` has the layout `{layout}`")
        return layout, self.made_commands[layout], rest

    def _is_source(self, ctx: Any, args: list[str]) -> bool:
        """Tell whether a layout's name is the source itself: it lies there, and no other source is named."""
        if {"--help", "-h"} & set(args) or not Path(args[0]).exists():
            return False
        command = self.made_commands[args[0]]
        parsed = command.make_context(args[0], args[1:], parent=ctx, resilient_parsing=True)
        return parsed.params.get("source") is None


import_app = Commands(
    cls=_LayoutGroup,
    help="Import a data set into a store: `qinn data import SOURCE --to STORE`, with the options of its layout. "
    "The layout is found by what is in the source; name it first to be sure, as in `qinn data import mmsa SOURCE "
    "--to STORE`, and for its options, as in `qinn data import mmsa --help`.",
    no_args_is_help=True,
    subcommand_metavar="[LAYOUT] SOURCE --to STORE [OPTIONS]",
)


def _command(layout: "Layout") -> Any:
    """Return the function that typer makes the command of a layout of."""

    @with_options(_options(layout))
    def command(
        source: Annotated[Path, typer.Argument(help="File or folder to import.")],
        to: Annotated[Path, typer.Option("--to", help="Folder of the store to write.")],
        *,
        name: Annotated[
            str | None, typer.Option(help="Name of the data set (default: the target's).")
        ] = None,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Replace a store that an import made.")
        ] = False,
        as_json: JsonOption = False,
        **typed: Any,
    ) -> None:
        from qinn.data.importing import describe_import
        from qinn.face.importing import import_data

        given = given_of(typed)
        with progress_bar("samples") as progress:
            store = import_data(
                source, to, layout.name, name=name, overwrite=overwrite, progress=progress, **given
            )
        if as_json:
            print_json(store.manifest)
            return
        note(f"wrote {to}: {len(store)} samples; this is what was understood:")
        for line in describe_import(store):
            note(f"  {line}")

    return command


def _options(layout: "Layout") -> "Iterator[Option]":
    """Go through a layout's options: its own, how text is encoded, and those of every layout."""
    from qinn.data.importing.reader import COMMON
    from qinn.data.importing.transcripts import EncoderOptions
    from qinn.stated_options import options_of

    every = list(options_of(layout.options))
    yield from (one for one in every if one.place[0] not in (*COMMON, "text"))
    if layout.has_text:
        yield from options_of(EncoderOptions)
    yield from (one for one in every if one.place[0] == "text")
    yield from (one for one in every if one.place[0] in COMMON)
