"""Token ids that a file brings along: are they a named tokenizer's, and where do the tokens stand in the text."""

from collections.abc import Sequence

import numpy as np

from qinn.data.importing.text_account import CountsTokens, TextAccount
from qinn.data.importing.transcripts import Encoder, TextOptions, Tokenizer, spans_of_texts
from qinn.data.stores.spans import Spans
from qinn.errors import ConfigError, DataError

__all__ = ["TokenAligner"]


class TokenAligner:
    """Compares a file's token ids with those that a tokenizer makes of the same transcripts.

    A file's ids may have been cut at another length; then what precedes the last token is compared.

    Args:
        encoder: The encoder whose tokenizer is said to have made the ids.
        lowercase: Whether the transcripts were tokenised in lower case.

    Raises:
        ConfigError: If the encoder does not say which tokens it sees.
    """

    def __init__(self, encoder: Encoder, *, lowercase: bool) -> None:
        if not isinstance(encoder, Tokenizer):
            raise ConfigError(f"Text encoder `{encoder.tier}` has no token ids; name one that has.")
        self._encoder = encoder
        self._tokenizer: Tokenizer = encoder
        self._options = TextOptions(unit="ids", lowercase=lowercase)
        self._account = (
            TextAccount(encoder, reads="the file holds") if isinstance(encoder, CountsTokens) else None
        )
        self._compared = 0
        self._equal = 0

    def check(
        self, where: str, texts: Sequence[str], ids: Sequence[np.ndarray], samples: Sequence[str]
    ) -> None:
        """Refuse token ids that another tokenizer made.

        Args:
            where: File and split, for messages.
            texts: Transcripts; samples without one are not compared.
            ids: Token ids of each.
            samples: Their names.

        Raises:
            DataError: If ids are beyond the vocabulary, or those of most transcripts are other ones.
        """
        size, highest = (
            self._tokenizer.vocabulary_size,
            max((int(one.max(initial=0)) for one in ids), default=0),
        )
        if highest >= size:
            raise DataError(
                f"{where} has the token id {highest}, but `{self._encoder.tier}` has {size} tokens; name the "
                "encoder whose tokenizer made the ids."
            )
        filled = [row for row, text in enumerate(texts) if text.strip()]
        equal = [
            spans is not None
            for spans in self._matched([texts[row] for row in filled], [ids[row] for row in filled])
        ]
        if filled and sum(equal) < len(equal) / 2:
            raise DataError(
                f"{where} has token ids that `{self._encoder.tier}` does not make of the same texts, in "
                f"{len(equal) - sum(equal)} of {len(equal)} samples; name the encoder whose tokenizer made them."
            )
        self._count(
            [row for row, is_equal in zip(filled, equal, strict=True) if is_equal], texts, ids, samples
        )
        self._compared += len(equal)
        self._equal += sum(equal)

    def _count(
        self, rows: Sequence[int], texts: Sequence[str], ids: Sequence[np.ndarray], samples: Sequence[str]
    ) -> None:
        """Count what the file's length cut of transcripts, and what the tokenizer does not know of them."""
        if self._account is None or not rows or not isinstance(self._encoder, CountsTokens):
            return
        cased = [texts[row].lower() if self._options.lowercase else texts[row] for row in rows]
        counts = [
            # The tokenizer's own marks are among the ids, and not counted.
            (total, min(total, max(0, len(ids[row]) - int(np.sum(marks)))), unknown)
            for row, (total, _, unknown), (_, _, marks) in zip(
                rows, self._encoder.count_tokens(cased), self._tokenizer.tokenize(cased), strict=True
            )
        ]
        self._account.add_counts(counts, [samples[row] for row in rows])

    def notes(self) -> list[str]:
        """Return what was found."""
        if not self._compared:
            return ["token ids could not be compared with transcripts, of which there are none"]
        return [
            f"token ids of {self._equal} of {self._compared} transcripts are those of `{self._encoder.tier}`; "
            "only their tokens are aligned with words",
            *(self._account.notes() if self._account is not None else ()),
        ]

    def spans(self, texts: Sequence[str], ids: Sequence[np.ndarray]) -> list[Spans]:
        """Return the characters that each token stands for; none where ids and transcript do not agree."""
        return [
            np.zeros((len(one), 2), np.int32) if spans is None else spans
            for one, spans in zip(ids, self._matched(texts, ids), strict=True)
        ]

    def _matched(self, texts: Sequence[str], ids: Sequence[np.ndarray]) -> list[Spans | None]:
        spans = spans_of_texts(self._encoder, texts, self._options)
        assert spans is not None  # a tokenizer says where its tokens stand
        cased = [text.lower() if self._options.lowercase else text for text in texts]
        matched: list[Spans | None] = []
        for given, (made, _, _), places in zip(ids, self._tokenizer.tokenize(cased), spans, strict=True):
            cut = len(given) - 1 if len(given) < len(made) else len(given)
            same = bool(len(places)) and len(given) <= len(made) and np.array_equal(given[:cut], made[:cut])
            found = None
            if same:
                found = np.zeros((len(given), 2), np.int32)
                found[:cut] = places[:cut]
            matched.append(found)
        return matched
