"""The command ``qinn serve``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qinn.cli.output import note
from qinn.cli.stated_commands import with_options
from qinn.serving.options import ServeOptions
from qinn.stated_options import made, options_of


@with_options(options_of(ServeOptions))
def serve(
    *,
    run: Annotated[
        Path,
        typer.Option(
            help="Folder of a finished run, of a model in a comparison (the mean of its seeds), or a published one."
        ),
    ],
    **typed: Any,
) -> None:
    """Serve a page in the browser on which clips are chosen or recorded, and scored with reasons.

    Everything stays on this machine: nothing is asked of any other host, and nothing is kept unless --keep says so.
    """
    from qinn.serving.server import serve as serve_page

    serve_page(run, made(ServeOptions, typed), say=note)
