"""Columns of strings behave like tuples, and categories like the column that they stand for."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qinn.data.stores.identifiers import SeenIdentifiers
from qinn.data.stores.strings import Categories, Strings

words = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=12)


@settings(max_examples=40, deadline=None)
@given(first=words, second=words, data=st.data())
def test_strings_are_what_a_tuple_would_be(first: list[str], second: list[str], data: st.DataObject) -> None:
    strings, expected = Strings(first) + Strings(second), tuple(first + second)
    assert strings == expected
    assert strings == Strings(expected)
    assert (strings == "no list") is False
    assert list(strings) == list(expected)
    assert len(strings) == len(expected)
    assert strings[1:3] == expected[1:3]
    assert strings[::-1] == expected[::-1]
    assert all(word in strings for word in expected)
    assert "longer than any" not in strings
    assert set(Strings(first).shared_with(Strings(second))) == set(first) & set(second)
    if expected:
        chosen = data.draw(st.lists(st.integers(0, len(expected) - 1), min_size=1, max_size=20))
        rows = np.array(chosen)
        assert strings.pick(rows) == tuple(expected[row] for row in chosen)
        assert strings.take(rows) == tuple(expected[row] for row in chosen)
        assert strings.take(rows).take(np.array([0]))[0] == expected[chosen[0]]
        assert strings[-1] == expected[-1]
    with pytest.raises(IndexError):
        _ = strings[len(expected)]


def test_null_is_the_empty_string() -> None:
    assert tuple(Strings(pa.chunked_array([["a", None], ["b"]]))) == ("a", "", "b")
    assert tuple(Strings(pa.chunked_array([], pa.string()))) == ()
    assert repr(Strings(list("abcd"))) == "Strings(4 of them)"


def test_a_column_is_read_when_the_first_string_is_asked_for() -> None:
    reads = []

    def read() -> Strings:
        reads.append(1)
        return Strings(["a", "b", "c"])

    late = Strings.chosen(np.array([2, 0]), read).take(np.array([0]))
    assert len(late) == 1
    assert not reads
    assert late[0] == "c"


@settings(max_examples=40, deadline=None)
@given(values=words, cut=st.integers(0, 12))
def test_categories_are_the_column(values: list[str], cut: int) -> None:
    chunks = [pa.array(part, pa.string()) for part in (values[:cut], values[cut:])]
    for column in (
        np.array(values, dtype=object),
        pa.array(values, pa.string()),
        pa.chunked_array(chunks),
        pa.chunked_array(chunks).dictionary_encode(),
    ):
        found = Categories.of(column)
        assert found.names == tuple(dict.fromkeys(values))
        assert found.decoded().tolist() == values
        for name in {*values, "absent"}:
            expected = [row for row, value in enumerate(values) if value == name]
            assert found.rows(name).tolist() == expected
    assert Categories.of(pa.chunked_array([], pa.string())).names == ()
    assert Categories.of(pa.array(["a", None])).names == ("a", "")


def test_ids_are_remembered_by_hash_and_confirmed_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qinn.data.stores.identifiers._RECENT", 10)
    asked, known = [], {f"id-{number}" for number in range(95)}

    def confirm(identifier: str) -> bool:
        asked.append(identifier)
        return identifier in known

    seen = SeenIdentifiers(confirm)
    for start in range(0, 95, 3):
        seen.update(f"id-{number}" for number in range(start, min(start + 3, 95)))
    assert len(seen) == 95
    assert len(seen._recent) < 10
    assert all(identifier in seen for identifier in known)
    assert not any(f"new-{number}" in seen for number in range(200))
    assert set(asked) <= known, "an unknown id asks for no confirmation, but where hashes collide"
    known.discard("id-1")
    assert "id-1" not in seen, "a hash alone must not decide"
    assert 3 not in seen
