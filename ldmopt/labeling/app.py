"""The site: one page, the pictures, and a small JSON interface.

``GET /api/raters`` who has answered, ``GET /api/queue?rater=`` a rater's progress and next
questions, ``POST /api/answers`` one answer or its withdrawal, ``GET /pictures/<digest>.png``.
What cannot be met is answered 4xx (or 503 where the store fails) with ``{"error": one line}``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from ldmopt.errors import UserError
from ldmopt.labeling.access import COOKIE_SECONDS, HEADERS, Gate
from ldmopt.labeling.desk import Answer, Desk, Refusal
from ldmopt.labeling.ledger import Ledger
from ldmopt.labeling.shelf import DIGEST, Gone, Shelf
from ldmopt.labels import Outcome

BODY_BYTES = 4096
STATIC = {
    "page.css": "text/css", "page.js": "text/javascript", "outbox.js": "text/javascript",
    "pictures.js": "text/javascript", "icon.svg": "image/svg+xml",
}


class Posted(BaseModel):
    """An answer as it is sent."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rater: str = Field(max_length=1000)
    page: int = Field(ge=1, le=10**9)
    step: int = Field(ge=0, le=10**6)
    left: str = Field(pattern=DIGEST.pattern, min_length=64, max_length=64)
    right: str = Field(pattern=DIGEST.pattern, min_length=64, max_length=64)
    preferred: Outcome


def make_app(
    ledger: Ledger, shelf: Shelf, token: str | None = None, *, run: str = "", wanted: int = 100,
    seed: int = 0,
) -> FastAPI:
    """Return the site.

    Args:
        ledger: where answers go.
        shelf: the pictures that may be shown, and the chooser over them.
        token: asked for with every request; None for a page that loopback alone reaches.
        run: a word that tells this run from others, for what browsers keep.
        wanted: answers hoped for from each rater.
        seed: of sides and repeats.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    desk, gate = Desk(ledger, shelf, wanted=wanted, seed=seed), Gate(token)

    def refused(status: int, reason: str) -> Response:
        return JSONResponse({"error": reason}, status, {"Cache-Control": "no-store"})

    @app.exception_handler(Refusal)
    async def refusal(_: Request, error: Refusal) -> Response:
        return refused(error.status, str(error))

    @app.exception_handler(UserError)
    async def failure(_: Request, error: UserError) -> Response:
        gone = isinstance(error, Gone)
        return refused(HTTPStatus.GONE if gone else HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    @app.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> Response:
        return refused(error.status_code, str(error.detail).lower())

    @app.middleware("http")
    async def guarded(
        request: Request, go: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        try:
            gate.check(request)
            response = await go(request)
        except Refusal as error:
            response = _stranger() if request.url.path == "/" and error.status == 401 else (
                refused(error.status, str(error)))
        for name, value in HEADERS.items():
            response.headers[name] = value
        return response

    @app.get("/")
    def page(request: Request) -> Response:
        if gate.holds(request.query_params.get("token")):
            # The token goes from the address bar, where it would be copied along, to a cookie.
            rest = request.url.remove_query_params("token").query
            response: Response = RedirectResponse(f"/?{rest}" if rest else "/", 303)
            response.set_cookie(gate.cookie, token or "", max_age=COOKIE_SECONDS, httponly=True,
                                samesite="lax")
            return response
        return _static("page.html", "text/html")

    @app.get("/{name}.{kind}")
    def static(name: str, kind: str) -> Response:
        file = f"{name}.{kind}"
        if file not in STATIC:
            raise HTTPException(404)
        return _static(file, STATIC[file])

    @app.get("/pictures/{digest}.png")
    def picture(digest: str) -> Response:
        try:
            png = shelf.png(digest)
        except KeyError:
            raise Refusal(HTTPStatus.NOT_FOUND, "no such picture in this run") from None
        return Response(png, media_type="image/png",
                        headers={"Cache-Control": "private, max-age=86400, immutable"})

    @app.get("/api/raters")
    def raters() -> Response:
        return _fresh({"run": run, "raters": desk.raters()})

    @app.get("/api/queue")
    def queue(rater: str = "") -> Response:
        return _fresh(desk.queue(rater))

    @app.post("/api/answers")
    async def answer(request: Request) -> Response:
        posted = _posted(await _body(request))
        return _fresh(await run_in_threadpool(desk.answer, Answer(**posted.model_dump())))

    def _fresh(data: dict[str, Any]) -> Response:
        return JSONResponse(data, headers={"Cache-Control": "no-store"})

    return app


async def _body(request: Request) -> bytes:
    """Return a request's body, reading no more than it may have."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                          f"an answer has at most {BODY_BYTES} bytes")
    return body


def _posted(body: bytes) -> Posted:
    try:
        return Posted.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "answer"
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where}: {first['msg']}") from None


def _static(name: str, kind: str) -> Response:
    data = (resources.files("ldmopt.labeling") / "page" / name).read_bytes()
    return Response(data, media_type=kind, headers={"Cache-Control": "no-cache"})


def _stranger() -> Response:
    """Answer a browser that comes without the token, in words."""
    return Response(
        "This labelling page opens with its whole link, token included. Ask whoever started it.",
        401, {"Cache-Control": "no-store"}, media_type="text/plain",
    )
