"""How a run's data were imported: ``recipe.json``, by which new samples are read as those were."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import qinn
from qinn.data.stores.manifest import modalities_of
from qinn.data.stores.recipe import recipe_of
from qinn.data.stores.store import Store
from qinn.errors import CheckpointError, QinnError
from qinn.escaping import visible
from qinn.formats import check_format
from qinn.results.as_json import document as as_document
from qinn.results.documents import object_of, parsed
from qinn.results.files import json_of, write_json
from qinn.results.folder import RunFolder

FORMAT = "qinn-recipe"
VERSION = 1

Typed = str | bool | int | float | tuple[str, ...] | tuple[float, ...]
"""A value of an option as it is typed."""


@dataclass(frozen=True, kw_only=True)
class RecipeRecord:
    """Content of ``recipe.json``.

    Attributes:
        layout: Layout of the files.
        options: Options of the import that were not as by default, by the names of the command's; of files it names no
            folder but that of a file per sample.
        vocabularies: Modality → the words whose ids its first feature is.
        tiers: Modality → what made its features.
    """

    format: str = FORMAT
    version: int = VERSION
    qinn_version: str = qinn.__version__
    layout: str
    options: Mapping[str, Typed]
    tiers: Mapping[str, str]
    vocabularies: Mapping[str, tuple[str, ...]]


def record_of(store: Store) -> RecipeRecord | None:
    """Return how a store was imported; None where it does not say."""
    recipe = recipe_of(store.manifest)
    if recipe is None:
        return None
    return RecipeRecord(
        layout=recipe.layout,
        options={name: _typed(value) for name, value in recipe.options.items()},
        tiers=dict(store.tiers),
        vocabularies={
            name: one.vocabulary for name, one in modalities_of(store.manifest).items() if one.vocabulary
        },
    )


def _typed(value: Any) -> Typed:
    # Names of files that are not UTF-8 have characters that no JSON reader need take.
    if isinstance(value, list):
        return tuple(visible(one) if isinstance(one, str) else one for one in cast("list[Any]", value))
    return visible(value) if isinstance(value, str) else value


def write_recipe(run: RunFolder, store: Store) -> None:
    """Write how a run's store was imported, where it says so."""
    record = record_of(store)
    if record is not None:
        write_json(run.recipe_file, as_document(record))


def read_recipe(run: RunFolder, store: Path | str) -> RecipeRecord | None:
    """Return how a run's data were imported; None where nothing says so.

    Args:
        run: A complete run.
        store: Where its store lay, which is asked where the run is one of an earlier version.

    Raises:
        CheckpointError: If the file is missing, damaged or not of this run.
    """
    if run.holds(run.recipe_file):
        content, remedy = run.content(run.recipe_file), "the run folder is damaged, repeat the run"
        document = object_of(json_of(content, run.recipe_file, remedy=remedy)) or {}
        check_format(run.recipe_file, document, range(1, VERSION + 1), remedy=remedy, error=CheckpointError)
        return parsed(content, run.recipe_file, RecipeRecord, remedy=remedy)
    try:
        opened = Store.open(store)
    except QinnError:
        return None
    return record_of(opened) if opened.sha256 == run.summary().data.sha256 else None
