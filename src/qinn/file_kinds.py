"""What a file is by its first bytes, whatever it is called, and what happened to one that cannot be read.

People hold pointers in place of files, pages of errors in place of downloads, and archives in place of what is in
them: each is named for what it is, with what to do.
"""

import codecs
import os
import re
import shlex
import struct
import zipfile
import zlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from qinn.opening import open_regular
from qinn.resources import shown_size

__all__ = ["DAMAGED_ARCHIVE", "FileKind", "damage_of", "file_kind", "other_kind", "other_kind_of"]

_HEAD = 4096
_LOOKED_THROUGH = 2**20
_ENOUGH = 4
_LONGEST_TITLE = 60
_DOWNLOAD = "it is what a server answered in place of the file, so download the file itself"
_TEXT_MODE = "copy or download it again, in binary mode"

DAMAGED_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What reading a damaged zip archive may raise; a `RuntimeError` where a bit says that it is encrypted, or newer."""


@dataclass(frozen=True)
class FileKind:
    """What a file is.

    Attributes:
        name: In one word, by which readers know it; several kinds that nobody reads share one.
        title: In a few words.
        remedy: What to do where something else was expected, with ``{path}`` for the file; empty where that is plain.
    """

    name: str
    title: str
    remedy: str = ""

    def said_of(self, path: Path | str) -> str:
        """Return what it is and what to do, as the end of a sentence.

        Examples:
            >>> FileKind("gzip", "a gzip archive", "unpack it: `gunzip -k {path}`").said_of("a.gz")
            'a gzip archive; unpack it: `gunzip -k a.gz`'
        """
        remedy = self.remedy_of(path)
        return f"{self.title}; {remedy}" if remedy else self.title

    def remedy_of(self, path: Path | str) -> str:
        """Return what to do about such a file; empty where that is plain."""
        return self.remedy.replace("{path}", shlex.quote(os.fspath(path)))


_SIGNATURES: tuple[tuple[int, bytes, FileKind], ...] = (
    (0, b"\x93NUMPY", FileKind("npy", "a npy file")),
    (0, b"PAR1", FileKind("parquet", "a parquet file")),
    (0, b"BZh", FileKind("bzip2", "a bzip2 archive", "unpack it first: `bunzip2 -k {path}`")),
    (0, b"\xfd7zXZ\x00", FileKind("xz", "an xz archive", "unpack it first: `unxz -k {path}`")),
    (0, b"\x28\xb5\x2f\xfd", FileKind("zstd", "a zstd archive", "unpack it first: `unzstd {path}`")),
    (0, b"\x04\x22\x4d\x18", FileKind("lz4", "an lz4 archive", "unpack it first: `unlz4 {path}`")),
    (0, b"7z\xbc\xaf\x27\x1c", FileKind("7z", "a 7z archive", "unpack it first: `7z x {path}`")),
    (0, b"Rar!\x1a\x07", FileKind("rar", "a rar archive", "unpack it first: `unrar x {path}`")),
    (
        0,
        b"\x1f\x9d",
        FileKind("compress", "a file packed by compress", "unpack it first: `uncompress {path}`"),
    ),
    (257, b"ustar\x0000", FileKind("tar", "a tar archive", "unpack it first: `tar -xf {path}`")),
    (257, b"ustar  \x00", FileKind("tar", "a tar archive", "unpack it first: `tar -xf {path}`")),
    (0, b"ARROW1", FileKind("arrow", "an Arrow file", "save the table as parquet or csv")),
    (0, b"FEA1", FileKind("feather", "a Feather file", "save the table as parquet or csv")),
    (0, b"MATLAB 5.0", FileKind("matlab", "a MATLAB file", "save its arrays as npz or HDF5")),
    (0, b"SQLite format 3\x00", FileKind("sqlite", "an SQLite database", "save the table as csv or parquet")),
    (
        0,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        FileKind("office", "an old file of Excel or Word", "save the table as csv"),
    ),
    (0, b"RDX", FileKind("r", "a file of R", "save the table as csv or parquet")),
    (0, b"%PDF-", FileKind("pdf", "a PDF document")),
    (0, b"\x89PNG", FileKind("image", "an image (PNG) and no features")),
    (0, b"\xff\xd8\xff", FileKind("image", "an image (JPEG) and no features")),
    (0, b"GIF8", FileKind("image", "an image (GIF) and no features")),
    (8, b"WEBP", FileKind("image", "an image (WebP) and no features")),
    (0, b"II*\x00", FileKind("image", "an image (TIFF) and no features")),
    (0, b"MM\x00*", FileKind("image", "an image (TIFF) and no features")),
    (4, b"ftypheic", FileKind("image", "an image (HEIC) and no features")),
    (4, b"ftypavif", FileKind("image", "an image (AVIF) and no features")),
    (8, b"WAVE", FileKind("sound", "sound (WAV) and no features")),
    (8, b"AVI ", FileKind("video", "video (AVI) and no features")),
    (0, b"ID3", FileKind("sound", "sound (MP3) and no features")),
    (0, b"fLaC", FileKind("sound", "sound (FLAC) and no features")),
    (0, b"OggS", FileKind("sound", "sound or video (Ogg) and no features")),
    (4, b"ftyp", FileKind("video", "video or sound (MP4) and no features")),
    (0, b"\x1aE\xdf\xa3", FileKind("video", "video (Matroska, WebM) and no features")),
    (0, b"\xff\xfe", FileKind("utf-16", "text in UTF-16", "save it as UTF-8")),
    (0, b"\xfe\xff", FileKind("utf-16", "text in UTF-16", "save it as UTF-8")),
)
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_PLACES = (0, 512, 1024, 2048)
_BZIP2 = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
_RIFF = re.compile(rb"RIFF")
_NPY_OF_WINDOWS = re.compile(rb"\x93NUMPY.{4,7}\{[^\n]{0,2000}\r\n", re.S)
_LFS = b"version https://git-lfs.github.com/spec/"
_ANNEX = re.compile(rb"(?:\.\./)*(?:\.git)?/annex/objects/\S+\s*")
_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body|script|meta)[\s>]", re.I | re.S)
_PAGE_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.I | re.S)
_REPLACED = "\ufffd".encode()
_BINARY = (b"\x80", b"\x89", b"\x93", b"PK", b"PAR1")


def file_kind(path: Path | str) -> FileKind | None:
    """Return what a file is by its first bytes; None where they say nothing known.

    Args:
        path: A regular file, of which a few kilobytes are read.

    Raises:
        OSError: If it can't be opened or is no regular file.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "mosi.pkl"
        >>> _ = file.write_bytes(b"<!DOCTYPE html><html><title>Sign in</title>")
        >>> file_kind(file).title
        'a web page (`Sign in`)'
    """
    with open_regular(path) as stream:
        head = stream.read(_HEAD)
    return _kind_of(head, Path(path))


def other_kind_of(content: bytes, path: Path | str, expected: Collection[str]) -> str | None:
    """Say as `other_kind` what a file is whose content was read."""
    found = _kind_of(content[:_HEAD], Path(path))
    return None if found is None or found.name in expected else found.said_of(path)


def other_kind(path: Path | str, expected: Collection[str]) -> str | None:
    """Say what a file is that should be something else, and what to do about it; None if nothing speaks against it.

    Args:
        path: The file.
        expected: Names of the kinds that it may be.

    Returns:
        The end of a sentence.

    Raises:
        OSError: If it can't be opened or is no regular file.
    """
    with open_regular(path) as stream:
        return other_kind_of(stream.read(_HEAD), path, expected)


def damage_of(path: Path | str) -> str:
    r"""Say what happened to a file that can't be read, where its bytes tell, as the end of a sentence; else nothing.

    Args:
        path: A file without text, or a pickle.

    Examples:
        >>> import pickle, tempfile
        >>> file = Path(tempfile.mkdtemp()) / "mosi.pkl"
        >>> _ = file.write_bytes(pickle.dumps(list("abcdefgh"), protocol=0).replace(b"\n", b"\r\n"))
        >>> damage_of(file)[:50]
        '; every line end in it is one of Windows (CR LF), '
    """
    try:
        with open_regular(path) as stream:
            begin = stream.read(_LOOKED_THROUGH)
    except OSError:
        return ""
    ends, of_windows = begin.count(b"\n"), begin.count(b"\r\n")
    if ends >= _ENOUGH and ends == of_windows:
        mended = ""
        # The oldest protocol of pickles writes a carriage return in a text by its number, so each is a line's end.
        if not begin.startswith(_BINARY):
            mended = f", or take them out (`tr -d '\\r' < {shlex.quote(os.fspath(path))} > NEW`)"
        return f"; every line end in it is one of Windows (CR LF), as after a copy in text mode: {_TEXT_MODE}{mended}"
    if begin.count(_REPLACED) >= _ENOUGH:
        return f"; it was read as text and written again, which can't be undone: {_TEXT_MODE}"
    return ""


def _kind_of(head: bytes, path: Path) -> FileKind | None:
    """Return what begins with some bytes."""
    for recognise in (_pointer, _page, _damaged, _archive, _container):
        found = recognise(head, path)
        if found is not None:
            return found
    for place, signature, kind in _SIGNATURES:
        # Some signatures are so short, or so far behind the front, that a table or a pickle may have them by chance.
        whole = {b"BZh": _BZIP2, b"WAVE": _RIFF, b"AVI ": _RIFF, b"WEBP": _RIFF}.get(signature)
        if head.startswith(signature, place) and (whole is None or whole.match(head)):
            return kind if kind.name != "utf-16" or len(_decoded(head, "utf-16")) >= _ENOUGH else None
    return _text(head)


def _pointer(head: bytes, path: Path) -> FileKind | None:
    if head.startswith(_LFS):
        size = re.search(rb"^size (\d{1,18})$", head, re.M)
        stands = f" for a file of {shown_size(int(size[1]))}" if size else ""
        return FileKind(
            "pointer",
            f"a pointer of Git LFS that stands{stands}, not the file itself",
            f"get that by `git lfs pull` (`git -C {shlex.quote(str(path.parent))} lfs pull --include "
            f"{shlex.quote(path.name)}`)",
        )
    if len(head) < _HEAD and _ANNEX.fullmatch(head):
        return FileKind(
            "pointer", "a pointer of git-annex, not the file itself", "get that by `git annex get {path}`"
        )
    return None


def _page(head: bytes, path: Path) -> FileKind | None:
    plain = head.removeprefix(b"\xef\xbb\xbf")
    if _PAGE.match(plain):
        title = _PAGE_TITLE.search(plain)
        said = " ".join(title[1].decode("utf-8", "replace").split())[:_LONGEST_TITLE] if title else ""
        return FileKind("page", "a web page" + (f" (`{said}`)" if said else ""), _DOWNLOAD)
    if plain.lstrip().startswith(b"<?xml"):
        return FileKind("page", "an XML document, as servers answer with errors", _DOWNLOAD)
    return None


def _damaged(head: bytes, path: Path) -> FileKind | None:
    if not head:
        return FileKind("empty", "an empty file", "copy or download it again")
    if len(head) >= 16 and not head.strip(b"\x00"):
        return FileKind(
            "zeros",
            "a file of zeros, at least at its front, as an unfinished download or a full disk leaves it",
            "copy or download it again",
        )
    if head.startswith((b"\x89HDF\r\r\n", b"\x89HDF\n\x1a")):
        return FileKind("changed", "an HDF5 file whose line ends a copy in text mode has changed", _TEXT_MODE)
    if head.startswith(b"\x93NUMPY") and _NPY_OF_WINDOWS.match(head):
        return FileKind("changed", "a npy file whose line ends a copy in text mode has changed", _TEXT_MODE)
    if _REPLACED in head[:8] and not head[:3].isalnum():
        return FileKind(
            "changed", "a file that was read as text and written again, which can't be undone", _TEXT_MODE
        )
    return None


def _archive(head: bytes, path: Path) -> FileKind | None:
    if head.startswith(b"\x1f\x8b"):
        inside = b""
        with suppress(zlib.error):
            inside = zlib.decompressobj(31).decompress(head, _HEAD)
        if inside.startswith(b"ustar", 257):
            return FileKind("gzip", "a gzip archive of a tar archive", "unpack it first: `tar -xzf {path}`")
        named = path.suffix.lower() in (".gz", ".z")
        how = "`gunzip -k {path}`" if named else "`gunzip < {path} > NEW`"
        return FileKind("gzip", "a gzip archive", f"unpack it first: {how}")
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return None
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if first.endswith(b".npy"):
        return FileKind("npz", "an npz archive")
    if first.endswith((b"/data.pkl", b"/byteorder", b"/.format_version")) or b"/data.pkl" in head:
        return FileKind("torch", "a file of torch.save", "save its tensors as npz")
    if first.startswith((b"[Content_Types].xml", b"_rels/", b"xl/", b"mimetype")):
        return FileKind("office", "a file of Excel or another office program", "save the table as csv")
    return FileKind("zip", "a zip archive", "unpack it first: `unzip {path}`")


def _container(head: bytes, path: Path) -> FileKind | None:
    if any(head.startswith(_HDF5, place) for place in _HDF5_PLACES):
        return FileKind("hdf5", "an HDF5 file")
    if len(head) > 2 and head[0] == 0x80 and head[1] in (2, 3, 4, 5):
        return FileKind("pickle", "a pickle")
    if head[8:10] == b'{"' and 2 <= int.from_bytes(head[:8], "little") < 2**27:
        return FileKind("safetensors", "a safetensors file", "save its tensors as npz")
    return None


def _text(head: bytes) -> FileKind | None:
    text = _decoded(head, "utf-8-sig")
    first = text.lstrip().partition("\n")[0].strip()[:_LONGEST_TITLE]
    plain = all(character.isprintable() or character in "\t\r\n\f" for character in text)
    return FileKind("text", f"a text that begins with `{first}`") if plain and first else None


def _decoded(head: bytes, encoding: str) -> str:
    """Return the beginning of a text; empty if it is none."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return ""
