"""The server from its first moment to its end: what it was asked for is checked, the run loaded, the address said."""

import errno
import os
import secrets
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qinn.destinations import check_folder
from qinn.errors import ConfigError, OutputError
from qinn.extras import needs, require
from qinn.serving.options import ServeOptions

if TYPE_CHECKING:
    import uvicorn

    from qinn.serving.jobs import Patience

__all__ = ["Server", "serve"]

_MOST_CONNECTIONS = 64
_HEAD_BYTES = 2**16


class Server:
    """A server of the page, from entering it to leaving it.

    Args:
        run: Folder of a finished run, of a model in a comparison or of what was published.
        options: How.
        say: Told what whoever runs this should know.
        patience: For how long what is waited for.
        module: Where the function is that scores in another process.

    Attributes:
        url: Its address, without the token.
        token: What has to be known.
        jobs: The clips.
    """

    def __init__(
        self,
        run: Path | str,
        options: ServeOptions | None = None,
        *,
        say: Callable[[str], object] = print,
        patience: "Patience | None" = None,
        module: str = "qinn.serving.score_in_process",
    ) -> None:
        require("serve", "clips", "report", what="`qinn serve`")
        from qinn.serving.jobs import Jobs
        from qinn.serving.scoring import ScoringSettings
        from qinn.serving.spool import Spool

        self.options = options or ServeOptions()
        self.token = self.options.token or secrets.token_urlsafe(24)
        self._say = say
        keep = None if self.options.keep is None else check_folder(self.options.keep, inputs=[run])
        self._listening = _listen(self.options)
        host = self.options.host
        shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._listening.getsockname()[1]}"
        self._spool = Spool()
        settings = ScoringSettings(
            run=Path(run), level=self.options.level, max_seconds=self.options.max_seconds, module=module
        )
        self.jobs = Jobs(
            settings,
            self._spool,
            waiting=self.options.waiting,
            workers=self.options.workers,
            keep=keep,
            patience=patience,
            log=say,
        )
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Server":
        """Load the run, then listen.

        Raises:
            QinnError: If the run cannot score clips.
        """
        from qinn.serving.app import build_app
        from qinn.serving.gate import Gate

        try:
            about = self.jobs.start()
            if self.jobs.keep is not None:
                _make_folder(self.jobs.keep)
            gate = Gate(
                build_app(self.jobs, about, self.options),
                token=self.token,
                private=self.options.is_private,
                names={name.lower() for name in (*self.options.name, self.options.host)},
                is_crowded=self._is_crowded,
            )
            self._server = _uvicorn(gate)
            # Not in the main thread: there signals arrive, and end this in the way of all commands.
            self._thread = threading.Thread(target=self._server.run, args=([self._listening],), daemon=True)
            self._thread.start()
        except BaseException:
            self.close()
            raise
        for line in self._greeting(about.name):
            self._say(line)
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def wait(self) -> None:
        """Wait until it ends."""
        # In pieces, so that a signal is answered.
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(0.5)

    def close(self) -> None:
        """End it: first what would stay. Processes die with this one, which on a busy machine gets no further."""
        self._spool.close()
        self.jobs.close()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(2)
        # One that is not done yet closes it itself; under its hands it would be an error.
        if self._thread is None or not self._thread.is_alive():
            self._listening.close()

    def _is_crowded(self) -> bool:
        return self._server is not None and len(self._server.server_state.connections) > _MOST_CONNECTIONS

    def _greeting(self, name: str) -> list[str]:
        keep = self.options.keep
        lines = [
            f"scoring clips with the run `{name}` at",
            f"{self.url}/#{self.token}",
            f"kept in `{keep}`: clips and results" if keep else "nothing is kept; Ctrl-C ends it",
        ]
        if not self.options.is_private:
            lines += [
                "warning: whoever reaches this machine and has the token can send files to it, and what is sent can be "
                "read on the way; for others than yourself put a server with TLS before it",
                "note: browsers give camera and microphone to pages of https or of one's own machine only",
            ]
        return lines


def serve(
    run: Path | str, options: ServeOptions | None = None, *, say: Callable[[str], object] = print
) -> None:
    """Serve a page on which clips are scored, until a signal ends it.

    Args:
        run: Folder of a finished run, of a model in a comparison or of what was published.
        options: How.
        say: Told the address, which holds the token, and whatever else whoever runs this should know.

    Raises:
        CheckpointError: If there is no such run.
        ConfigError: If the run cannot score clips, or the address cannot be had.
        MissingPackageError: If a package is not installed.
        OutputError: If the folder for what is kept is another's.
    """
    with Server(run, options, say=say) as server:
        server.wait()


def _make_folder(keep: Path) -> None:
    """Make the folder for what is kept: not before the run is there, since a refusal leaves nothing."""
    try:
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"`{keep}` cannot be made: {error.strerror}; choose another folder.") from error


def _listen(options: ServeOptions) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=_MOST_CONNECTIONS)
    except OSError as error:
        # Without the address, which Python appends; errors of names have negative numbers.
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else str(error.strerror)
        remedy = (
            "choose another by the option `port`, or 0 for any that is free"
            if number in (errno.EADDRINUSE, errno.EACCES)
            else "give an address of this machine by the option `host`"
        )
        raise ConfigError(
            f"Nothing can listen at `{options.host}`, port {options.port}: {why.lower()}; {remedy}."
        ) from error


def _uvicorn(gate: Callable[..., Any]) -> "uvicorn.Server":
    with needs("serve", "`qinn serve`"):
        import uvicorn

    from qinn.serving.connections import ImpatientProtocol

    return uvicorn.Server(
        uvicorn.Config(
            gate,
            http=ImpatientProtocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="error",  # what is wrong with requests is told to whoever sent them
            server_header=False,
            date_header=False,
            limit_concurrency=4 * _MOST_CONNECTIONS,  # the last resort, which says nothing
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=_HEAD_BYTES,
        )
    )
