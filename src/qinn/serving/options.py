"""How the page is served, and what may be asked of it."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from qinn.errors import ConfigError
from qinn.stated_options import check_options, option

__all__ = ["ServeOptions"]

_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,200}")


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How the page is served, and what may be asked of it.

    Raises:
        ConfigError: If an option is out of its bounds, or the token is one that can be guessed.
    """

    port: int = option(8000, "Port to listen at; 0 for any that is free", bounds=(0, 65535), metavar="PORT")
    host: str = option(
        "127.0.0.1",
        "Address to listen at; with any other than this machine's own, whoever reaches it and has the token can use it",
        metavar="ADDRESS",
    )
    name: tuple[str, ...] = option(
        (), "Further name by which browsers may ask for the page; repeat for more", metavar="NAME"
    )
    token: str | None = option(
        None,
        "What the page has to know to be answered, 16 letters or more; made anew by default",
        metavar="TOKEN",
    )
    level: float = option(
        0.9,
        "Share of new clips whose label the interval, or the set of classes, is to hold",
        bounds=(0.01, 0.999),
        metavar="LEVEL",
    )
    keep: Path | None = option(
        None, "Folder in which clips and results are kept; by default nothing is", metavar="FOLDER", read=Path
    )
    max_megabytes: float = option(64.0, "Largest clip, in megabytes", bounds=(0.001, 4096.0), metavar="N")
    max_seconds: float = option(300.0, "Longest clip, in seconds", bounds=(0.1, 7200.0), metavar="SECONDS")
    waiting: int = option(
        4, "Clips that may wait; beyond them the answer is to come again", bounds=(0, 1000), metavar="N"
    )
    workers: int = option(1, "Clips that are scored at the same time", bounds=(1, 64), metavar="N")

    def __post_init__(self) -> None:
        check_options(self)
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise ConfigError(
                "Option `token` must be 16 to 200 letters, digits or any of `._~-`, but it is something else; leave it "
                "out, and one is made."
            )

    @property
    def max_bytes(self) -> int:
        """Size of the largest clip."""
        return round(self.max_megabytes * 1e6)

    @property
    def is_private(self) -> bool:
        """Whether only programs of this machine can reach the page."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
