"""Connections that do not wait for ever: who sends no request, or half of one, is hung up on."""

import asyncio
from typing import Any, cast

from qinn.extras import needs

with needs("serve", "`qinn serve`"):
    from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["ImpatientProtocol"]

SECONDS_FOR_A_HEAD = 10.0


class ImpatientProtocol(H11Protocol):
    """HTTP as uvicorn speaks it, with a limit of time for everything before a request's body."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head: asyncio.TimerHandle | None = None

    @property
    def _answers(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        # What a protocol of streams is given; asyncio's own annotation says less.
        super().connection_made(cast("asyncio.Transport", transport))
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that drips in gets no more time for each drop."""
        super().data_received(data)
        if self._answers:
            self._stop_waiting()
        elif self._head is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._head = self.loop.call_later(SECONDS_FOR_A_HEAD, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _hang_up(self) -> None:
        if not self._answers:
            self.transport.abort()
