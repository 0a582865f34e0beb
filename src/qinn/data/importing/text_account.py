"""What an encoder did not take of the transcripts: what lies beyond its length, and tokens that it does not know."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

__all__ = ["CountsTokens", "TextAccount", "TokenCount"]

_MUCH_UNKNOWN = 0.05


TokenCount = tuple[int, int, int]
"""A transcript's tokens, without an encoder's own marks; those that it reads; those among all that it does not know."""


@runtime_checkable
class CountsTokens(Protocol):
    """An encoder that says what it does not take."""

    @property
    def tier(self) -> str:
        """Its name and version."""
        ...

    @property
    def counted(self) -> str:
        """What it divides transcripts into: tokens or words."""
        ...

    def count_tokens(self, texts: Sequence[str] | Sequence[Sequence[str]]) -> list[TokenCount]:
        """Return what becomes of transcripts, given as text or as words."""
        ...


class TextAccount:
    """Counts what an encoder does not take of transcripts, for the manifest.

    Args:
        encoder: The encoder.
        as_words: Whether each word has one vector, of zeros where it is cut off.
        reads: Whose length cuts transcripts, and how, for notes; the encoder's if empty.

    Examples:
        >>> class Short:
        ...     tier, counted = "short@1", "tokens"
        ...     def count_tokens(self, texts):
        ...         return [(len(text), min(len(text), 3), text.count("?")) for text in texts]
        >>> account = TextAccount(Short())
        >>> account.add(["abcd?", "ab", ""], ["x", "y", "z"])
        >>> for note in account.notes():
        ...     print(note[:74])
        1 of 3 transcripts are longer than the 3 tokens that `short@1` reads: 2 of
        14.29% of the tokens (1 of 7) are unknown to `short@1`, in 1 of 3 transcri
        1 of 3 transcripts are empty, as that of sample `z`
    """

    def __init__(self, encoder: CountsTokens, *, as_words: bool = False, reads: str = "") -> None:
        self._encoder = encoder
        self._reads = reads or f"`{encoder.tier}` reads"
        self._as_words = as_words
        self._num_texts = self._total = self._lost = self._unknown = self._limit = 0
        self._cut: list[tuple[int, str]] = []
        self._with_unknown: list[str] = []
        self._empty: list[str] = []

    def add(self, texts: Sequence[str] | Sequence[Sequence[str]], ids: Sequence[str]) -> None:
        """Take transcripts into account.

        Args:
            texts: As the encoder sees them.
            ids: Their samples.
        """
        self.add_counts(self._encoder.count_tokens(texts), ids)

    def add_counts(self, counts: Sequence[TokenCount], ids: Sequence[str]) -> None:
        """Take transcripts into account whose tokens are counted already.

        Args:
            counts: Of each.
            ids: Their samples.
        """
        for (total, kept, unknown), sample in zip(counts, ids, strict=True):
            self._num_texts += 1
            self._total += total
            self._unknown += unknown
            self._lost += total - kept
            if kept < total:
                self._cut.append((total, sample))
                self._limit = max(self._limit, kept)
            if unknown:
                self._with_unknown.append(sample)
            if not total:
                self._empty.append(sample)

    def notes(self) -> list[str]:
        """Say what was cut off and what is unknown."""
        tier, what, notes = self._encoder.tier, self._encoder.counted, []
        if self._cut:
            longest, sample = max(self._cut, key=lambda one: one[0])
            zeros = " (their words have zeros)" if self._as_words else ""
            notes.append(
                f"{len(self._cut)} of {self._num_texts} transcripts are longer than the {self._limit} {what} that "
                f"{self._reads}: {self._lost} of all {self._total} {what} were cut off{zeros}; the longest, of sample "
                f"`{sample}`, has {longest}"
            )
        if self._unknown:
            share = self._unknown / self._total
            remedy = ""
            if share >= _MUCH_UNKNOWN and what == "tokens":
                remedy = (
                    "; it was not made for such texts, so take an encoder that reads them (for Chinese, say, "
                    "`hub:bert-base-chinese`)"
                )
            notes.append(
                f"{share:.2%} of the {what} ({self._unknown} of {self._total}) are unknown to `{tier}`, in "
                f"{len(self._with_unknown)} of {self._num_texts} transcripts, as of sample "
                f"`{self._with_unknown[0]}`{remedy}"
            )
        if self._empty:
            notes.append(
                f"{len(self._empty)} of {self._num_texts} transcripts are empty, as that of sample `{self._empty[0]}`"
            )
        return notes
