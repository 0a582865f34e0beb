"""The command `qinn`: parse, call the experiment layer, print. No logic.

Heavy libraries are imported inside the commands, so that ``qinn --help`` answers at once.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from qinn import __version__
from qinn.cli_data import data_app
from qinn.errors import ConfigError, QinnError

app = typer.Typer(
    name="qinn",
    help="QiNN-QJ: quantum-inspired multimodal sentiment analysis with quantum jumps.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")

console = Console()
stderr = Console(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
RunArgument = Annotated[Path, typer.Argument(help="Folder of a finished run.")]
ConfigArgument = Annotated[Path, typer.Argument(help="YAML configuration (see configs/).")]
SplitOption = Annotated[str | None, typer.Option(help="Only the samples of this split.")]
