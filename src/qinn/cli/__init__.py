"""The command `qinn`: parse, call the face, print."""

from qinn.cli.exit_codes import main as main

__all__ = ["main"]
