"""Features of many clips: made in other processes, kept clip by clip, put together as a table that can be imported.

A clip that fails becomes a line of ``failures.csv``; the others go on. What is made of a clip is kept under a name that
follows from its content and from all that decides about the result, so that repeating the command makes nothing twice.
"""

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from qinn.atomic_writing import complete_file, is_partial
from qinn.destinations import check_folder
from qinn.digests import file_digest
from qinn.errors import ClipError, DataError, OutputError, QinnError
from qinn.escaping import csv_line
from qinn.experiment.clip_process import limits_for, why_it_died
from qinn.experiment.clip_tables import ClipTable, ListedClip, refused
from qinn.experiment.workers import WorkerDiedError, work_in_processes
from qinn.extras import require
from qinn.features.clip_features import QUALITY_COLUMNS, ClipFeatures
from qinn.features.extraction import ClipOptions
from qinn.features.speech import SPEECH_VERSION
from qinn.features.weights import FACE_MESH, WHISPER_BASE, WHISPER_TINY_EN
from qinn.folder_locks import held

__all__ = ["Extraction", "Failure", "Progress", "extract_clips", "package_versions", "taken"]

Progress = Callable[[int, int, str], object]
"""Told how many clips are done, of how many, and which was the last."""

_COMMAND = "qinn features extract"
_PACKAGES = ("av", "faster-whisper", "ctranslate2", "onnxruntime", "ai-edge-litert", "pillow", "opensmile")
_KEPT = (
    "seconds",
    "voiced_seconds",
    "num_words",
    "word_probability",
    "face_coverage",
    "faces",
    "decode_errors",
)
"""What a store keeps of each clip's quality."""


@dataclass(frozen=True)
class Failure:
    """A clip of which no features were made.

    Attributes:
        clip: The clip.
        reason: Why, as a sentence.
    """

    clip: ListedClip
    reason: str


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What was made of some clips.

    Attributes:
        table: The table that can be imported.
        features: The features beside it.
        arrays: Modality → where its features lie in that file, as options of an import name it.
        words: Where the words lie, likewise; None if nothing is said in any clip.
        columns: Columns of the table: what is known of the clips, and how good they are.
        failures: Clips that are not in it.
        num_clips: Clips that are.
        num_kept: How many of these had been made before.
    """

    table: Path
    features: Path
    arrays: Mapping[str, str]
    words: str | None
    columns: Sequence[str]
    failures: Sequence[Failure]
    num_clips: int
    num_kept: int


def extract_clips(
    table: ClipTable,
    work: Path,
    options: ClipOptions,
    *,
    workers: int = 1,
    fail_fast: bool = False,
    landmarks: bool = False,
    with_text: bool = False,
    progress: Progress | None = None,
) -> Extraction:
    """Make the features of clips, and put them together.

    Args:
        table: The clips.
        work: A folder that is `taken`, for what is made: ``clips`` with one file per clip; ``clips.csv`` and
            ``features.npz``, which can be imported; ``quality.csv``, which says of each how good it is as material;
            ``failures.csv`` with those of which nothing was made.
        options: What to make.
        workers: Clips that are worked on at the same time.
        fail_fast: Whether the first clip that fails ends it all.
        landmarks: Whether each clip's file keeps the points of the face.
        with_text: Whether the table has the transcripts too, beside the words among the features.
        progress: Told of each clip that is done.

    Raises:
        ClipError: If the only clip fails, or one does, with `fail_fast`.
        DataError: If all clips fail.
        OutputError: If the folder cannot be written.
    """
    targets, failures = _targets(table.clips, work / "clips", options, landmarks)
    done = {index for index, target in targets.items() if _is_whole(target)}
    kept = len(done)
    told = progress or (lambda number, total, last: None)

    def answered(job: int, error: BaseException | None) -> None:
        index = waiting[job]
        clip = table.clips[index]
        if isinstance(error, ClipError):
            failures[index] = Failure(clip, str(error))
        elif isinstance(error, WorkerDiedError):
            failures[index] = Failure(clip, str(refused(clip, why_it_died(error))))
        elif error is not None:
            raise error
        if fail_fast and index in failures:
            raise ClipError(failures[index].reason)
        done.add(index)
        told(len(done | failures.keys()), len(table.clips), clip.id)

    if fail_fast and failures:
        raise ClipError(failures[min(failures)].reason)
    waiting = [index for index in targets if index not in done]
    jobs = [_job(table.clips[index], targets[index], options, landmarks) for index in waiting]
    work_in_processes(
        jobs, "qinn.experiment.clip_in_process", workers, answered, limits_for(options.max_seconds)
    )
    left = [failures[index] for index in sorted(failures)]
    if len(left) == len(table.clips) == 1:
        raise ClipError(left[0].reason)
    _write_failures(work / "failures.csv", left)
    made = [index for index in targets if index not in failures]
    if not made:
        raise DataError(
            f"None of {len(table.clips)} clips could be read, the first since: {left[0].reason} "
            f"`{work / 'failures.csv'}` has the others."
        )
    return _together(table, made, targets, work, left, kept, with_text)


def _weights_of(options: ClipOptions) -> list[Any]:
    wanted = {options.speech, options.face}
    return [weights for weights in (WHISPER_TINY_EN, WHISPER_BASE, FACE_MESH) if weights.name in wanted]


@contextmanager
def taken(work: Path, inputs: Sequence[Path], options: ClipOptions) -> Generator[None]:
    """Hold a folder for what is made of clips, from the first of them until a store is made of it.

    A folder that was made for a clip of which nothing could be made goes again.

    Args:
        work: The folder.
        inputs: What is read.
        options: What to make.

    Raises:
        ConfigError: If weights are not there, or are others.
        MissingPackageError: If a package is not installed.
        OutputError: If the folder is another's, or another command works in it, or it cannot be written.
    """
    require(*options.extras, what=f"`{_COMMAND}`", only=options.packages)
    for weights in _weights_of(options):
        weights.folder()
    place = check_folder(work, inputs=inputs)
    mark = place / "extraction.json"
    foreign = place.exists() and any(not is_partial(entry) for entry in place.iterdir())
    if foreign and not mark.is_file():
        raise OutputError(f"`{work}` is not empty and holds no features of clips; choose another folder.")
    is_new = not place.exists()
    with held(place, remedy="name another folder by `--work`"), _without_rest(place if is_new else None):
        place.joinpath("clips").mkdir(parents=True, exist_ok=True)
        _write_mark(mark, options)
        yield


@contextmanager
def _without_rest(place: Path | None) -> Generator[None]:
    """Remove a folder in which nothing was made, when something is refused in the block."""
    try:
        yield
    except QinnError:
        # A list of what failed is something.
        if place is not None and not any([*place.glob("clips/*.npz"), *place.glob("failures.csv")]):
            shutil.rmtree(place)
        raise


def _write_mark(mark: Path, options: ClipOptions) -> None:
    """Write what makes the features in a folder."""
    content = {
        "made by": _COMMAND,
        "options": asdict(options),
        "tiers": options.tiers,
        "weights": {one.name: one.files[one.main].sha256 for one in _weights_of(options)},
        "packages": package_versions(),
    }
    with complete_file(mark, overwrite=True) as stream:
        stream.write((json.dumps(content, indent=2) + "\n").encode())


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that features of clips are made with; empty where one is not here."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = ""
    return found


def _targets(
    clips: Sequence[ListedClip], folder: Path, options: ClipOptions, landmarks: bool
) -> tuple[dict[int, Path], dict[int, Failure]]:
    """Return where each clip's features go; a clip that cannot be read at all has failed by then."""
    common = [
        options.tiers,
        (options.speech, SPEECH_VERSION),
        [one.digest for one in _weights_of(options)],
        package_versions(),
        landmarks,
    ]
    digests: dict[Path, str] = {}
    targets: dict[int, Path] = {}
    failures: dict[int, Failure] = {}
    for index, clip in enumerate(clips):
        if clip.path not in digests:
            try:
                digests[clip.path] = file_digest(clip.path)
            except (OSError, ValueError) as error:  # of a name that no file can have
                why = f"cannot be read: {getattr(error, 'strerror', None) or error}"
                failures[index] = Failure(clip, str(refused(clip, why)))
                continue
        said = [*common, digests[clip.path], clip.begin, clip.end, clip.words, options.max_seconds]
        targets[index] = folder / f"{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]}.npz"
    return targets, failures


def _is_whole(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        ClipFeatures.load(path)
    except DataError:
        path.unlink()
        return False
    return True


def _job(clip: ListedClip, target: Path, options: ClipOptions, landmarks: bool) -> dict[str, Any]:
    return {
        "path": str(clip.path),
        "name": str(clip.path),
        "begin": clip.begin,
        "end": clip.end,
        "words": None if clip.words is None else list(clip.words),
        "options": asdict(options),
        "landmarks": landmarks,
        "target": str(target),
    }


def _write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """Write which clips failed and why; without any, the file of an earlier attempt goes."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    columns = {
        "id": [one.clip.id for one in failures],
        "file": [str(one.clip.path) for one in failures],
        "begin": [one.clip.begin for one in failures],
        "end": [one.clip.end for one in failures],
        "reason": [one.reason for one in failures],
    }
    _write_table(path, columns, csv_line)


def _together(
    table: ClipTable,
    made: Sequence[int],
    targets: Mapping[int, Path],
    work: Path,
    failures: Sequence[Failure],
    kept: int,
    with_text: bool,
) -> Extraction:
    found = [ClipFeatures.load(targets[index]) for index in made]
    ids = [table.clips[index].id for index in made]
    quality = {name: [getattr(one.quality, name) for one in found] for name in QUALITY_COLUMNS}
    quality["words_by"] = [one.heard_by for one in found]
    columns = {name: [values[index] for index in made] for name, values in table.known.items()}
    # What nothing was measured of in any clip says nothing.
    kept_columns = [
        name for name in (*_KEPT, "words_by") if any(cell not in (None, "") for cell in quality[name])
    ]
    columns |= {name: quality[name] for name in kept_columns}
    texts = {"text": [one.text for one in found]}
    _write_table(work / "clips.csv", {"id": ids, **columns, **(texts if with_text else {})}, _plain_line)
    notes = {
        "notes": ["; ".join(one.notes) for one in found],
        "features": [targets[index].name for index in made],
    }
    _write_table(work / "quality.csv", {"id": ids, **quality, **texts, **notes}, csv_line)
    arrays, places, words = _arrays(found, ids)
    features = work / "features.npz"
    with complete_file(features, overwrite=True) as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    return Extraction(
        table=work / "clips.csv",
        features=features,
        arrays=places,
        words=words,
        columns=list(columns),
        failures=failures,
        num_clips=len(found),
        num_kept=kept,
    )


def _write_table(
    path: Path, columns: Mapping[str, Sequence[Any]], line: Callable[[Sequence[Any]], str]
) -> None:
    rows = zip(*columns.values(), strict=True)
    lines = [line(list(columns)), *(line(["" if cell is None else cell for cell in row]) for row in rows)]
    with complete_file(path, overwrite=True) as stream:
        stream.write("".join(lines).encode("utf-8", "surrogateescape"))


def _plain_line(cells: Sequence[Any]) -> str:
    """Return a line of csv as it is read again, for programs and not for spreadsheets."""
    text = io.StringIO()
    # With these ends both of their characters are quoted; Python would take a lone carriage return as it is.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _arrays(
    found: Sequence[ClipFeatures], ids: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, str], str | None]:
    """Return all arrays, and where in them each modality and the words lie."""
    arrays: dict[str, np.ndarray] = {}
    places: dict[str, str] = {}
    for modality, tier in found[0].tiers.items():
        present = [
            (name, one.steps[modality]) for name, one in zip(ids, found, strict=True) if modality in one.steps
        ]
        if not present:
            continue
        arrays |= {
            modality: np.concatenate([steps.values for _, steps in present]),
            f"{modality}_seconds": np.concatenate([steps.seconds for _, steps in present]),
            f"{modality}_offsets": _offsets([len(steps.seconds) for _, steps in present]),
            f"{modality}_ids": np.array([name for name, _ in present]),
            f"{modality}_extractor": np.array(tier),
        }
        places[modality] = f":{modality}@{modality}_offsets@@{modality}_seconds#{modality}_ids"
    words = [word for one in found for word in one.words]
    if not words:
        return arrays, places, None
    arrays |= {
        "words": np.array([word.text for word in words]),
        "word_seconds": np.array([(word.begin + word.end) / 2 for word in words]),
        "word_offsets": _offsets([len(one.words) for one in found]),
        "word_ids": np.array(ids),
    }
    return arrays, places, ":words@word_offsets@@word_seconds#word_ids"


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    return np.array([0, *accumulate(lengths)], np.int64)
