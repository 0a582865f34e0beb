"""An estimator as a folder that appears complete or not at all, without a pickle."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from qinn.atomic_writing import complete_folder, flush
from qinn.data.stores.manifest import task_from_json, task_to_json
from qinn.destinations import check_folder
from qinn.digests import bytes_digest, is_intact, sealed
from qinn.errors import ArgumentError, CheckpointError, OutputError
from qinn.escaping import json_text
from qinn.evaluation.conformal import HeldOut
from qinn.experiment.provenance import versions
from qinn.explain.memory_axis import MemoryAxis
from qinn.face.arrays import Kind
from qinn.face.fitting import Fitted
from qinn.opening import check_regular, read_small
from qinn.task import Task

FORMAT = "qinn-estimator"
VERSION = 1
DOCUMENT = "estimator.json"
WEIGHTS = "weights.safetensors"
_MODEL, _AXIS = "model.", "axis."
_HELD_OUT = "held_out.errors"
"""Tensor of errors on samples held out; estimators of earlier versions have none."""


@dataclass(frozen=True, eq=False)
class Saved:
    """What a folder holds of an estimator.

    Attributes:
        parameters: Parameters of the constructor, with a seed as ``random_state``.
        task: What it predicts.
        classes: Its classes; None for scores.
        dims: Modality → number of features.
        kinds: Modality → kind.
        feature_names: Names of a data frame's columns.
        history: One row per epoch.
        best_epoch: Whose weights it has.
        weights: Its weights.
        axis: The axis of its memory.
        held_out: Its errors on samples held out.
        held_out_labels: Those of each of several labels.
    """

    parameters: dict[str, Any]
    task: Task
    classes: npt.NDArray[Any] | None
    dims: dict[str, int]
    kinds: dict[str, Kind]
    feature_names: npt.NDArray[Any] | None
    history: tuple[Mapping[str, float], ...]
    best_epoch: int
    weights: dict[str, Tensor]
    axis: MemoryAxis | None
    held_out: HeldOut | None
    held_out_labels: Mapping[str, HeldOut]


def is_estimator(path: Path) -> bool:
    """Tell whether a folder looks like one of a saved estimator.

    Args:
        path: The folder.
    """
    return (path / DOCUMENT).is_file()


def write_estimator(
    path: Path,
    fitted: Fitted,
    *,
    parameters: Mapping[str, Any],
    classes: npt.NDArray[Any] | None,
    feature_names: npt.NDArray[Any] | None,
    overwrite: bool,
) -> Path:
    """Write a fitted estimator (see `qinn.Estimator.save`).

    Args:
        path: The folder to be.
        fitted: What came of its fit.
        parameters: Parameters of its constructor.
        classes: Its classes.
        feature_names: Names of a data frame's columns.
        overwrite: Replace an estimator that is there.

    Raises:
        ArgumentError: If a parameter or a class is nothing that JSON can hold.
        OutputError: If the place is taken or cannot be written.
    """
    target = check_folder(path, writes="beside")
    _check_place(target, overwrite=overwrite)
    tensors = {f"{_MODEL}{name}": value for name, value in fitted.model.state_dict().items()}
    axis = fitted.axis
    if axis is not None:
        tensors |= {f"{_AXIS}{name}": getattr(axis, name) for name in ("low", "high", "contrast")}
    held_out = fitted.held_out
    if held_out is not None:
        tensors[_HELD_OUT] = torch.as_tensor(held_out.errors)
    tensors |= {
        f"{_HELD_OUT}:{index}": torch.as_tensor(fitted.held_out_labels[name].errors)
        for index, name in enumerate(fitted.task.names)
        if name in fitted.held_out_labels
    }
    weights = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
    document = {
        "format": FORMAT,
        "version": VERSION,
        "parameters": {name: _jsonable(name, value) for name, value in parameters.items()},
        "task": task_to_json(fitted.task),
        "classes": None
        if classes is None
        else {"type": _type_of(classes), "values": _jsonable("y", classes.tolist())},
        "modalities": {name: {"dim": dim, "kind": fitted.kinds[name]} for name, dim in fitted.dims.items()},
        "feature_names": None if feature_names is None else [str(name) for name in feature_names],
        "history": [
            {name: value if math.isfinite(value) else None for name, value in row.items()}
            for row in fitted.history
        ],
        "best_epoch": fitted.best_epoch,
        "axis_states": None if axis is None else axis.num_states,
        "held_out_groups": None if held_out is None else held_out.num_groups,
        "versions": versions(),
        "files": {WEIGHTS: bytes_digest(weights)},
    }
    text = json_text(sealed(document)) + "\n"
    try:
        with complete_folder(target, overwrite=overwrite) as folder:
            for name, content in ((WEIGHTS, weights), (DOCUMENT, text.encode())):
                with (folder / name).open("xb") as stream:
                    stream.write(content)
                    flush(stream)
    except OSError as error:
        raise OutputError(
            f"Cannot write `{target}`: {error.strerror or error}; free space or choose a folder that can be written."
        ) from error
    return target


def _check_place(target: Path, *, overwrite: bool) -> None:
    """Refuse a place that holds anything but an estimator which may be replaced."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not is_estimator(target) or {entry.name for entry in target.iterdir()} - {DOCUMENT, WEIGHTS}:
        raise OutputError(f"`{target}` holds something else than an estimator; choose another place.")
    if not overwrite:
        raise OutputError(
            f"`{target}` holds an estimator already; choose another place or pass `overwrite=True`."
        )


def read_estimator(path: Path) -> Saved:
    """Read what `write_estimator` wrote.

    Args:
        path: The folder.

    Raises:
        CheckpointError: If it is missing, damaged or of another version.
    """
    place = path / DOCUMENT
    remedy = "save the estimator again"
    try:
        content = json.loads(read_small(place).decode("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"`{path}` holds no estimator; give the folder that `Estimator.save` wrote."
        ) from None
    except OSError as error:
        raise CheckpointError(f"`{place}` cannot be read ({error.strerror or error}); {remedy}.") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"`{place}` is damaged ({error}); {remedy}.") from None
    if not isinstance(content, dict) or cast("dict[str, Any]", content).get("format") != FORMAT:
        raise CheckpointError(f"`{place}` does not describe an estimator; check the path.")
    document = cast("dict[str, Any]", content)
    if document.get("version") != VERSION:
        raise CheckpointError(
            f"`{place}` has format version {document.get('version')}, but this qinn reads version {VERSION}; use the "
            f"qinn version that wrote it ({_writer(document)})."
        )
    if not is_intact(document):
        raise CheckpointError(
            f"`{place}` is not what was written: its content does not have the hash that it states; {remedy}."
        )
    try:
        return _saved(document, _tensors(path / WEIGHTS, document["files"][WEIGHTS], remedy))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"`{place}` is damaged ({error!r}); {remedy}.") from error


def _saved(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Saved:
    axis = None
    if document["axis_states"] is not None:
        axis = MemoryAxis(
            **{name: tensors[f"{_AXIS}{name}"] for name in ("low", "high", "contrast")},
            num_states=document["axis_states"],
        )
    errors = tensors.get(_HELD_OUT)
    held_out = None if errors is None else HeldOut(errors.numpy(), num_groups=document["held_out_groups"])
    task = task_from_json(document["task"])
    held_out_labels = {
        name: HeldOut(tensors[f"{_HELD_OUT}:{index}"].numpy())
        for index, name in enumerate(task.names)
        if f"{_HELD_OUT}:{index}" in tensors
    }
    classes, names, modalities = document["classes"], document["feature_names"], document["modalities"]
    return Saved(
        parameters={name: _parameter(value) for name, value in document["parameters"].items()},
        task=task,
        classes=None if classes is None else np.array(classes["values"], dtype=classes["type"]),
        dims={name: int(one["dim"]) for name, one in modalities.items()},
        kinds={name: one["kind"] for name, one in modalities.items()},
        feature_names=None if names is None else np.array(names, dtype=object),
        history=tuple(
            {name: math.nan if value is None else value for name, value in row.items()}
            for row in document["history"]
        ),
        best_epoch=document["best_epoch"],
        weights={name.removeprefix(_MODEL): one for name, one in tensors.items() if name.startswith(_MODEL)},
        axis=axis,
        held_out=held_out,
        held_out_labels=held_out_labels,
    )


def _tensors(path: Path, digest: str, remedy: str) -> dict[str, Tensor]:
    try:
        check_regular(path)
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"`{path}` cannot be read ({error.strerror or error}); {remedy}.") from None
    if (found := bytes_digest(content)) != digest:
        raise CheckpointError(
            f"`{path}` is not the file that was written with this estimator: its hash is {found[:12]}…, not "
            f"{digest[:12]}…; put the right file back or {remedy}."
        )
    try:
        return load(content)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"`{path}` cannot be read ({error}); {remedy}.") from error


def _writer(document: Mapping[str, Any]) -> Any:
    stated = document.get("versions")
    return cast("dict[str, Any]", stated).get("qinn") if isinstance(stated, dict) else None


def _jsonable(name: str, value: Any) -> Any:
    """Return a parameter as JSON holds it."""
    if isinstance(value, np.generic):
        value = cast("Any", value).item()
    if isinstance(value, np.ndarray):
        value = cast("Any", value).tolist()
    if isinstance(value, Mapping):
        given = cast("Mapping[Any, Any]", value)
        return {str(key): _jsonable(name, one) for key, one in given.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(name, one) for one in cast("list[Any]", value)]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ArgumentError(
        f"Argument `{name}` must hold numbers, strings or truth values where an estimator is saved, but holds "
        f"{value!r}."
    )


def _parameter(value: Any) -> Any:
    return tuple(cast("list[Any]", value)) if isinstance(value, list) else value


def _type_of(classes: npt.NDArray[Any]) -> str:
    """Return the type of classes as numpy spells it; that of objects, which are strings, is ``O``."""
    return classes.dtype.str if classes.dtype.kind != "O" else "O"
