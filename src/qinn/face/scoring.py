"""Scoring raw clips with a run: what `qinn score` does."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qinn.destinations import Destination, check_destination, check_folder, marked
from qinn.errors import ArgumentError, ClipError, ConfigError, DataError
from qinn.escaping import json_text, visible
from qinn.experiment.clip_process import ClipProcess
from qinn.experiment.clip_scoring import ClipScorer
from qinn.experiment.clip_tables import ClipTable, ColumnOptions, ListedClip, clips_of
from qinn.experiment.prediction_files import predictions_destination, write_predictions
from qinn.opening import read_small_text
from qinn.results.clip_score import ClipScore
from qinn.results.clip_score_tables import score_row
from qinn.results.coverage import LEVEL
from qinn.results.files import write_text
from qinn.typed_arguments import typed

__all__ = ["ScoredClip", "score_clips"]

_COMMAND = "qinn score"
_SCHEMA = '"schema": "qinn.clip-score'
_UNFIT = re.compile(r"[^\w.+-]+")
_MOST_TEXT = 2**20


@dataclass(frozen=True)
class ScoredClip:
    """A clip, and what became of it.

    Attributes:
        id: What it is called.
        path: Its file.
        score: What the run says of it; None where it was refused.
        reason: Why it was refused; empty where it was not.
    """

    id: str
    path: Path
    score: ClipScore | None = None
    reason: str = ""

    def row(self) -> dict[str, str | float | int | None]:
        """Return it as a row of a table."""
        own = {} if self.score is None else score_row(self.score)
        return {"id": self.id, "file": visible(str(self.path)), **own, "reason": self.reason}


@typed
def score_clips(
    clips: Path | str | Sequence[Path | str],
    run: Path | str,
    *,
    to: Path | str | None = None,
    page: Path | str | None = None,
    level: float = LEVEL,
    absent: Sequence[str] = (),
    speech: str | None = None,
    words: str | Sequence[str] | None = None,
    text: Path | str | None = None,
    text_column: str | None = None,
    begin: float | None = None,
    end: float | None = None,
    fail_fast: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int, str], object] | None = None,
    on_stage: Callable[[str, float | None], object] | None = None,
    on_remark: Callable[[str], None] | None = None,
) -> list[ScoredClip]:
    """Score raw clips with a run: what it says of each, how sure it is, and why.

    Features are made exactly as those that the run was trained on, or the run is refused. A clip that fails is one of
    the results, with its reason; a single clip that fails raises it.

    Args:
        clips: Clips, folders of clips, or a table of clips as `qinn.extract_features` takes it.
        run: Folder of a finished run, of a model in a comparison (the mean of its seeds), or of a published model.
        to: A .csv, .parquet or .json file to write.
        page: An .html file to write; of several clips a folder, with a page for each.
        level: Share of new clips whose label the interval, or the set of classes, is to hold.
        absent: Modalities to do without.
        speech: What hears the words, `whisper-tiny.en`, `whisper-base` or `none`; by default what heard those that the
            run was trained on.
        words: What is said in the clip, of a single one; by default it is recognised.
        text: A file with what is said, likewise.
        text_column: Column of a table of clips with what is said in each.
        begin: Where to begin, in seconds, in a single clip.
        end: Where to end, likewise.
        fail_fast: Whether the first clip that fails ends it all.
        overwrite: Replace files that another program made, or were changed since.
        progress: Told how many clips are done, of how many, and the last one.
        on_stage: Told what is done with a clip now, and which share of it.
        on_remark: Called with each sentence that a user should know.

    Returns:
        What became of each clip, in their order.

    Raises:
        ConfigError: If the run's features cannot be made of clips, weights are not there, or options contradict each
            other.
        ClipError: If the only clip fails, or one does, with `fail_fast`.
        DataError: If there is no clip, or all of several fail.
        OutputError: If a file cannot be written, or its place is another's.
    """
    table = _listed(clips, text_column)
    single = len(table.clips) == 1
    given = _given_words(words, text)
    _check_single(single, given, begin, end, text_column)
    places = _Places.check(to, page, table, run, overwrite=overwrite)
    found: list[ScoredClip] = []
    # Files of others are opened by another process, with limits.
    with ClipProcess() as process:
        scorer = ClipScorer.load(run, level=level, absent=absent, speech=speech, extractor=process.extractor)
        for number, clip in enumerate(table.clips, start=1):
            try:
                score = scorer.score(
                    clip.path,
                    begin=clip.begin if begin is None else begin,
                    end=clip.end if end is None else end,
                    words=clip.words if given is None else given,
                    progress=on_stage,
                )
                found.append(ScoredClip(clip.id, clip.path, score))
            except ClipError as error:
                if single or fail_fast:
                    raise
                found.append(ScoredClip(clip.id, clip.path, reason=str(error)))
            if progress is not None:
                progress(number, len(table.clips), clip.id)
    changed = places.write(found, single=single)
    if changed and on_remark is not None:
        on_remark(
            f"{changed} texts begin like a formula of a spreadsheet (= + - @ ' or a tab), so an apostrophe stands "
            "before them; programs take it away, or read a .parquet file"
        )
    if all(one.score is None for one in found):
        raise DataError(f"None of {len(found)} clips could be scored, the first since: {found[0].reason}")
    return found


def _listed(clips: Path | str | Sequence[Path | str], text_column: str | None) -> ClipTable:
    sources = [Path(one) for one in ([clips] if isinstance(clips, (str, Path)) else clips)]
    if not sources:
        raise ArgumentError("Argument `clips` must name at least one clip, folder or table, but it is empty.")
    table = clips_of(sources, ColumnOptions(text_column=text_column))
    if not table.clips:
        raise DataError(f"`{sources[0]}` names no clip; add a row for each.")
    return table


def _given_words(words: str | Sequence[str] | None, text: Path | str | None) -> list[str] | None:
    if words is not None and text is not None:
        raise ConfigError("Options `words` and `text` both say what is said; give one of them.")
    if text is not None:
        try:
            return read_small_text(text, _MOST_TEXT).split()
        except (OSError, UnicodeDecodeError) as error:
            why = "it is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror or error
            raise DataError(f"`{text}` cannot be read as a transcript: {why}; name a text file.") from error
    return words.split() if isinstance(words, str) else None if words is None else list(words)


def _check_single(
    single: bool,
    given: Sequence[str] | None,
    begin: float | None,
    end: float | None,
    text_column: str | None,
) -> None:
    """Refuse what is said of one clip where there are several."""
    stated = [name for name, value in (("begin", begin), ("end", end)) if value is not None]
    stated += ["words"] if given is not None else []
    if begin is not None and end is not None and end <= begin:
        raise ConfigError(f"Option `end` must lie behind `begin`, but they are {end:g} and {begin:g} s.")
    if stated and not single:
        raise ConfigError(
            f"Option `{stated[0]}` is of a single clip; of several, name a table with the columns file, begin, end and "
            "text."
        )
    if given is not None and text_column is not None:
        raise ConfigError("Options `words` and `text_column` both say what is said; give one of them.")


@dataclass(frozen=True)
class _Places:
    """Where results go, known to be free before any clip is read."""

    to: Path | None
    page: Path | None
    is_folder: bool
    overwrite: bool

    @classmethod
    def check(
        cls,
        to: Path | str | None,
        page: Path | str | None,
        table: ClipTable,
        run: Path | str,
        *,
        overwrite: bool,
    ) -> "_Places":
        inputs = [*table.inputs, *(clip.path for clip in table.clips[:1]), run]
        if to is not None:
            _destination(Path(to), inputs, overwrite=overwrite)
        is_folder = page is not None and Path(page).suffix.lower() not in (".html", ".htm")
        if page is not None and not is_folder and len(table.clips) > 1:
            raise ConfigError(
                f"`{page}` is one page, but {len(table.clips)} clips are scored; name a folder for their pages."
            )
        if page is not None:
            from qinn.report.clip_page import clip_page_destination

            if is_folder:
                check_folder(page, inputs=[run])
            for place in _pages(Path(page), table.clips, is_folder=is_folder):
                clip_page_destination(place, inputs=inputs, overwrite=overwrite)
        return cls(
            None if to is None else Path(to), None if page is None else Path(page), is_folder, overwrite
        )

    def write(self, found: Sequence[ScoredClip], *, single: bool) -> int:
        """Write everything that was asked for, and return how many texts of a csv file got an apostrophe."""
        changed = 0
        if self.page is not None:
            from qinn.report.clip_page import write_clip_page

            places = _pages(self.page, found, is_folder=self.is_folder)
            for place, one in zip(places, found, strict=True):
                if one.score is not None:
                    write_clip_page(one.score, place, overwrite=self.overwrite)
        if self.to is None:
            return 0
        if self.to.suffix == ".json":
            place = _destination(self.to, [], overwrite=self.overwrite)
            write_text(place.path, json_text(as_json(found, single=single)) + "\n", overwrite=place.replaces)
        else:
            changed = write_predictions(self.to, _rows(found), overwrite=self.overwrite, command=_COMMAND)
        return changed


def as_json(found: Sequence[ScoredClip], *, single: bool) -> object:
    """Return results as JSON holds them: of a single clip its score, of several a list with what became of each."""
    if single and found[0].score is not None:
        return found[0].score.to_json()
    return [
        {
            "id": one.id,
            "file": visible(str(one.path)),
            "score": None if one.score is None else one.score.to_json(),
            "reason": one.reason,
        }
        for one in found
    ]


def _rows(found: Sequence[ScoredClip]) -> list[dict[str, str | float | int | None]]:
    """Return a row of the same columns for each clip."""
    rows = [one.row() for one in found]
    names = list(dict.fromkeys(name for row in rows for name in row if name != "reason"))
    return [{name: row.get(name) for name in (*names, "reason")} for row in rows]


def _destination(path: Path, inputs: Sequence[Path | str], *, overwrite: bool) -> Destination:
    if path.suffix == ".json":
        return check_destination(path, marked(_COMMAND, _SCHEMA), overwrite=overwrite, inputs=inputs)
    if path.suffix not in (".csv", ".parquet"):
        raise ArgumentError(f"Scores can be written to .csv, .parquet or .json, but the file is `{path}`.")
    return predictions_destination(path, overwrite=overwrite, inputs=inputs, command=_COMMAND)


def _pages(page: Path, clips: Sequence[ListedClip | ScoredClip], *, is_folder: bool) -> list[Path]:
    """Return where the page of each clip goes; ids make file names in which nothing leads elsewhere."""
    if not is_folder:
        return [page]
    names: dict[str, None] = {}
    for clip in clips:
        stem = _UNFIT.sub("_", clip.id).strip("._")[:80] or "clip"
        name, count = stem, 1
        while name in names:
            count += 1
            name = f"{stem}-{count}"
        names[name] = None
    return [page / f"{name}.html" for name in names]
