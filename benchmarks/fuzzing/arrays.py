"""Mutations of npy files, npz archives and HDF5 files that keep their outer form."""

import io
import random
import struct
import warnings
import zipfile

import h5py
import numpy as np

SECRET = "secret.h5"
"""A file beside the sources that nothing names: links lead to it, and its value must never arrive."""
SECRET_VALUE = 31337.25

_SHAPES = (
    "(4,)",
    "(4, 3)",
    "()",
    "(0,)",
    "(-1,)",
    "(1000000000000,)",
    "(4611686018427387904, 8)",
    "(99999999999999999999999,)",
    "(2, 2, 2, 2)",
    "4",
    "(4, True)",
    "(4.0,)",
    "None",
    "('a',)",
)
_TYPES = (
    "<f8",
    "<f4",
    "<f2",
    ">f4",
    "<i8",
    "|b1",
    "|O",
    "<c16",
    "<U9",
    "|S9",
    "|V8",
    "<M8[s]",
    "<f999",
    "",
    "<f4,<f4",
)


def mutate_npy(data: bytes, chance: random.Random) -> bytes:
    """Return the npy file with another header."""
    size = struct.unpack("<H", data[8:10])[0]
    header, body = data[10 : 10 + size].decode("latin-1"), data[10 + size :]
    try:
        found = np.load(io.BytesIO(data))
    except Exception:  # noqa: BLE001 - whatever numpy says
        # A second mutation of the same header.
        return data[:-1]
    kind, shape = repr(found.dtype.str), repr(found.shape)
    match chance.randrange(8):
        case 0 | 1:
            header = header.replace(shape, chance.choice(_SHAPES))
        case 2:
            header = header.replace(kind, repr(chance.choice(_TYPES)))
        case 3:
            header = header.replace("False", chance.choice(("True", "None", "1", "'C'")))
        case 4:
            header = header.replace("'descr'", chance.choice(("'dtype'", "'shape'", "descr", "['descr']")))
        case 5:
            header = chance.choice(
                ("(" * 5000 + ")" * 5000, "[" * 900 + "]" * 900, "__import__('os')", "{}", "\x00")
            )
        case 6:
            header = header.replace("{", "{'extra': 0, ")
        case _:
            body = chance.choice((body[:-4], body + bytes(4), body * 2, b""))
    if chance.random() < 0.1:
        return data[:6] + chance.choice((b"\x02\x00", b"\x03\x00", b"\x09\x00", b"\x00\x00")) + data[8:]
    text = header.encode("latin-1")
    declared = len(text) if chance.random() < 0.9 else chance.choice((0, 1, 65535))
    return data[:8] + struct.pack("<H", declared) + text + body


def mutate_npz(data: bytes, chance: random.Random) -> bytes:
    """Return the archive with a member renamed, dropped, repeated, exchanged, recompressed or mutated."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [[name, archive.read(name), zipfile.ZIP_DEFLATED] for name in archive.namelist()]
    for _ in range(chance.choice((1, 1, 2))):
        at = chance.randrange(len(members))
        name, content, _method = members[at]
        other = chance.choice(members)
        match chance.randrange(9):
            case 0:
                new = chance.choice(
                    (other[0], "../" + name, name.upper(), "é.npy", name[:-4], "/etc/x.npy", "")
                )
                members[at] = [new, content, zipfile.ZIP_STORED]
            case 1:
                members.append([name, other[1], zipfile.ZIP_STORED])
            case 2:
                members[at][1], other[1] = other[1], members[at][1]
            case 3:
                members[at][2] = chance.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED))
            case 4 | 5 | 6 if content.startswith(b"\x93NUMPY\x01\x00"):
                members[at][1] = mutate_npy(content, chance)
            case 7 if len(members) > 1:
                del members[at]
            case _:
                members[at][1] = content[: chance.randrange(len(content) + 1)]
    target = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w") as archive:
        warnings.simplefilter("ignore")
        for name, content, method in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    changed = bytearray(target.getvalue())
    if chance.random() < 0.1:
        # The flag of encryption, in the first local header and the first directory entry.
        changed[6] |= 1
        changed[changed.find(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def mutate_hdf5(data: bytes, chance: random.Random) -> bytes:
    """Return the HDF5 file with a dataset replaced, removed, relinked, or led to another file."""
    target = io.BytesIO(data)
    with h5py.File(target, "r+") as file:
        names: list[str] = []
        file.visit(lambda name: names.append(name))
        name = chance.choice(names)
        node = file[name]
        values = node[...] if isinstance(node, h5py.Dataset) else np.zeros((2, 3))
        del node
        if chance.random() < 0.93:
            del file[name]
        else:
            name += "-more"
        _replace(file, name, values, names, chance)
    return target.getvalue()


def _replace(file: h5py.File, name: str, values: np.ndarray, names: list[str], chance: random.Random) -> None:
    numbers = values if values.dtype.kind in "iuf" else np.zeros((2, 3))
    match chance.randrange(20):
        case 0:
            return
        case 1:
            file[name] = h5py.ExternalLink(SECRET, "/data")
        case 2:
            file[name] = h5py.SoftLink("/" + name)
        case 3:
            file[name] = h5py.SoftLink("/" + chance.choice(names))
        case 4:
            file[name] = file["/"]
        case 5:
            layout = h5py.VirtualLayout(numbers.shape or (1,), numbers.dtype)
            layout[...] = h5py.VirtualSource(SECRET, "data", numbers.shape or (1,))
            file.create_virtual_dataset(name, layout)
        case 6:
            file.create_dataset(
                name, numbers.shape or (1,), "<f4", external=[(SECRET, 0, h5py.h5f.UNLIMITED)]
            )
        case 7:
            shape = tuple(10 ** chance.choice((3, 6, 9)) for _ in range(max(1, numbers.ndim)))
            file.create_dataset(name, shape, "<f4", chunks=(1,) * len(shape))
        case 8:
            file.create_dataset(name, (10**12, *numbers.shape[1:]), "<f4", chunks=(1, *numbers.shape[1:]))
        case 9:
            file[name] = ["text"] * 3
        case 10:
            file[name] = np.zeros(3, [("a", "<f4"), ("b", "<i4")])
        case 11:
            file.create_dataset(name, (3,), h5py.vlen_dtype(np.float32))
        case 12:
            file[name] = h5py.Empty("f")
        case 13:
            file[name] = 1.5
        case 14:
            file.create_group(name)
        case 15:
            file[name] = numbers.astype(chance.choice(("<f8", ">f4", "<f2", "<i8", "|u1", "<c8")))
        case 16:
            file[name] = numbers[: len(numbers) // 2] if numbers.ndim else numbers
        case 17:
            file[name] = numbers.reshape(-1) if chance.random() < 0.5 else numbers[None]
        case 18:
            options = chance.choice(({"compression": "gzip"}, {"fletcher32": True}, {"compression": "lzf"}))
            file.create_dataset(name, data=np.atleast_1d(numbers), **options)
        case _:
            broken = np.atleast_1d(numbers).astype("<f8")
            broken.flat[chance.randrange(max(1, broken.size))] = chance.choice(
                (np.nan, np.inf, -np.inf, 1e300)
            )
            file[name] = broken
