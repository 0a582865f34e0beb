"""The commands and what they are called: parse, call the face, print. No logic.

Heavy libraries are imported inside the commands, so that ``qinn --help`` answers at once.
"""

from typing import Annotated

import typer

from qinn import __version__
from qinn.cli.data import data_app
from qinn.cli.demo import demo
from qinn.cli.features import features_app
from qinn.cli.output import SafeGroup
from qinn.cli.predicting import calibrate, explain, predict, publish
from qinn.cli.runs import evaluate, info, report, sweep_absent
from qinn.cli.scoring import score
from qinn.cli.serving import serve
from qinn.cli.stated_commands import Commands
from qinn.cli.training import compare, train, tune

app = Commands(
    name="qinn",
    cls=SafeGroup,
    help="QiNN-QJ: quantum-inspired multimodal sentiment analysis with quantum jumps.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.add_typer(data_app, name="data")
app.add_typer(features_app, name="features")
for command in (
    train,
    tune,
    evaluate,
    predict,
    score,
    calibrate,
    publish,
    serve,
    explain,
    compare,
    sweep_absent,
    report,
    info,
):
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
