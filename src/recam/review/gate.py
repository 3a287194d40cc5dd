"""Who may talk to the server: this machine, with the token that is a part of the address, and in moderation."""

from __future__ import annotations

import hmac

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 48 << 20
"""Bytes of a request: a large photo, or the mask of one."""

_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; form-action 'none'; base-uri 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),  # the address holds the token
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_LOCAL = ("127.0.0.1", "localhost")


class Gate:
    """Lets requests pass whose path begins with the token, whose host is this machine, and whose body is not too large.

    The token is a part of the path, so that every file, picture and endpoint below it needs it, without cookies, which a browser would
    share with all other servers on this machine. Other hosts are refused, so that no name that points here can be used from outside.

    Args:
        app: what is behind the gate; it sees the path without the token.
        token: the secret.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").rpartition(":")[0] or headers.get(b"host", b"").decode("latin-1")
        _, _, rest = scope["path"].partition("/")
        given, slash, inner = rest.partition("/")
        # Compared in constant time: how far a guess is right cannot be measured.
        if not hmac.compare_digest(given.encode(), self._token) or host not in _LOCAL:
            refusal = "Wrong or missing token: open the address that `recam review` printed.\n"
            await PlainTextResponse(refusal, 403)(scope, receive, send)
            return
        if not slash:
            await RedirectResponse(f"/{given}/")(scope, receive, send)
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MAX_BODY:
            await PlainTextResponse(f"Too large: at most {MAX_BODY >> 20} MiB can be sent.\n", 413)(scope, receive, send)
            return
        received = 0

        async def bounded() -> Message:
            """Also a request that does not tell its length ends at the bound."""
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY:
                raise HTTPException(413, f"Too large: at most {MAX_BODY >> 20} MiB can be sent.")
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        path = f"/{inner}"
        await self._app({**scope, "path": path, "raw_path": path.encode()}, bounded, with_headers)
