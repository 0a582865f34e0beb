"""How a store was imported, so that new samples can be imported in the same way."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from qinn.stated_options import Typed

__all__ = ["RECIPE", "Recipe", "recipe_of"]

RECIPE = "recipe"
"""Key under which a manifest keeps it; stores of earlier versions, and those that no import made, have none."""


@dataclass(frozen=True)
class Recipe:
    """The options that an import was given.

    Attributes:
        layout: The layout.
        options: Options of the layout and of its text encoder by the names of the command's, with underscores; those
            alone that are not as by default. Of files it names no folder but that of a file per sample.
    """

    layout: str
    options: Mapping[str, Typed] = field(default_factory=dict[str, Typed])

    def to_json(self) -> dict[str, object]:
        """Return it as a manifest keeps it."""
        return asdict(self)


def recipe_of(manifest: Mapping[str, object]) -> Recipe | None:
    """Return the recipe in a manifest; None where there is none that can be understood.

    Examples:
        >>> recipe_of({"recipe": {"layout": "mmsa", "options": {"scale": "mosi"}}}).options["scale"]
        'mosi'
    """
    kept: Any = manifest.get(RECIPE)
    if not isinstance(kept, Mapping) or not isinstance(kept.get("layout"), str):
        return None
    options = kept.get("options")
    return Recipe(kept["layout"], dict(options)) if isinstance(options, Mapping) else None
