"""Mutations of bytes that know nothing of what the bytes mean."""

import random
from collections.abc import Callable

Change = Callable[[bytearray, random.Random], None]

_INTERESTING = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**48,
    2**63 - 1,
)
_LONGEST_BLOCK = 256


def mutate_blocks(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with one to four random changes; now and then they are the same."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        chance.choice(_CHANGES)(changed, chance)
    return bytes(changed)


def _block(data: bytearray, chance: random.Random) -> slice:
    start = chance.randrange(len(data) + 1)
    return slice(start, start + chance.randint(1, _LONGEST_BLOCK))


def _flip_bit(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _flip_early_bit(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(min(len(data), 128))] ^= 1 << chance.randrange(8)


def _flip_late_bit(data: bytearray, chance: random.Random) -> None:
    if data:
        data[-1 - chance.randrange(min(len(data), 128))] ^= 1 << chance.randrange(8)


def _set_byte(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _truncate(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _cut_end(data: bytearray, chance: random.Random) -> None:
    del data[max(0, len(data) - chance.randint(1, 16)) :]


def _delete(data: bytearray, chance: random.Random) -> None:
    del data[_block(data, chance)]


def _duplicate(data: bytearray, chance: random.Random) -> None:
    block = data[_block(data, chance)]
    at = chance.randrange(len(data) + 1)
    data[at:at] = block


def _copy_over(data: bytearray, chance: random.Random) -> None:
    block = data[_block(data, chance)]
    at = chance.randrange(len(data) + 1)
    data[at : at + len(block)] = block


def _zero(data: bytearray, chance: random.Random) -> None:
    where = _block(data, chance)
    data[where] = bytes(len(data[where]))


def _insert(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.randbytes(chance.randint(1, 32))


def _append(data: bytearray, chance: random.Random) -> None:
    data.extend(chance.randbytes(chance.randint(1, 64)))


def _set_integer(data: bytearray, chance: random.Random) -> None:
    """Write a number that lengths and offsets trip over, in any width and byte order."""
    width = chance.choice((1, 2, 4, 8))
    if len(data) >= width:
        at = chance.randrange(len(data) - width + 1)
        order = chance.choice(("little", "big"))
        old = int.from_bytes(data[at : at + width], order)
        new = chance.choice((*_INTERESTING, old + 1, old - 1, old * 2, -1)) % 256**width
        data[at : at + width] = new.to_bytes(width, order)


_CHANGES: tuple[Change, ...] = (
    _flip_bit,
    _flip_bit,
    _flip_early_bit,
    _flip_late_bit,
    _set_byte,
    _truncate,
    _cut_end,
    _delete,
    _duplicate,
    _copy_over,
    _zero,
    _insert,
    _append,
    _set_integer,
    _set_integer,
)
