"""The pickle reader rebuilds arrays and plain containers like Python's own, and nothing else."""

import collections
import contextlib
import mmap
import os
import pickle
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamed_pickle import Streamed, dump

from qinn.data.files.pickles import content as pickle_bytes
from qinn.data.files.pickles.reading import load_pickle, open_pickle
from qinn.errors import DataError

ARRAYS = {
    "two axes": np.arange(6.0).reshape(2, 3),
    "fortran order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "half": np.arange(3, dtype=np.float16),
    "bool": np.array([True, False]),
    "text": np.array(["é", "bb"]),
    "bytes": np.array([b"a", b"bcd"]),
    "objects": np.array(["a", None, 1.5], object),
    "no axis": np.array(3),
    "empty": np.zeros((0, 3)),
    "long": np.arange(600.0).reshape(20, 30),
    "long fortran order": np.asfortranarray(np.arange(600.0).reshape(20, 30)),
    "long bytes": np.array([b"a" * 9, b"bc"] * 200),
}
PLAIN = {
    "containers": {
        "a": [1, (2,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {"b": []}],
        3: {1, 2},
        (1, "x"): frozenset({3}),
    },
    "numbers": [True, False, None, 0, -5, 255, 65535, 2**31, 10**40, -(10**40), 1.5, float("inf")],
    "text and bytes": ["", 'é\n"', "x" * 300, b"", b"\xff\x00", b"y" * 300, bytearray(b"z")],
    "long": {
        "bytes": b"\xff\x00" * 3000,
        "text": "é" * 3000,
        "array": [bytearray(b"ab" * 2000)],
        "tuples": ("x" * 2000, (b"y" * 2000, ("z" * 2000, [b"q" * 2000])), 1),
        "k" * 2000: {("a" * 2000, 1), b"b" * 2000},
    },
    "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
    "default": collections.defaultdict(list, {"a": [1]}),
    "scalars": [np.float32(1.5), np.int64(3), np.bool_(True), np.str_("x")],
}


def write(folder: Path, content: bytes) -> Path:
    file = folder / "data.pkl"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_as_python_itself_reads_them(name: str, protocol: int, tmp_path: Path) -> None:
    content = pickle.dumps(ARRAYS[name], protocol)
    expected, found = pickle.loads(content), load_pickle(write(tmp_path, content))
    assert type(found) is np.ndarray
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", PLAIN)
def test_plain_values_come_back_unchanged(name: str, protocol: int, tmp_path: Path) -> None:
    found = load_pickle(write(tmp_path, pickle.dumps(PLAIN[name], protocol)))
    assert found == PLAIN[name]
    assert type(found) is type(PLAIN[name])


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("size", [3, 3000])
def test_one_object_met_twice_stays_one_object(size: int, protocol: int, tmp_path: Path) -> None:
    array = np.arange(size)
    found = load_pickle(write(tmp_path, pickle.dumps([array, array], protocol)))
    assert found[0] is found[1]


NESTED = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_subnormal=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=15,
)


@settings(max_examples=60, deadline=None)
@given(value=NESTED, protocol=st.integers(0, 5))
def test_any_nesting_of_plain_values_comes_back(
    value: object, protocol: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    assert load_pickle(write(folder, pickle.dumps(value, protocol))) == value


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_garbled_pickle_is_read_or_refused_but_never_fails_otherwise(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    protocol = data.draw(st.integers(0, 5))
    content = bytearray(pickle.dumps({"a": np.arange(4.0), "b": ["x", (1, 2)], "c": {3}}, protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = write(tmp_path_factory.getbasetemp(), bytes(content[: data.draw(st.integers(1, len(content)))]))
    with contextlib.suppress(DataError):
        load_pickle(file)


def python_2(array: np.ndarray, protocol: int) -> bytes:
    """The bytes that Python 2 wrote for a little-endian float64 array: its data is a byte string."""
    raw = array.tobytes()
    data = (
        b"S" + repr(raw)[1:].encode() + b"\n" if protocol == 0 else b"T" + struct.pack("<i", len(raw)) + raw
    )
    return (
        (b"\x80\x02" if protocol == 2 else b"")
        + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        + b"(I1\n(I%d\ntcnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n" % len(array)
        + data
        + b"tb."
    )


@pytest.mark.parametrize("copies", [1, 200])
@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_arrays_of_python_2_are_read(protocol: int, copies: int, tmp_path: Path) -> None:
    array = np.array([1.5, -2.25, 1e300] * copies)
    np.testing.assert_array_equal(load_pickle(write(tmp_path, python_2(array, protocol))), array)


class Call:
    """Pickles as a call of anything."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.reduced


def dtype_state(descriptor: bytes, shape: bytes, raw: bytes) -> bytes:
    return (
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n"
        + shape
        + b"cnumpy\ndtype\n(S'"
        + descriptor
        + b"'\nI0\nI1\ntRI00\n"
        + raw
        + b"tb."
    )


def forbidden_calls(mark: Path) -> dict[str, tuple[bytes, str]]:
    """Name → a pickle that would leave `mark` behind, and what the refusal must name."""
    command = f"touch {mark}"
    code = f"open({str(mark)!r}, 'w').close()"
    return {
        "os.system": (pickle.dumps(Call(os.system, command)), f"{os.name}.system"),
        "os.system, protocol 0": (pickle.dumps(Call(os.system, command), 0), f"{os.name}.system"),
        "eval": (pickle.dumps(Call(eval, code)), "builtins.eval"),
        "exec": (pickle.dumps(Call(exec, code)), "builtins.exec"),
        "eval of Python 2": (b"c__builtin__\neval\n(S" + repr(code).encode() + b"\ntR.", "__builtin__.eval"),
        "getattr": (pickle.dumps(Call(getattr, "x", "upper")), "builtins.getattr"),
        "subprocess": (b"csubprocess\nPopen\n(S'" + command.encode() + b"'\ntR.", "subprocess.Popen"),
        "instance": (b"(S'" + command.encode() + b"'\nios\nsystem\n.", "class of its own"),
        "dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__new__\x93.", "numpy.ndarray.__new__"),
        "numpy loader": (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        "copyreg": (b"ccopy_reg\n_reconstructor\n.", "copy_reg._reconstructor"),
        "codecs": (b"c_codecs\ndecode\n.", "_codecs.decode"),
        "new object": (b"cnumpy\nndarray\n(I2\nt\x81.", "class of its own"),
        "old object": (b"(cnumpy\nndarray\nI2\no.", "class of its own"),
        "persistent id": (b"Psomewhere\n.", "persistent id"),
        "binary persistent id": (b"\x80\x02K\x01Q.", "persistent id"),
        "extension code": (b"\x80\x02\x82\x01.", "extension code"),
        "out-of-band buffer": (b"\x80\x05\x97.", "out-of-band buffer"),
        "state of a list": (b"\x80\x02]}b.", "BUILD"),
        "state of a dict": (b"\x80\x02}X\x01\x00\x00\x00a\x8c\x01bs}b.", "BUILD"),
        "call of text": (b"S'abc'\n(tR.", "no function"),
        "class of numbers": (b"cbuiltins\nint\n(S'1'\ntR.", "call of a type"),
        "array subclass": (
            b"cnumpy.core.multiarray\n_reconstruct\n(cbuiltins\nlist\n(I0\ntS'b'\ntR.",
            "kind of array",
        ),
        "factory": (b"ccollections\ndefaultdict\n(cnumpy\nndarray\ntR.", "defaultdict"),
        "pandas": (b"cpandas.core.frame\nDataFrame\n.", "csv, parquet or npz"),
        "torch": (b"ctorch._utils\n_rebuild_tensor_v2\n.", "npy or npz"),
        "record type": (b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR.", "V8"),
        "record fields": (
            b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nN(S'a'\ntNI8\nI1\nI0\ntb.",
            "named fields",
        ),
        "numbers with the flags of objects": (
            b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI2\ntb.",
            "flags contradict its name",
        ),
        "objects with the flags of numbers": (
            b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI1\ntb.",
            "flags contradict its name",
        ),
        "version of a type": (
            b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I5\nS'<'\nNNNI-1\nI-1\nI0\ntb.",
            "type in version 5",
        ),
        "type of another form": (
            b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\ntb.",
            "type in an unknown form",
        ),
        "version of an array": (
            dtype_state(b"f8", b"(I1\nt", b"S'12345678'\n").replace(b"(I1\n(", b"(I34\n("),
            "array in an unknown version",
        ),
        "characters that do not exist": (
            dtype_state(b"<U1", b"(I1\nt", b"S'\\xff\\xff\\xff\\x00'\n"),
            "characters that do not exist",
        ),
        "order of the axes": (
            dtype_state(b"f8", b"(I1\nt", b"S'12345678'\n").replace(b"I00", b"S'F'"),
            "order of its axes",
        ),
        "order of the axes beyond 1": (
            dtype_state(b"f8", b"(I1\nt", b"S'12345678'\n").replace(b"I00", b"I1095216660480"),
            "order of its axes",
        ),
        "hidden object": (dtype_state(b"O8", b"(I1\nt", b"(lp0\n(dp1\na"), "neither text nor numbers"),
        "object bytes": (dtype_state(b"O8", b"(I1\nt", b"S'12345678'\n"), "length none"),
        "scalar object": (
            b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(lp0\nS'a'\natR.",
            "scalar object",
        ),
        "too little data": (
            dtype_state(b"f8", b"(I1000000\nI1000000\nt", b"S'ab'\n"),
            "shape (1000000, 1000000)",
        ),
        "negative shape": (dtype_state(b"f8", b"(I-1\nt", b"S''\n"), "shape (-1,)"),
        "rows without end": (dtype_state(b"f8", b"(I999999999999\nI0\nt", b"S''\n"), "empty array of shape"),
        "empty items": (dtype_state(b"S0", b"(I99999999\nt", b"S''\n"), "99999999"),
        "key that takes for ever to hash": (
            b"\x80\x02N" + b"\x85" * 3 + b"}" + b"(N\x85\x85" + b"NdN.",
            "key",
        ),
        "array without content": (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR.",
            "array without content",
        ),
        "text for an array": (
            dtype_state(b"f8", b"(I250\nt", b"X\xd0\x07\0\0" + b"a" * 2000),
            "whose data is text",
        ),
        "long text in an unknown encoding": (
            b"c_codecs\nencode\n(X\xd0\x07\0\0" + b"a" * 2000 + b"Vrot13\ntR.",
            "unknown encoding",
        ),
        "byte array of a list": (b"c__builtin__\nbytearray\n((lp0\ntR.", "not made of bytes"),
        "array without a shape": (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\nI3\nI4\nI00\nS'x'\ntb.",
            "without a type or shape",
        ),
        "objects in a buffer": (
            b"cnumpy.core.numeric\n_frombuffer\n((lp0\nS'a'\nacnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I1\ntS'C'\ntR.",
            "objects in a buffer",
        ),
        "long bytes to encode": (
            b"c_codecs\nencode\n(B\xd0\x07\0\0" + b"a" * 2000 + b"Vlatin1\ntR.",
            "unknown encoding",
        ),
        "other encoding": (b"c_codecs\nencode\n(Vx\nVrot13\ntR.", "unknown encoding"),
    }


@pytest.mark.parametrize("name", sorted(forbidden_calls(Path("x"))))
def test_a_pickle_that_asks_for_more_is_refused_by_name_and_runs_nothing(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    content, named = forbidden_calls(mark)[name]
    with pytest.raises(DataError) as refusal:
        load_pickle(write(tmp_path, content))
    assert named in str(refusal.value)
    assert "data.pkl" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not mark.exists()


def test_the_hostile_pickles_do_run_in_python_itself(tmp_path: Path) -> None:
    """Otherwise the test above would prove nothing."""
    mark = tmp_path / "it-ran"
    pickle.loads(forbidden_calls(mark)["os.system"][0])
    assert mark.exists()


NO_PICKLES = {
    "empty": (b"", "is empty"),
    "text": (b"hello, world\nthis is text\n", "not a pickle"),
    "csv": (b"id,label\na,1\n", "not a pickle"),
    "zeros": (b"\0" * 20, "not a pickle"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    "npz": (b"PK\x03\x04....", "a zip archive"),
    "cut after the start": (b"\x80\x04", "cut short"),
    "cut in an array": (pickle.dumps(np.arange(100.0), 4)[:-50], "cut short"),
    "huge declared size": (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc", "where 3 are left"),
    "huge byte array": (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc", "where 3 are left"),
    "stack underflow": (b"\x80\x04\x93.", "damaged"),
    "unknown memo": (b"\x80\x04Kah\x07.", "pickle"),
    "left on the stack": (b"\x80\x04NN.", "pickle"),
    "odd items": (b"\x80\x04}(Nu.", "pickle"),
    "append to a number": (b"\x80\x04K\x01Na.", "pickle"),
    "unquoted text": (b"Sabc\n.", "pickle"),
    "set of a number": (b"c__builtin__\nset\n(I1\ntR.", "pickle"),
    "ordered dict of a number": (b"ccollections\nOrderedDict\n(I1\ntR.", "pickle"),
    "name that is a number": (b"\x80\x04K\x01K\x02\x93.", "pickle"),
}


@pytest.mark.parametrize("name", NO_PICKLES)
def test_what_is_no_whole_pickle_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    content, reason = NO_PICKLES[name]
    with pytest.raises(DataError, match=reason):
        load_pickle(write(tmp_path, content))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.pkl"):
        load_pickle(tmp_path / "none.pkl")
    with pytest.raises(DataError, match="can't be read"):
        load_pickle(tmp_path)


def test_repeating_a_call_on_one_big_value_does_not_multiply_memory(tmp_path: Path) -> None:
    text = b"X" + struct.pack("<i", 2**20) + b"a" * 2**20 + b"q\x00"
    again = b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR"
    with pytest.raises(DataError, match="far more than"):
        load_pickle(write(tmp_path, b"\x80\x02(" + text + again * 1000 + b"t."))


# Files larger than memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [pickle.dumps(np.arange(1000.0), 3), pickle.dumps(np.arange(1000.0), 5)])
def test_long_arrays_are_views_of_the_file(content: bytes, tmp_path: Path) -> None:
    opened = open_pickle(write(tmp_path, content))
    values = opened.content
    assert not values.flags.writeable
    while isinstance(values, np.ndarray):
        values = values.base
    assert isinstance(values.obj if isinstance(values, memoryview) else values, mmap.mmap)
    opened.release()
    np.testing.assert_array_equal(opened.content, np.arange(1000.0))


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux counts the peak of memory so"
)
def test_an_array_is_read_in_pieces_without_holding_it_in_memory(tmp_path: Path) -> None:
    size = 200 * 2**20
    array = np.broadcast_to(np.arange(1024, dtype=np.float32), (size // 4096, 1024))
    with (tmp_path / "big.pkl").open("wb") as file:
        dump(
            Streamed(
                array.shape, array.dtype, lambda: (array[at : at + 64] for at in range(0, len(array), 64))
            ),
            file,
        )
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    opened = open_pickle(tmp_path / "big.pkl")
    assert opened.content.shape == (size // 4096, 1024)
    for start in range(0, len(array), 4096):
        np.testing.assert_array_equal(opened.content[start : start + 16], array[start : start + 16])
        assert opened.content[start : start + 4096].sum() > 0
        opened.release()
    assert peak() - before < 60 * 2**20


def peak() -> int:
    """The highest resident memory of this process so far, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_arrays_written_as_text_are_unpacked_to_a_temporary_file(
    protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickle_bytes, "UNPACKED_BYTES", 2000)
    array = np.random.default_rng(0).normal(size=(30, 40))
    file = write(tmp_path, pickle.dumps({"a": array, "b": array[:2]}, protocol))
    opened = open_pickle(file)
    opened.release()
    np.testing.assert_array_equal(opened.content["a"], array)
    np.testing.assert_array_equal(opened.content["b"], array[:2])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    if protocol:
        with pytest.raises(DataError, match="free space or set TMPDIR"):
            open_pickle(file)
        seen = open_pickle(file, sketch=True).content
        assert seen["a"].shape == (30, 40)
        assert not seen["a"].any()


def test_long_text_that_stands_for_no_bytes_is_damage(tmp_path: Path) -> None:
    text = ("\u1234" * 1000).encode()
    content = b"\x80\x02c_codecs\nencode\n(X" + struct.pack("<i", len(text)) + text + b"Vlatin1\ntR."
    with pytest.raises(DataError, match="damaged"):
        load_pickle(write(tmp_path, content))


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pkl")
    with pytest.raises(DataError, match="named pipe, not a regular file"):
        load_pickle(tmp_path / "pipe.pkl")


def test_repeating_a_tuple_with_long_bytes_does_not_multiply_memory(tmp_path: Path) -> None:
    wide = b"\x80\x02(" + b"N" * 5_000 + b"T\x00\x10\x00\x00" + b"a" * 4096 + b"tq\x00"
    with pytest.raises(DataError, match="far more than"):
        load_pickle(write(tmp_path, wide + b"]" + b"h\x00a" * 300 + b"."))
