"""Which part of its transcript each step of a text modality stands for.

A store keeps it beside the steps, as ``<modality>.spans.npy``: (total_steps, 2) int32, the first character of a
step and the one after its last, counted in the sample's transcript as the store keeps it. Steps that stand for no
character (the marks around a sentence, say) have an empty span. The spans follow from transcript and tier, so they
are not part of the store's content hash, but have a hash of their own.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32, Int64

from qinn.errors import DataError

__all__ = ["Spans", "checked_spans", "words_of"]

Spans = Int32[np.ndarray, "step 2"]
"""First character of each step, and the one after its last."""


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

    Examples:
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


def words_of(text: str, spans: Spans, where: str) -> list[str]:
    """Return what each step stands for.

    A token that is part of a word gives that part; marks around a sentence give empty strings.

    Args:
        text: The transcript of a sample.
        spans: Characters of it.
        where: Whose spans they are, and in what, for the message.

    Raises:
        DataError: If the spans do not fit the transcript: one of the two was changed.

    Examples:
        >>> words_of("so good", np.array([[0, 0], [0, 2], [3, 7]], np.int32), "sample `a`")
        ['', 'so', 'good']
    """
    if spans.size and not 0 <= spans.min() <= spans.max() <= len(text):
        raise DataError(f"The spans point beyond the transcript of {where}; import the data again.")
    return [text[start:stop] for start, stop in spans.tolist()]
