"""How much memory there is, so that what cannot fit is refused before it is built; and its lack said in one line."""

import ctypes
import os
import re
from contextlib import suppress
from pathlib import Path

_UNKNOWN = 2**40
_GROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

_OF_RESOURCES = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|not enough memory|unable to allocate"
    r"|storage size calculation overflowed|no cuda gpus|cuda error|found no nvidia driver|not compiled with cuda"
    r"|mps backend|array is too big|maximum allowed dimension",
    re.IGNORECASE,
)
_KINDS = (
    "RuntimeError",
    "OutOfMemoryError",
    "AcceleratorError",
    "AssertionError",
)


def available_memory() -> int:
    """Return how many bytes this process can have at most: of the machine, its group's limit and its own limit.

    Memory that others use is not taken off: what is larger than this can never fit.

    Examples:
        >>> available_memory() > 2**26
        True
    """
    found = [_UNKNOWN]
    with suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(ImportError, OSError, ValueError):
        import resource

        for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            soft = resource.getrlimit(limit)[0]
            if soft != resource.RLIM_INFINITY:
                found.append(soft)
    for place in _GROUP_LIMITS:
        with suppress(OSError, ValueError):
            found.append(int(Path(place).read_text(encoding="ascii")))
    return min(size for size in found if size > 0)


def release_memory() -> None:
    """Give the system back what was freed and the C library kept for later, where it can (glibc)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def shown_size(size: int | float) -> str:
    """Return a number of bytes as one says it.

    Examples:
        >>> shown_size(3 * 2**30), shown_size(5 * 2**20), shown_size(2.0**80)
        ('3.0 GiB', '5.0 MiB', '1099511627776.0 TiB')
    """
    for unit, step in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size:.0f} bytes"


def resource_error(error: BaseException) -> str | None:
    """Return one sentence about a lack of memory or of a device; None for any other error.

    Args:
        error: What was raised.

    Examples:
        >>> resource_error(RuntimeError("DefaultCPUAllocator: can't allocate memory"))  # doctest: +ELLIPSIS
        "There is not enough memory (DefaultCPUAllocator: can't allocate memory); choose ..."
        >>> resource_error(RuntimeError("a mistake of ours")) is None
        True
    """
    words = " ".join(str(error).split())
    sentence = words.split(". ")[0].rstrip(".") or type(error).__name__
    if isinstance(error, MemoryError):
        return _lacking(sentence)
    if type(error).__name__ not in _KINDS or not _OF_RESOURCES.search(words):
        return None
    if re.search(r"memory|allocat|overflowed|too big|dimension", words, re.IGNORECASE):
        return _lacking(sentence)
    return f"The device cannot be used ({sentence}); choose `training.device: cpu`, or mend the device."


def _lacking(sentence: str) -> str:
    return (
        f"There is not enough memory ({sentence}); choose a smaller batch size, fewer trajectories or smaller "
        "dimensions, or fewer workers, and repeat the command."
    )
