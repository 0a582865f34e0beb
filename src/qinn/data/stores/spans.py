"""Which part of its transcript each step of a text modality stands for.

A store keeps it beside the steps, as ``<modality>.spans.npy``: (total_steps, 2) int32, the first character of a
step and the one after its last, counted in the sample's transcript as the store keeps it. Steps that stand for no
character (the marks around a sentence, say) have an empty span. The spans follow from transcript and tier, so they
are not part of the store's content hash, but have a hash of their own.
"""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int32, Int64

from qinn.errors import DataError
from qinn.placement import flush

__all__ = ["SpanWriter", "Spans", "checked_spans", "spans_digest", "words_of"]

Spans = Int32[np.ndarray, "step 2"]
"""First character of each step, and the one after its last."""

_AT_ONCE = 65536


def checked_spans(
    ids: Sequence[str],
    modality: str,
    spans: Sequence[np.ndarray],
    steps: Int64[np.ndarray, "n"],
    texts: Sequence[str],
) -> Spans:
    """Return the spans of many samples after each other, known to fit their steps and transcripts.

    Args:
        ids: Identifiers of the samples.
        modality: The modality, for messages.
        spans: One array (steps, 2) of whole numbers per sample.
        steps: Number of steps of each sample.
        texts: Transcript of each sample.

    Raises:
        DataError: If a span lies outside its transcript, or a sample has more or fewer spans than steps.

    Example:
        >>> checked_spans(["a"], "text", [np.array([[0, 4], [5, 9]])], np.array([2]), ["good film"]).tolist()
        [[0, 4], [5, 9]]
    """
    if len(spans) != len(ids):
        raise DataError(
            f"Modality `{modality}` must have spans for each of {len(ids)} samples, not for {len(spans)}."
        )
    for name, given, count, text in zip(ids, spans, steps, texts, strict=True):
        if given.shape != (count, 2) or given.dtype.kind not in "iu":
            raise DataError(
                f"Sample `{name}` must have {count} spans of two whole numbers in `{modality}`, but has shape "
                f"{given.shape} and dtype {given.dtype}."
            )
        if given.size and (given.min() < 0 or given.max() > len(text) or (given[:, 0] > given[:, 1]).any()):
            raise DataError(
                f"Sample `{name}` has spans in `{modality}` that lie outside its transcript of {len(text)} characters."
            )
    return np.concatenate([np.zeros((0, 2), np.int32), *(one.astype(np.int32) for one in spans)])


def words_of(text: str, spans: Spans) -> list[str]:
    """Return what each step stands for.

    Example:
        >>> words_of("so good", np.array([[0, 0], [0, 2], [3, 7]], np.int32))
        ['', 'so', 'good']
    """
    return [text[start:stop] for start, stop in spans.tolist()]


def spans_digest(spans: Spans) -> str:
    """Return the SHA-256 of the little-endian values, read a part at a time."""
    digest = hashlib.sha256()
    for start in range(0, len(spans), _AT_ONCE):
        digest.update(np.ascontiguousarray(spans[start : start + _AT_ONCE], dtype="<i4").tobytes())
    return digest.hexdigest()


class SpanWriter:
    """Write the spans of one modality as they come.

    Args:
        path: The ``.npy`` file to be.
    """

    def __init__(self, path: Path) -> None:
        self._stream: BinaryIO = path.open("w+b")
        self._digest = hashlib.sha256()
        self._count = 0
        self._stream.write(_header(0))

    def write(self, spans: Spans) -> None:
        """Append spans."""
        data = spans.astype("<i4", copy=False).tobytes()
        self._stream.write(data)
        self._digest.update(data)
        self._count += len(spans)

    @property
    def count(self) -> int:
        """Number of spans so far."""
        return self._count

    def complete(self) -> str:
        """Write the header and everything to the disk, and return the digest of the values."""
        self._stream.seek(0)
        self._stream.write(_header(self._count))
        flush(self._stream)
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _header(count: int) -> bytes:
    """Header of an int32 `.npy` file; numpy pads it so that its length does not depend on `count`."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<i4", "fortran_order": False, "shape": (count, 2)}
    )
    return buffer.getvalue()
