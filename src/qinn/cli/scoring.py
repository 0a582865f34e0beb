"""The command ``qinn score``: a clip in, a score out."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qinn.cli.output import (
    JsonOption,
    OverwriteOption,
    note,
    print_json,
    print_rows,
    print_table,
    progress_bar,
    show,
    stage_bar,
)
from qinn.cli.predicting import LevelOption
from qinn.cli.runs import AbsentOption

if TYPE_CHECKING:
    from qinn.results.clip_score import ClipScore

_MOST_FAILURES = 5


def score(
    clips: Annotated[
        list[Path], typer.Argument(metavar="CLIP...", help="Clips, folders of clips, or a table of clips.")
    ],
    run: Annotated[
        Path,
        typer.Option(
            help="Folder of a finished run, of a model in a comparison (all its seeds), or of a published model."
        ),
    ],
    to: Annotated[
        Path | None, typer.Option(help="Write a .csv, .parquet or .json file: a row for each clip.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="Write an .html page with the reasons; of several clips a folder of pages."),
    ] = None,
    level: LevelOption = 0.9,
    absent: AbsentOption = None,
    speech: Annotated[
        str | None,
        typer.Option(
            metavar="[whisper-tiny.en|whisper-base|none]",
            help="What hears the words (default: what heard those that the run was trained on).",
        ),
    ] = None,
    words: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What is said in the clip, in place of recognising it.")
    ] = None,
    text: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Text file with what is said, likewise.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of a table of clips with what is said in each.")
    ] = None,
    begin: Annotated[
        float | None, typer.Option(min=0, max=1e6, metavar="SECONDS", help="Where in the clip to begin.")
    ] = None,
    end: Annotated[
        float | None, typer.Option(min=0, max=1e6, metavar="SECONDS", help="Where in the clip to end.")
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="End at the first clip that fails.")] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score raw clips: what a run says of each, how sure it is, and what words, seconds and modalities did.

    Features are made as those that the run was trained on. A clip that fails is a row with its reason, with exit code
    1; a single clip that fails ends with 2.
    """
    from qinn.face.scoring import as_json as as_document
    from qinn.face.scoring import score_clips

    several = len(clips) > 1 or clips[0].is_dir() or text_column is not None
    with ExitStack() as stack:
        on_stage = None if several else stack.enter_context(stage_bar())
        progress = stack.enter_context(progress_bar("clips")) if several else None
        found = score_clips(
            clips,
            run,
            to=to,
            page=page,
            level=level,
            absent=absent or (),
            speech=speech,
            words=words,
            text=text,
            text_column=text_column,
            begin=begin,
            end=end,
            fail_fast=fail_fast,
            overwrite=overwrite,
            progress=progress,
            on_stage=on_stage,
            on_remark=note,
        )
    single, failed = len(found) == 1, [one for one in found if one.score is None]
    if as_json:
        print_json(as_document(found, single=single))
    elif single and found[0].score is not None:
        _show(found[0].score)
    elif to is None:
        _show_rows([one.row() for one in found])
    for place in (to, page):
        if place is not None:
            note(f"wrote {place}")
    for one in failed[:_MOST_FAILURES]:
        note(f"not scored: {one.reason}")
    if failed:
        note(f"{len(failed)} of {len(found)} clips were not scored")
        raise typer.Exit(1)


def _show(found: "ClipScore") -> None:
    """Show one scored clip."""
    from qinn.results.clip_score_tables import headline, score_tables, transcript

    show(headline(found))
    if found.words:
        show(f"“{transcript(found)}”")
    for table in score_tables(found):
        print_table(table)
    for warning in found.warnings:
        note(f"warning: {warning}")
    for remark in (found.outcome.certainty, *found.notes):
        note(f"note: {remark}")


def _show_rows(rows: "list[dict[str, str | float | int | None]]") -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    print_rows([names, *([row.get(name) for name in names] for row in rows)])
