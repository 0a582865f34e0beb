"""A finished run as a folder to give away: what predicts, and nothing of single samples or of this machine."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import yaml

from qinn.atomic_writing import complete_folder, flush
from qinn.destinations import check_folder
from qinn.digests import file_digest, sealed
from qinn.errors import CheckpointError, OutputError
from qinn.escaping import json_text
from qinn.evaluation.intervals import Interval, bootstrap_intervals
from qinn.experiment.prediction import load_models
from qinn.results.as_json import document
from qinn.results.calibration import FILE as CALIBRATION
from qinn.results.calibration import calibration_of, identity_of, record_of
from qinn.results.files import digests_of
from qinn.results.folder import RunFolder, runs_of
from qinn.results.model_card import ModelCard
from qinn.results.predictions import mean_of_seeds, read_predictions
from qinn.results.recipe import read_recipe
from qinn.results.reference import read_reference
from qinn.results.summary import PUBLISHED, UNCHECKED, RunSummary

CARD = "README.md"
_LEVEL = 0.95
_FOLDERS = re.compile(r"(?<![^=:])(?:~|\.{1,2})?/(?:[^/=:]+/)*(?=[^/]+)")
"""The folders before the last part of a path, alone or behind ``NAME=`` or ``folder:``."""


def publish_run(
    folder: Path | str,
    target: Path | str,
    *,
    license: str = "",
    data_terms: str = "",
    overwrite: bool = False,
) -> Path:
    """Write the published form of a run, or of a model's runs of all seeds.

    Args:
        folder: A complete run, or the folder of a model in a comparison.
        target: The folder to be.
        license: Of the weights, for the card.
        data_terms: What the data are, who is in them, and under which terms, for the card.
        overwrite: Replace a published model that is there.

    Returns:
        The folder: ``README.md`` (the model card), ``calibration.json``, and, of each seed in a folder of its own where
        there are several, ``run.json``, ``config.yaml``, ``metrics.json``, weights in safetensors, and where there are
        some ``recipe.json``, ``reference.json`` and ``transformers.json``.

    Raises:
        CheckpointError: If the run is not complete, a file is not what was written, or it is a published one already,
            or it is replaced meanwhile.
        OutputError: If the place is taken or cannot be written.
    """
    runs = runs_of(folder)
    digests = [run.digest() for run in runs]
    place = check_folder(target, inputs=[folder], writes="beside")
    _check_place(place, target, overwrite=overwrite)
    for run in runs:
        if run.summary().status == PUBLISHED:
            raise CheckpointError(f"`{run.path}` is a published model already; copy the folder.")
        if not run.check():
            raise CheckpointError(f"`{run.path}` cannot be published: {UNCHECKED[0].lower()}{UNCHECKED[1:]}")
    task = load_models(runs)[0].task
    calibration = calibration_of(Path(folder), runs, task)
    card = _card(runs, "" if calibration is None else calibration.source, license, data_terms)
    try:
        with complete_folder(place, overwrite=overwrite) as made:
            copies = [made if len(runs) == 1 else made / run.path.name for run in runs]
            for run, copy in zip(runs, copies, strict=True):
                _write_run(run, copy)
            if calibration is not None:
                files = identity_of([RunFolder(copy) for copy in copies])
                _write(
                    made / CALIBRATION,
                    json_text(sealed(document(record_of(calibration, task, files)))).encode(),
                )
            _write(made / CARD, card.to_markdown().encode())
            load_models(runs_of(made))
            for run, digest in zip(runs, digests, strict=True):
                run.check_unreplaced(digest)
    except OSError as error:
        raise OutputError(
            f"Cannot write `{target}`: {error.strerror or error}; free space or choose a folder that can be written."
        ) from error
    return place


def _check_place(place: Path, target: Path | str, *, overwrite: bool) -> None:
    """Refuse a place that holds anything but a published model which may be replaced."""
    if not place.exists() or not any(place.iterdir()):
        return
    found = runs_of(place)
    try:
        is_own = (place / CARD).is_file() and all(run.summary().status == PUBLISHED for run in found)
    except CheckpointError:
        is_own = False
    if not is_own:
        raise OutputError(f"`{target}` holds something else than a published model; choose another place.")
    if not overwrite:
        raise OutputError(
            f"`{target}` holds a published model already; choose another place or replace it with `--overwrite`."
        )


def _card(runs: Sequence[RunFolder], calibration: str, license: str, data_terms: str) -> ModelCard:
    summaries = [run.summary() for run in runs]
    first = summaries[0]
    metrics, num_test = _metrics(runs, first)
    recipe = read_recipe(runs[0], Path())
    return ModelCard(
        runs=summaries,
        metrics=metrics,
        level=_LEVEL,
        num_test=num_test,
        calibration=calibration,
        license=license,
        data_terms=data_terms,
        has_recipe=recipe is not None,
        vocabularies={}
        if recipe is None
        else {name: len(words) for name, words in recipe.vocabularies.items()},
    )


def _metrics(runs: Sequence[RunFolder], first: RunSummary) -> tuple[Mapping[str, Interval], int]:
    """Return the metrics of the mean over seeds on the test samples, and how many these are."""
    found = mean_of_seeds([read_predictions(run, first.task) for run in runs])
    if found is None:
        raise CheckpointError(
            f"The runs of `{runs[0].path.parent}` did not all predict the same test samples, so their mean has no "
            "metrics; publish one of them."
        )
    if len(runs) == 1:
        return runs[0].metrics().test, len(found.ids)
    measured = bootstrap_intervals(first.task, found.labels, found.outputs, groups=found.groups, level=_LEVEL)
    return measured, len(found.ids)


def _write_run(run: RunFolder, copy: Path) -> None:
    """Write what of a run predicts, with the hashes of what is written."""
    summary, made = run.summary(), RunFolder(copy)
    _write(made.config_file, _config_text(run, summary).encode())
    _write(made.metrics_file, run.content(run.metrics_file))
    if run.holds(run.architectures_file):
        _write(made.architectures_file, run.content(run.architectures_file))
    if run.holds(run.recipe_file):
        recipe = _placeless(cast("object", json.loads(run.content(run.recipe_file))))
        _write(made.recipe_file, json_text(recipe).encode())
    if (reference := read_reference(run)) is not None:
        _write(made.reference_file, json_text(document(reference)).encode())
    for index, fold in enumerate(summary.folds):
        source, weights = (one.fold(index) / "weights.safetensors" for one in (run, made))
        weights.parent.mkdir(parents=True)
        shutil.copyfile(source, weights)
        if file_digest(weights) != (summary.files or {})[source.relative_to(run.path).as_posix()]:
            raise CheckpointError(
                f"The weights of fold `{fold.name}` changed while they were copied; repeat the command."
            )
    files = digests_of(copy, sorted(path for path in copy.rglob("*") if path.is_file()))
    published = replace(summary, status=PUBLISHED, command="", files=files)
    _write(made.summary_file, json_text(sealed(document(published))).encode())


def _config_text(run: RunFolder, summary: RunSummary) -> str:
    content = cast("dict[str, Any]", yaml.safe_load(run.config_text()))
    content["data"]["store"] = summary.data.name
    return yaml.safe_dump(_placeless(content), sort_keys=False, allow_unicode=True)


def _placeless(value: object) -> object:
    """Return a document whose paths have lost their folders.

    Examples:
        >>> _placeless({"model": "folder:/home/me/mpnet", "feature": ["audio=/data/{id}.npy", "a/b"], "rate": 0.5})
        {'model': 'folder:mpnet', 'feature': ['audio={id}.npy', 'a/b'], 'rate': 0.5}
    """
    if isinstance(value, Mapping):
        return {name: _placeless(one) for name, one in cast("Mapping[str, object]", value).items()}
    if isinstance(value, list):
        return [_placeless(one) for one in cast("list[object]", value)]
    return _FOLDERS.sub("", value) if isinstance(value, str) else value


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as stream:
        stream.write(content)
        flush(stream)
