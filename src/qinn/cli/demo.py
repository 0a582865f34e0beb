"""The command ``qinn demo``, and ``qinn demo clips``: sets with a known answer, and what models reach on them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qinn.cli.output import (
    JsonOption,
    OverwriteOption,
    print_json,
    print_table,
    progress_bar,
    show,
    show_table,
)
from qinn.cli.training import show_comparison
from qinn.errors import ConfigError
from qinn.results.as_json import document

if TYPE_CHECKING:
    from qinn.face.demonstrating import ClipTiers


def demo(
    what: Annotated[
        Literal["sets", "clips"],
        typer.Argument(
            help="sets: QiNN-QJ and baselines on two synthetic sets, pooled and along streams; clips: drawn faces that "
            "say sentences, from the films to the score of one."
        ),
    ] = "sets",
    to: Annotated[
        Path | None,
        typer.Option(
            help="Folder for everything that is made (default: runs/demo, runs/demo-clips, runs/demo-clips-real)."
        ),
    ] = None,
    tiers: Annotated[
        Literal["built-in", "real"] | None,
        typer.Option(
            help="clips: what makes features; built-in (default): pixels and hashed words, without weights; real: the "
            "face model and MiniLM of optional packages."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Clips, and runs, at the same time.")] = 2,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make sets with a known answer, train QiNN-QJ and baselines on them, and state what is possible beside it."""
    from qinn.extras import require

    if what == "clips":
        _demo_clips(to, tiers or "built-in", workers, overwrite, as_json)
        return
    if tiers is not None:
        raise ConfigError("Option `--tiers` belongs to `qinn demo clips`; leave it out, or write `clips`.")
    require("report", "train", what="`qinn demo`")
    from qinn.face.demonstrating import demonstrate

    with progress_bar("runs") as on_run:
        found = demonstrate(to or Path("runs/demo"), workers=workers, overwrite=overwrite, on_run=on_run)
    result, streams = found.pooled, found.streams
    if as_json:
        places = {"report": str(found.page), "figure": str(found.figure)}
        print_json({**document(result), "streams": streams, **places})
        return
    show_comparison(result.comparison, as_json=False)
    known = [(name, f"{value:.4f}") for name, value in result.known.items()]
    show_table("Against the known answer (test MAE)", ("predictor", "MAE"), known)
    reached, best = result.reached["QiNN-QJ"], result.known["best possible (Bayes)"]
    show(
        f"QiNN-QJ reached {reached:.4f}, {reached / best - 1:.0%} above the best possible; "
        f"late fusion {result.reached['late fusion']:.4f}."
    )
    print_table(streams.longest_table())
    show(f"comparison: {streams.comparison.folder}")
    show(f"figure: {found.figure}")
    show(f"report: {found.page}")


def _demo_clips(to: Path | None, tiers: "ClipTiers", workers: int, overwrite: bool, as_json: bool) -> None:
    from qinn.extras import require

    require("report", "train", what="`qinn demo clips`")
    from qinn.face.demonstrating import demonstrate_clips
    from qinn.results.clip_score_tables import headline

    place = to or Path("runs/demo-clips" if tiers == "built-in" else "runs/demo-clips-real")
    found = demonstrate_clips(place, tiers=tiers, workers=workers, overwrite=overwrite, watch=progress_bar)
    if as_json:
        places = {"clips": found.clips, "model": found.model, "unseen": found.unseen, "page": found.page}
        told = {name: str(place) for name, place in places.items()}
        print_json({**document(found.result), **told, "score": found.score.to_json()})
        return
    result = found.result
    makers = ", ".join(f"{name} by {tier}" for name, tier in result.tiers.items())
    show(f"{len(found)} clips, {found.seconds / 60:.1f} minutes: {found.clips}")
    show(f"features: {makers}")
    if tiers == "built-in":
        show(
            "These need no weights; `qinn demo clips --tiers real` takes a model of faces and a text encoder."
        )
    print_table(result.table())
    print_table(result.without_table())
    for sentence in result.findings:
        show(sentence)
    show(f"A clip of a new speaker, {found.unseen}, which says “{found.drawn.sentence.text}”:")
    show(headline(found.score))
    show(f"Its label is {found.drawn.label:.2f}, the best possible prediction {found.drawn.best:.2f}.")
    show(f"model: {found.model}")
    show(f"page: {found.page}")
    show(f"Next, with a clip of yours: qinn score CLIP --run {found.model}")
