"""Digests that tie a file to what was said about it: of bytes, of files, and of a JSON document inside itself.

They notice damage, mistakes and files of another run. They are no signatures: whoever rewrites a file can rewrite
its digest as well.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from qinn.opening import open_regular

_AT_ONCE = 2**20

OWN_DIGEST = "content_sha256"
"""Key under which a JSON document keeps the digest of the rest of it."""


def bytes_digest(content: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal digits.

    Examples:
        >>> bytes_digest(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()


def file_digest(path: Path, read: Callable[[int], None] = lambda count: None) -> str:
    """Return the SHA-256 of a file in hexadecimal digits, read a part at a time.

    Args:
        path: The file.
        read: Called with the number of bytes of each part.

    Raises:
        OSError: If it cannot be read.
    """
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        while part := stream.read(_AT_ONCE):
            digest.update(part)
            read(len(part))
    return digest.hexdigest()


def document_digest(content: Mapping[str, object]) -> str:
    """Return the SHA-256 of a JSON document without its own digest; the order of keys and the kinds of numbers count.

    Examples:
        >>> document_digest({"a": 1}) == document_digest({"a": 1, OWN_DIGEST: "anything"})
        True
        >>> document_digest({"a": 1}) == document_digest({"a": 1.0})
        False
    """
    rest = {name: value for name, value in content.items() if name != OWN_DIGEST}
    return bytes_digest(json.dumps(rest, separators=(",", ":")).encode())


def sealed(content: Mapping[str, object]) -> dict[str, object]:
    """Return a JSON document with its own digest as its last key.

    Examples:
        >>> document = sealed({"a": 1})
        >>> is_intact(document), is_intact({**document, "a": 2}), is_intact({"a": 1})
        (True, False, False)
    """
    # What a reader will find: tuples are lists by then, and keys are strings.
    rest = {name: value for name, value in json.loads(json.dumps(content)).items() if name != OWN_DIGEST}
    return {**rest, OWN_DIGEST: document_digest(rest)}


def is_intact(content: Mapping[str, object]) -> bool:
    """Whether a JSON document has its own digest, and is what it was when that was taken."""
    return OWN_DIGEST in content and content[OWN_DIGEST] == document_digest(content)
