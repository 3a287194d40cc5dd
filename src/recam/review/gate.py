"""Who may talk to the server: this machine, with the token that is a part of the address, from the page itself, and in
moderation."""

from __future__ import annotations

import hmac

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_JSON = 4 << 20
"""Bytes of a request that carries JSON: a decision on 200,000 images takes 1.4 MB."""
MAX_PHOTO = 48 << 20
"""Bytes of a photo that is sent to be tried."""
MAX_MASK = 256 << 20
"""Bytes of a corrected mask, one per pixel, as large as images come; the endpoint holds it to the size of its own
image."""

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
_READING = ("GET", "HEAD", "OPTIONS")
_OWN_SITE = (b"same-origin", b"none")
"""Of `Sec-Fetch-Site`: the page's own requests, and those that a person started."""


class Gate:
    """Lets requests pass whose path begins with the token, whose host is this machine, and whose body is not too large.

    The token is a part of the path, so that every file, picture and endpoint below it needs it, without cookies, which
    a browser would share with all other servers on this machine. Other hosts are refused, so that no name that points
    here can be used from outside. What changes anything must come from the page's own origin where the request names
    one: a browser always does, so another site that has learned the address cannot decide in its reader's name;
    programs such as curl name none and need the token alone.

    Every answer, refusals and failures too, carries the headers that keep a browser from running or guessing anything
    in it.

    Args:
        app: what is guarded; it gets the path without the token.
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

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        refusal = self._refusal(scope)
        if refusal:
            status, text = refusal
            await PlainTextResponse(text, status)(scope, receive, with_headers)
            return
        _, _, rest = scope["path"].partition("/")
        token, slash, inner = rest.partition("/")
        if not slash:
            await RedirectResponse(f"/{token}/")(scope, receive, with_headers)
            return
        received, bound = 0, limit_of(inner)

        async def bounded() -> Message:
            """Also a request that does not name its length ends at the bound."""
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > bound:
                raise HTTPException(413, too_large(bound))
            return message

        path = f"/{inner}"
        await self._app({**scope, "path": path, "raw_path": path.encode()}, bounded, with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and text for a request that may not pass, None for one that may."""
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"")
        name, colon, _ = host.decode("latin-1").rpartition(":")
        _, _, rest = scope["path"].partition("/")
        token, _, inner = rest.partition("/")
        # Compared in constant time: how far a guess is right cannot be measured.
        if (
            not hmac.compare_digest(token.encode(), self._token)
            or (name if colon else host.decode("latin-1")) not in _LOCAL
        ):
            return 403, "Wrong or missing token: open the address that `recam review` printed.\n"
        if scope["method"] not in _READING and not _is_own(headers, host):
            return 403, "Another site may not decide here: use the page at the address that `recam review` printed.\n"
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            return 400, "Content-Length is no number of bytes.\n"
        # Beyond 19 digits nothing needs counting, and Python does not read more than 4,300.
        if len(length) > 19 or int(length) > limit_of(inner):
            return 413, f"{too_large(limit_of(inner))}\n"
        return None


def limit_of(path: str) -> int:
    """Bytes that a request to this path (without the token) may carry."""
    if path == "api/try":
        return MAX_PHOTO
    return MAX_MASK if path.startswith("api/masks/") else MAX_JSON


def too_large(limit: int) -> str:
    """What a request over `limit` bytes is answered."""
    size = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit:,} bytes"
    return f"Too large: at most {size} can be sent here."


def _is_own(headers: dict[bytes, bytes], host: bytes) -> bool:
    """Whether a request comes from the page itself, or from no page at all."""
    origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
    # The port counts: another server of this machine is another site.
    return (origin is None or origin.partition(b"://")[2] == host) and (site is None or site in _OWN_SITE)
