"""Which video belongs to which split: the standard folds of MOSI, and lists that a user brings.

The CMU-MultimodalSDK publishes its standard folds as Python lists of video names
(``mmsdk/mmdatasdk/dataset/standard_datasets/CMU_MOSEI/cmu_mosei_std_folds.py``); such a file is read as it is
and never run.
"""

import ast
import json
from pathlib import Path
from typing import Any

from qinn.data.files.tables import TABLE_SUFFIXES, read_columns
from qinn.data.importing.intake import split_name
from qinn.errors import DataError
from qinn.file_kinds import other_kind
from qinn.opening import read_small_text

__all__ = ["STANDARD_FOLDS", "read_folds"]

MOST_BYTES = 16 * 2**20

_MOSI = {
    "train": """
        03bSnISJMiM 0h-zjBukYpk 1DmNV9C1hbY 1iG0909rllw 2WGyTLYerpo 2iD-tVS8NPw 5W7Z1C_fDaE 6Egk_28TtTM
        6_0THN4chvY 73jzhE8R1TQ 7JsX8y1ysxY 8OtFthrtaJM 8d-gEyoeBzc 8qrpnFRGt2A 9J25DZhivz8 9T9Hf74oK10
        9c67fiY0wGQ 9qR7uwkblbs Af8D0E4ZXaw BI97DNYfe5I BXuRRbG0Ugk Bfr499ggo-0 BioHAh1qJAQ BvYR0L6f2Ig
        Ci-AH39fi3Y Clx4VXItLTE Dg_0XKD0Mf4 G-xst2euQUc G6GlGvlkxAQ GWuJjcEuzt8 HEsqda8_d0Q I5y0__X72p0
        Iu2PFX3z_1s IumbAb8q2dM Jkswaaud0hk LSi-o-IrDMs MLal-t_vJPM Njd1F0vZSm4 Nzq88NnDkEk OQvJTdtJ2H4
        OtBXNcAL_lE Oz06ZWiO20M POKffnXeBds PZ-lDQFboO8 QN9ZIUWUXsY Qr1Ca94K55A Sqr0AcuoNnk TvyZBvOMOTc
        VCslbP0mgZI VbQk4H8hgr0 Vj1wYRQjB-o W8NXH0Djyww
    """,
    "valid": """
        WKA5OygbEKI X3j2zQgwYgE ZAIRrfG22O0 ZUXBRvtny7o _dI--eQ6qVU aiEXnCPZubE atnd_PF-Lbs bOL9jKpeJRs
        bvLlb-M3UXU c5xsKMxpXnc
    """,
    "test": """
        c7UH_rxdZv4 cM3Yna7AavY cW1FSBF59ik cXypl4FnoZo d3_k5Xpfmik d6hH302o4v8 dq3Nf_lMPnE etzxEpPuc6I
        f9O3YtZ2VfI f_pcplsH_V0 fvVhgmXxadc iiK8YX8oH1E jUzDDGyPkXU k5Y_838nuGo lXPQBPVc5Cw nbWiPyCm4g0
        nzpVDcQ0ywM ob23OKe5a9Q pLTX3ipuDJI phBUpBr1hSo rnaNMUZpvvg tIrG4oNLFzE tStelxIAHjw tmZoasNr4rU
        v0zCBqDeKcE vvZ4IcEtiZc vyB00TXsimI wMbj6ajWbic yDtzw_Y-7RU yvsjCA6Y5Fc zhpQhgha_KU
    """,
}

STANDARD_FOLDS: dict[str, dict[str, tuple[str, ...]]] = {
    "mosi": {split: tuple(videos.split()) for split, videos in _MOSI.items()}
}
"""Data set → split → videos, as the SDK publishes them; the names are facts, no data."""


def read_folds(source: str | Path) -> dict[str, str]:
    """Read which video belongs to which split.

    Args:
        source: The name of a data set of `STANDARD_FOLDS`; a table with the columns ``video`` and ``split``; a
            ``.json`` file of ``{"train": [video, …], …}``; or a ``.py`` file with lists called
            ``standard_train_fold`` …, ``train`` …, as of the SDK.

    Returns:
        Video → train, valid or test.

    Raises:
        DataError: If it is none of these or names no video, or a video is in two splits.

    Examples:
        >>> folds = read_folds("mosi")
        >>> len(folds), folds["03bSnISJMiM"]
        (93, 'train')
    """
    if str(source) in STANDARD_FOLDS:
        return {video: split for split, videos in STANDARD_FOLDS[str(source)].items() for video in videos}
    path = Path(source)
    if path.suffix.lower() in TABLE_SUFFIXES:
        table = read_columns(path)
        pairs = [
            (video, split_name(split, table.place(row)))
            for row, (video, split) in enumerate(zip(table.texts("video"), table.texts("split"), strict=True))
        ]
    elif path.suffix.lower() in (".json", ".py"):
        pairs = [
            (video, split)
            for name, videos in _lists(path).items()
            if (split := split_name(name.removeprefix("standard_").removesuffix("_fold"), f"`{path}`"))
            for video in videos
        ]
    else:
        raise DataError(
            f"`{path}` gives no splits: it must be {', '.join(STANDARD_FOLDS)}, a table with the columns video and "
            "split, or a .json or .py file with a list of videos for each split."
        )
    if not pairs:
        raise DataError(f"`{path}` names no video; leave out the option splits where there are none.")
    splits: dict[str, str] = {}
    for video, split in pairs:
        if splits.setdefault(video, split) != split:
            raise DataError(f"`{path}` has the video `{video}` in two splits: {splits[video]} and {split}.")
    return splits


def _lists(path: Path) -> dict[str, list[str]]:
    try:
        text = read_small_text(path, MOST_BYTES, encoding="utf-8-sig")
        values = json.loads(text) if path.suffix.lower() == ".json" else _assigned(text)
    except OSError as error:
        raise DataError(f"`{path}` can't be read: {error.strerror or error}.") from error
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        other = other_kind(path, ("text",))
        why = f": it is {other}" if other else f": it is no {path.suffix[1:]} file in UTF-8"
        raise DataError(f"`{path}` is damaged{why}.") from error
    found = isinstance(values, dict) and all(
        isinstance(videos, list | tuple) and all(isinstance(video, str) for video in videos)
        for videos in values.values()
    )
    if not found or not values:
        raise DataError(f"`{path}` must hold a list of video names for each split, and nothing else.")
    return values


def _assigned(text: str) -> dict[str, Any]:
    """Return the lists that a Python file assigns to names, without running it."""
    values: dict[str, Any] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            values[node.targets[0].id] = ast.literal_eval(node.value)
    return values
