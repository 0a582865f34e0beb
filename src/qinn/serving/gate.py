"""Who is let in: the name under which we are asked, the page that asks, the token; and what browsers are told.

A browser sends requests on behalf of any page that it shows. Pages of others are told apart by their origin, names that
others let point at this machine by the host, and programs without the token by the token, which only the address has
that was printed at the start, in the part of it that browsers never send.
"""

import hmac
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

__all__ = ["API", "Gate", "is_allowed_host"]

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

API = "/api/v1"
"""Where the interface for programs begins."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(self), geolocation=(), display-capture=(), usb=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_OURS = ("localhost", "127.0.0.1", "[::1]")


def is_allowed_host(host: str, *, private: bool, names: Collection[str]) -> bool:
    """Tell whether we are asked under a name of ours.

    Args:
        host: The header, a name or an address with or without a port.
        private: Whether only this machine can reach us; then no other address is ours.
        names: Names that are ours besides.

    Examples:
        >>> is_allowed_host("localhost:8000", private=True, names=())
        True
        >>> is_allowed_host("rebound.example:8000", private=False, names=())
        False
    """
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name = host
    name = name.lower()
    if name in _OURS or name in names:
        return True
    if private:
        return False
    try:
        # A name can be let point anywhere by whoever owns it; an address is what it is.
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


class Gate:
    """Lets requests in, or answers them itself.

    Args:
        app: What is behind it.
        token: What whoever asks must know.
        private: Whether only this machine can reach us.
        names: Names of ours besides this machine's own.
        is_crowded: Tells whether there are more connections than are answered.
    """

    def __init__(
        self,
        app: App,
        *,
        token: str,
        private: bool,
        names: Collection[str] = (),
        is_crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._app, self._is_crowded = app, is_crowded
        self._token = token.encode()
        self._private = private
        self._names = {name.lower() for name in names} | (
            set() if private else {socket.gethostname().lower()}
        )

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        is_api = scope["path"].startswith(API)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                cached = (b"cache-control", b"no-store" if is_api else b"no-cache")
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS, cached]}
            await send(message)

        refusal = self._refusal(scope, is_api)
        if refusal is None:
            await self._app(scope, receive, told)
            return
        status, sentence = refusal
        body = json.dumps({"error": sentence}).encode()
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if status == 503:
            head += [(b"retry-after", b"10"), (b"connection", b"close")]
        await told({"type": "http.response.start", "status": status, "headers": head})
        await told({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Message, is_api: bool) -> tuple[int, str] | None:
        def sent(name: bytes) -> list[str]:
            return [value.decode("latin-1") for key, value in scope["headers"] if key == name]

        if self._is_crowded():
            return 503, "Too many ask at the same time; come again in 10 s."
        hosts = sent(b"host")
        if len(hosts) != 1 or not is_allowed_host(hosts[0], private=self._private, names=self._names):
            return 421, "This server does not go by that name; `qinn serve --name NAME` gives it one."
        ours = {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}
        strangers = [one for one in sent(b"origin") if one.lower() not in ours]
        if strangers or (
            is_api and any(one not in ("same-origin", "none") for one in sent(b"sec-fetch-site"))
        ):
            return 403, "A page of another origin may not ask here."
        if not is_api:
            return None
        tokens = sent(b"authorization")
        known = len(tokens) == 1 and hmac.compare_digest(tokens[0].encode(), b"Bearer " + self._token)
        if not known:
            return 403, "The token is missing or wrong; open the whole address that `qinn serve` printed."
        return None
