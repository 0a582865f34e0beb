"""Mutations of pickles at the level of their instructions, and pickles that were made to do harm."""

import pickletools
import random
import struct

CANARY = "canary"
"""Name of the file that hostile input tries to make."""

_CODE = f"open('{CANARY}', 'w')"
_CALLS = (
    f"cos\nsystem\n(S'touch {CANARY}'\ntR",
    f"cposix\nsystem\n(S'touch {CANARY}'\ntR",
    f'c__builtin__\neval\n(S"{_CODE}"\ntR',
    f'cbuiltins\nexec\n(S"{_CODE}"\ntR',
    f"(S'touch {CANARY}'\nios\nsystem\n",
    "cbuiltins\n__import__\n(S'antigravity'\ntR",
    "cnumpy\nfromfile\n(S'/etc/passwd'\ntR",
    "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I-1\ntS'b'\ntR",
    "cnumpy\ndtype\n(S'f8,f8'\nI0\nI1\ntR",
    "cbuiltins\nbytearray\n(I1000000000000\ntR",
    "ccollections\ndefaultdict\n(cos\nsystem\ntR",
    f"c_codecs\nencode\n(S'touch {CANARY}'\nS'rot13'\ntR",
    "Ppersistent\n",
)
HOSTILE: tuple[bytes, ...] = (
    *(f"{call}.".encode() for call in _CALLS),
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0c" + f"touch {CANARY}".encode() + b"\x85R.",
    b"(" * 100_000 + b"t.",
    b"]" + b"]" * 100_000 + b"a" * 100_000 + b".",
    b"\x80\x02" + b"}" * 50_000 + b".",
    # A billion laughs: every list holds the one before it ten times.
    b"\x80\x02]q\x00" + b"".join(b"](" + b"h%c" % n * 10 + b"eq%c" % (n + 1) for n in range(60)) + b".",
    # The same by tuples as keys, whose hash takes time without end.
    b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60)) + b"}h\x3cNs.",
    b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\x00.",
    b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"a.",
    b"\x80\x04\x96" + struct.pack("<Q", 2**40) + b"a.",
    b"\x80\x02r" + struct.pack("<I", 2**32 - 1) + b"N.",
    b"I" + b"9" * 200_000 + b"\n.",
    b"L" + b"9" * 200_000 + b"L\n.",
    b"\x80\x02\x8b" + struct.pack("<i", 100_000) + b"\x7f" * 100_000 + b".",
)


def mutate_pickle(data: bytes, chance: random.Random) -> bytes:
    """Return the pickle with an instruction dropped, repeated, moved, changed or injected."""
    parts = split_instructions(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(parts))
        match chance.randrange(8):
            case 0:
                del parts[at]
            case 1:
                parts.insert(at, parts[at])
            case 2:
                other = chance.randrange(len(parts))
                parts[at], parts[other] = parts[other], parts[at]
            case 3:
                parts[at] = parts[chance.randrange(len(parts))]
            case 4:
                parts.insert(at, chance.choice(_CALLS).encode())
            case 5:
                parts.insert(at, chance.choice(pickletools.opcodes).code.encode("latin-1"))
            case 6:
                parts[at] = _other_constant(parts[at], chance)
            case _:
                numbers = [n for n, part in enumerate(parts) if part[:1] in b"KMJIhj"]
                if numbers:
                    chosen = chance.choice(numbers)
                    parts[chosen] = _other_constant(parts[chosen], chance)
        parts = parts or [b"."]
    return b"".join(parts)


def split_instructions(data: bytes) -> list[bytes]:
    """Return a valid pickle as its instructions; joined, they are the pickle again."""
    starts = [position for _, _, position in pickletools.genops(data) if position is not None]
    return [data[start:stop] for start, stop in zip(starts, [*starts[1:], len(data)], strict=True)]


def _other_constant(part: bytes, chance: random.Random) -> bytes:
    number = chance.choice((0, 1, 2, 3, 5, 50, 255, 256, 65535, 2**31 - 1, -1, -(2**31)))
    if part[:1] in b"hj":
        return b"j" + struct.pack("<I", chance.choice((0, 1, 2, 9, 40, 2**32 - 1)))
    return chance.choice(
        (
            b"J" + struct.pack("<i", number),
            b"K" + bytes([chance.randrange(256)]),
            b"I%d\n" % (number * 2**32),
            b"G" + struct.pack(">d", chance.choice((0.5, float("nan"), float("inf"), 1e308))),
            b"N",
            b"\x88",
            b"]",
            b"}",
            b")",
            b"\x8c\x05audio",
            b"\x8c\x05train",
            b"C\x04abcd",
        )
    )
