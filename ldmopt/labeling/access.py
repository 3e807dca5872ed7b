"""Who may use the page: the token, the names it answers to, and posts of its own only."""

from __future__ import annotations

import hashlib
import re
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ldmopt.errors import UserError
from ldmopt.labeling.desk import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request

TOKEN = re.compile(r"[A-Za-z0-9_-]{8,200}")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
COOKIE_SECONDS = 30 * 24 * 3600

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(24)


def checked_token(token: str) -> str:
    """Return the token.

    Raises:
        UserError: too short, or with characters that a URL would change.
    """
    if not TOKEN.fullmatch(token):
        raise UserError("token: must be 8 to 200 of the characters A-Z a-z 0-9 _ -, "
                        f"not {token[:20]!r}; leave it out and one is made")
    return token


class Gate:
    """Lets requests through, or says why not."""

    def __init__(self, token: str | None) -> None:
        """Take the token; None asks for none and answers under loopback names only."""
        self._token = token
        name = hashlib.sha256((token or "").encode()).hexdigest()[:8]
        self.cookie = f"ldmopt_{name}"

    def check(self, request: Request) -> None:
        """Raise `Refusal` where the request may not be met."""
        if self._token is None and _host(request) not in LOOPBACK:
            # A page elsewhere whose name was made to lead here (DNS rebinding) sends that name.
            raise Refusal(HTTPStatus.FORBIDDEN, "this page answers to localhost only; "
                                                "start it with --host and a token for others")
        if request.method not in ("GET", "HEAD"):
            _own(request)
        if self._token is not None and not self._known(request):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "open the whole link, with its token, that was "
                                                   "printed where the page was started")

    def holds(self, token: str | None) -> bool:
        """Tell whether this is the token."""
        return self._token is not None and token is not None and secrets.compare_digest(
            token.encode(), self._token.encode()
        )

    def _known(self, request: Request) -> bool:
        header = request.headers.get("authorization", "")
        bearer = header.removeprefix("Bearer ") if header.startswith("Bearer ") else None
        offered = (request.cookies.get(self.cookie), request.query_params.get("token"), bearer)
        return any(self.holds(token) for token in offered)


def _host(request: Request) -> str:
    """Return the name that the request asked for, without its port."""
    host = request.headers.get("host", "")
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return name.strip("[]").lower()


def _own(request: Request) -> None:
    """Refuse a post that another site's page sends through the rater's browser."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if foreign or site not in ("same-origin", "none"):
        raise Refusal(HTTPStatus.FORBIDDEN, "answers are taken from the labelling page itself only")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
