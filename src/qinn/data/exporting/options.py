"""How a store is converted, and what is said about it afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qinn.errors import ConfigError

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
        format: A key of `FORMATS`; None to go by the target's suffix.
        overwrite: Replace an existing file of the target's name.
        aligned: mmsa: write one length for all modalities, without ``audio_lengths`` and ``vision_lengths``.
        max_lengths: mmsa: modality → most steps to keep, from the first; others are padded to the longest.

    Raises:
        ConfigError: If the format is unknown or a length below 1.

    Examples:
        >>> ConversionOptions(format="mmsa", max_lengths={"audio": 500}).aligned
        False
    """

    format: str | None = None
    overwrite: bool = False
    aligned: bool = False
    max_lengths: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise ConfigError(f"Option `format` must be {', '.join(FORMATS)}, but it is `{self.format}`.")
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
