"""What `qinn demo` does, and `qinn demo clips`: sets with a known answer, models of them, and what they reached."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from qinn.data.stores.store import Store
from qinn.data.stores.unchanged import open_unchanged
from qinn.data.synthetic.clips.clip_set import ClipsSpec, DrawnClip, drawn_clips, write_clip, write_clips
from qinn.destinations import check_destination, check_folder
from qinn.errors import ClipError, OutputError
from qinn.experiment.clip_demo import MODEL, run_clip_demo
from qinn.experiment.comparison import run_path
from qinn.experiment.demo import run_demo
from qinn.experiment.stream_demo import run_stream_demo
from qinn.extras import require
from qinn.face.extracting import extract_features
from qinn.face.scoring import score_clips
from qinn.features.extraction import ClipOptions
from qinn.folder_locks import held
from qinn.report.page import page_of, write_report
from qinn.report.stream_lengths import FIGURE, lengths_section, write_lengths_figure
from qinn.results.clip_score import ClipScore
from qinn.results.demo import ClipsResult, DemoResult, StreamsResult

OnRun = Callable[[int, int, str], None]
Watch = Callable[[str], AbstractContextManager[Callable[..., None]]]
ClipTiers = Literal["built-in", "real"]

_SPEC = ClipsSpec()
_OPTIONS: dict[ClipTiers, ClipOptions] = {
    "built-in": ClipOptions(speech="none", face="pixels"),
    "real": ClipOptions(speech="none", face="face-mesh"),
}
_TEXT: dict[ClipTiers, str] = {"built-in": "hash", "real": "minilm"}


@dataclass(frozen=True)
class Demonstration:
    """What the demo found, and where its page and figure lie."""

    pooled: DemoResult
    streams: StreamsResult
    page: Path
    figure: Path


def demonstrate(
    to: Path, *, workers: int, overwrite: bool = False, on_run: OnRun | None = None
) -> Demonstration:
    """Train QiNN-QJ and baselines on two embedded synthetic sets, pooled and along streams, and report.

    Args:
        to: Folder for the stores, the runs and the report.
        workers: Runs at the same time.
        overwrite: Replace what another program made, or was changed since.
        on_run: Called with (runs done, runs in all, label of the last) after each run.

    Raises:
        OutputError: If a place holds something else, or another command works there.
    """
    page, figure = to / "report.html", to / "streams.svg"
    check_destination(page, page_of("report"), overwrite=overwrite)
    check_destination(figure, FIGURE, overwrite=overwrite)
    with held(to):
        pooled = run_demo(to, workers=workers, overwrite=overwrite, on_run=on_run)
        streams = run_stream_demo(to / "streams", workers=workers, overwrite=overwrite, on_run=on_run)
        write_lengths_figure(figure, streams)
        write_report(
            [to / "comparison", to / "streams" / "comparison"],
            page,
            overwrite=overwrite,
            further=lambda numbering: [lengths_section(streams, numbering)],
        )
    return Demonstration(pooled, streams, page, figure)


@dataclass(frozen=True)
class ClipsDemonstration:
    """What the demo of clips found, and where everything lies.

    Attributes:
        result: Models beside what is possible.
        clips: The table of all clips.
        seconds: Duration of all of them.
        model: Folder of the model's runs, which can score clips.
        unseen: A clip that no model has seen, of a new speaker.
        drawn: What that clip was made of.
        score: What the model says of it.
        page: The page with the reasons.
    """

    result: ClipsResult
    clips: Path
    seconds: float
    model: Path
    unseen: Path
    drawn: DrawnClip
    score: ClipScore
    page: Path

    def __len__(self) -> int:
        return sum(_SPEC.sizes.values())


def demonstrate_clips(
    to: Path,
    *,
    tiers: ClipTiers = "built-in",
    workers: int,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> ClipsDemonstration:
    """Make clips with a known answer, extract their features, train on them, and score one that no model has seen.

    Repeated, it keeps what is there: films, features, runs.

    Args:
        to: Folder for clips, store and runs.
        tiers: ``"built-in"``: pixels and hashed words, without weights; ``"real"``: the face model and the text encoder
            of optional packages.
        workers: Clips, and then runs, at the same time.
        overwrite: Make clips, features and runs anew where others of this command's are.
        watch: Takes the name of a stage (``"films"``, ``"features"``, ``"runs"``, ``"scores"``) and gives, for as
            long as it lasts, what is told how many are done, of how many, and the last one.

    Raises:
        OutputError: If a place holds something else, or another command works there.
        ConfigError: If weights of the real tiers are not there.
        MissingPackageError: If a package is not installed.
    """
    options = _OPTIONS[tiers]
    require("clips", what="`qinn demo clips`", only=(*options.packages, "PIL"))
    with held(check_folder(to)):
        return _clips_demonstrated(to, tiers, options, workers, watch or _unwatched, overwrite=overwrite)


def _clips_demonstrated(
    to: Path, tiers: ClipTiers, options: ClipOptions, workers: int, watched: Watch, *, overwrite: bool
) -> ClipsDemonstration:
    with watched("films") as told:
        table = write_clips(to / "clips", _SPEC, overwrite=overwrite, progress=partial(_counted, told))
    store = to / "store"
    if overwrite or not _is_made_of(store, options):
        with watched("features") as told:
            extract_features(
                table,
                store,
                text=_TEXT[tiers],
                workers=workers,
                fail_fast=True,
                name=f"clips with a known answer, {tiers} tiers",
                overwrite=overwrite,
                progress=partial(_counted, told),
                text_column="text",
                group_column="speaker",
                scale="mosi",
                speech=options.speech,
                face=options.face,
            )
    comparison = to / "comparison"
    with watched("runs") as told:
        result = run_clip_demo(store, comparison, _SPEC, workers=workers, overwrite=overwrite, on_run=told)
    drawn = _unseen(_SPEC)
    unseen = to / "clips" / "unseen.mp4"
    if overwrite or not unseen.is_file():
        write_clip(drawn, unseen)
    model = run_path(comparison, MODEL, 0).parent
    page = to / "score.html"
    with watched("scores") as told:
        (scored,) = score_clips(
            unseen, model, page=page, words=drawn.sentence.text, overwrite=overwrite, progress=told
        )
    if scored.score is None:
        raise ClipError(scored.reason)
    return ClipsDemonstration(
        result,
        table,
        sum(float(seconds) for seconds in open_unchanged(store).strings("seconds")),
        model,
        unseen,
        drawn,
        scored.score,
        page,
    )


@contextmanager
def _unwatched(stage: str) -> Generator[OnRun, None, None]:
    yield lambda done, total, last: None


def _counted(told: Callable[..., object], done: int, total: int, last: str) -> None:
    """Tell how many are done without the last one's name: hundreds of lines would say nothing."""
    told(done, total, "")


def _unseen(spec: ClipsSpec) -> DrawnClip:
    """Return the first clip of the speaker who comes after those of the test split."""
    at = -(-spec.num_test // spec.clips_per_speaker) * spec.clips_per_speaker
    *_, last = drawn_clips(replace(spec, num_train=1, num_valid=0, num_test=at + 1))
    return last


def _is_made_of(place: Path, options: ClipOptions) -> bool:
    """Tell whether a place holds the features of the demo's clips; False where nothing is.

    Raises:
        OutputError: If it holds others.
    """
    if not (place / "manifest.json").is_file():
        return False
    store: Store = open_unchanged(place)
    made: dict[str, Any] = {name: store.tiers.get(name) for name in options.tiers}
    if made == options.tiers and [*store.strings("id")] == [clip.id for clip in drawn_clips(_SPEC)]:
        return True
    raise OutputError(
        f"`{place}` is a store of other clips or other features than the demo's; choose another folder, or replace it "
        "with `--overwrite`."
    )
