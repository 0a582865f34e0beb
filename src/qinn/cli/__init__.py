"""The command `qinn`: parse, call the experiment layer, print. No logic.

Heavy libraries are imported inside the commands, so that ``qinn --help`` answers at once.
"""

import sys
from typing import Annotated

import typer

from qinn import __version__
from qinn.cli.data import data_app
from qinn.cli.output import print_error
from qinn.cli.runs import (
    compare,
    demo,
    evaluate,
    explain,
    info,
    predict,
    report,
    sweep_missing,
    train,
)
from qinn.errors import QinnError

app = typer.Typer(
    name="qinn",
    help="QiNN-QJ: quantum-inspired multimodal sentiment analysis with quantum jumps.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.add_typer(data_app, name="data")
for command in (train, evaluate, predict, explain, compare, sweep_missing, report, info):
    app.command()(command)


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"qinn {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command; a user's mistake is one line on the error stream and exit code 2."""
    try:
        app()
    except QinnError as error:
        print_error(str(error))
        sys.exit(2)
    except SystemExit as end:
        # What typer makes of an interruption from the keyboard.
        if end.code == 130:
            print_error("interrupted; repeat the command to continue where it stopped.")
        raise
    except OSError as error:
        print_error(f"{error.filename or 'a file'}: {error.strerror or error}.")
        sys.exit(2)
