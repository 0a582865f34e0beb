"""What readers make of the names in their sources: splits, groups, videos, and the source itself in messages."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qinn.errors import ConfigError, DataError

__all__ = ["OF_VIDEOS", "groups_of", "naming", "split_name", "video_of"]

OF_VIDEOS = "Finds the video in other ids, by its first parenthesis"
"""What the pattern of `groups_of` is for, where ids name videos."""

_SPLITS = {
    "train": ("train", "training", "trn"),
    "valid": ("valid", "validation", "val", "dev", "development"),
    "test": ("test", "testing", "tst"),
}


def split_name(value: Any, place: str) -> str:
    """Return train, valid, test or empty for what a source calls its splits.

    Raises:
        DataError: If the name is none that is known.

    Examples:
        >>> split_name("Dev", "line 3")
        'valid'
    """
    text = str(value).strip().lower()
    for split, names in _SPLITS.items():
        if text in names:
            return split
    if text:
        raise DataError(
            f"{place} has the split `{str(value)[:60]}`, which is unknown; use "
            "train, valid (val, dev), test or nothing."
        )
    return ""


def groups_of(ids: Sequence[str], pattern: str | None = None) -> list[str]:
    """Find each sample's group by a regular expression on its id.

    Args:
        ids: Sample ids.
        pattern: Its first parenthesis is the group; found from the start of the id. None for the video, as the
            field's files write it.

    Raises:
        ConfigError: If the pattern is no regular expression or has no parenthesis.
        DataError: If it does not match an id.

    Examples:
        >>> groups_of(["video_1_07", "video_2_11"], r"(video_\\d+)_")
        ['video_1', 'video_2']
    """
    if pattern is None:
        return [video_of(name) for name in ids]
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"Option `group_pattern` `{pattern}` is no regular expression: {error}.") from error
    if not compiled.groups:
        raise ConfigError(
            f"Option `group_pattern` `{pattern}` must mark the group by a parenthesis, as in `(.+)_`."
        )
    groups = []
    for name in ids:
        match = compiled.match(name)
        if match is None or not match[1]:
            raise DataError(
                f"Sample `{name}` does not match the group pattern `{pattern}`; correct the pattern."
            )
        groups.append(match[1])
    return groups


def video_of(name: str) -> str:
    """Return the video in a segment's name, as the field's files write it; empty if it names none.

    Examples:
        >>> video_of("03bSnISJMiM$_$11"), video_of("03bSnISJMiM[11]"), video_of("sample 7")
        ('03bSnISJMiM', '03bSnISJMiM', '')
    """
    for mark in ("$_$", "["):
        if mark in name:
            return name.split(mark)[0]
    return ""


@contextmanager
def naming(source: Path) -> Iterator[None]:
    """Let every refusal name the source."""
    try:
        yield
    except DataError as error:
        if source.name in str(error):
            raise
        raise DataError(f"`{source}`: {error}") from error
