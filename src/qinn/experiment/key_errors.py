"""What is wrong with a key of a configuration, in a sentence that names the nearest known one."""

import difflib
from collections.abc import Iterable
from typing import get_args

from pydantic import BaseModel, ValidationError

from qinn.experiment.plain_types import MISTAKEN, shortened

RENAMED = {
    "training": {
        "modality_missing": "absent_rate",
        "modality_missing_all": "absent_all",
        "accelerator": "device",
    },
    "models": {"missing": "absent_state"},
}
"""Keys of earlier versions, by section: what they are called now."""


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first mistake of a configuration in a sentence.

    Args:
        error: What pydantic found.
        model: The schema, which knows the keys.
    """
    errors = error.errors()
    # Of the alternatives of one key, the one of the right type says more than those of another.
    alternatives = [one for one in errors if one["loc"][:1] == errors[0]["loc"][:1]]
    first = next((one for one in alternatives if not one["type"].endswith("_type")), errors[0])
    where = ".".join(str(part) for part in first["loc"] if not _is_alternative(part))
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, first["loc"][:-1])
        return f"unknown key `{where}`{_hint(str(first['loc'][-1]), known)}; known keys are {sorted(known)}."
    if first["type"] == "missing":
        return f"key `{where}` must be given."
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    given = first.get("input")
    said = first["type"] == MISTAKEN or not isinstance(given, str | int | float | bool)
    shown = "" if said else f" (given: {shortened(given)})"
    return f"{f'key `{where}`: ' if where and first['type'] != 'value_error' else ''}{message}{shown}."


def _is_alternative(part: int | str) -> bool:
    """Tell whether a part of a location is no key, but pydantic's name for one of several possible types."""
    return isinstance(part, str) and ("[" in part or part.startswith("constrained-"))


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        inner = [one for one in (annotation, *get_args(annotation)) if isinstance(one, type)]
        models = [one for one in inner if issubclass(one, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)


def _hint(key: str, known: list[str]) -> str:
    now = {before: name for names in RENAMED.values() for before, name in names.items()}.get(key)
    return f" (it is called `{now}` now)" if now in known else nearest(key, known)


def nearest(key: str, known: Iterable[str]) -> str:
    """Return ``(did you mean `…`?)`` with the known key that is nearest to another, or nothing where none is near.

    Args:
        key: What was given.
        known: What could have been.
    """
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f" (did you mean `{close[0]}`?)" if close else ""
