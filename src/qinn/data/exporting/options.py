"""How a store is converted, and what is said about it afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qinn.errors import ConfigError
from qinn.stated_options import check_options, option

FORMATS: dict[str, tuple[str, ...]] = {
    "mmsa": (".pkl", ".pickle"),
    "parquet": (".parquet",),
    "npz": (".npz",),
}
"""Format → suffixes by which it is recognised."""


@dataclass(frozen=True)
class ConversionOptions:
    """How a store is to be converted.

    Attributes:
        overwrite: Replace an existing file of the target's name.
        aligned: Without ``audio_lengths`` and ``vision_lengths`` then.
        max_lengths: Modality → most steps to keep, from the first; others are padded to the longest.

    Raises:
        ConfigError: If the format is unknown or a length below 1.

    Examples:
        >>> ConversionOptions(format="mmsa", max_lengths={"audio": 500}).aligned
        False
    """

    format: str | None = option(None, "What to write (default: by the suffix)", choices=tuple(FORMATS))
    overwrite: bool = False
    aligned: bool = option(False, "mmsa: one length for all modalities")
    max_lengths: Mapping[str, int] = option(
        {},
        "mmsa: most steps to keep; repeat",
        name="max_length",
        form="repeated",
        metavar="MODALITY=STEPS",
        read=lambda typed: parse_lengths(typed),
    )

    def __post_init__(self) -> None:
        check_options(self)
        for name, length in self.max_lengths.items():
            if length < 1:
                raise ConfigError(f"Option `max_length` of `{name}` must be at least 1, but it is {length}.")


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion has written.

    Attributes:
        path: The file or folder.
        format: Its format.
        splits: Split → number of samples written.
        shapes: Name of an array → its shape in the file, over all splits where they are apart.
        notes: What the format cannot say, what was left out, and what was filled in.
    """

    path: Path
    format: str
    splits: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    notes: tuple[str, ...] = ()


def parse_lengths(items: Sequence[str]) -> dict[str, int]:
    """Read ``modality=steps`` as one types it.

    Args:
        items: What was typed.

    Raises:
        ConfigError: If a piece is no such pair.

    Examples:
        >>> parse_lengths(["audio=500"])
        {'audio': 500}
    """
    lengths = {}
    for item in items:
        name, _, number = item.partition("=")
        if not name or not (number.isascii() and number.isdecimal()) or len(number) > 9:
            raise ConfigError(f"Option `max_length` must be MODALITY=STEPS, but it is `{item}`.")
        lengths[name] = int(number)
    return lengths
