"""What the server answers: the page, and below `/api/v1` an interface for programs with its description."""

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Mapping
from importlib.resources import files
from typing import Annotated, Any

from qinn import __version__
from qinn.escaping import visible
from qinn.extras import needs
from qinn.report.clip_page import clip_css, clip_fragment, clip_page
from qinn.results.clip_score import ClipScore, json_schema
from qinn.serving.gate import API
from qinn.serving.jobs import FullError, Job, Jobs, State
from qinn.serving.options import ServeOptions
from qinn.serving.scoring import About

with needs("serve", "`qinn serve`"):
    from fastapi import FastAPI, HTTPException, Query, Request, Response
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, StreamingResponse
    from starlette.requests import ClientDisconnect

__all__ = ["build_app"]

SECONDS_FOR_A_BODY = 120.0
SECONDS_BETWEEN_PIECES = 10.0
_LOOK = 0.1
_HEARTBEAT = 5.0
_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
}
_LONGEST_NAME = 120
_NOT_THERE = "There is no such clip, or no longer."

DESCRIPTION = """Score clips with the run that this server was started with. Every request needs the header
`Authorization: Bearer TOKEN`. A clip is sent as the body of a request; it is scored by another process, one after the
other, and deleted when it has been. Its result is kept for a quarter of an hour after it was last asked for. A clip for
which nobody asks for a minute is given up. Errors are JSON, `{"error": "one sentence"}`."""

_CLIP_BODY = {
    "requestBody": {
        "required": True,
        "description": "The file as it is: mp4, mov, mkv, webm, avi, wav, flac, mp3, aac or ogg.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_NAMED = "#/components/schemas/"
_ERROR = {"content": {"application/json": {"schema": {"$ref": f"{_NAMED}Error"}}}}
_STATUS = {"content": {"application/json": {"schema": {"$ref": f"{_NAMED}Status"}}}}
_SAID_BY_THE_GATE = {
    "403": "The token is missing or wrong, or a page of another origin asks.",
    "421": "The server does not go by that name.",
    "503": "Too many ask at the same time; `Retry-After` says when to come again.",
}
_SCHEMAS: dict[str, Any] = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "Status": {
        "type": "object",
        "required": ["id", "name", "state", "ahead", "stage", "share", "error"],
        "properties": {
            "id": {"type": "string"},
            "name": {"type": "string"},
            "state": {"enum": [state.value for state in State]},
            "ahead": {"type": ["integer", "null"], "description": "Clips before this one."},
            "stage": {"type": ["string", "null"], "description": "What is being done."},
            "share": {"type": ["number", "null"], "description": "Which share of that is done."},
            "error": {"type": ["string", "null"], "description": "Why it failed."},
        },
    },
}


def _refused(*codes: int) -> dict[int | str, dict[str, Any]]:
    said = {
        404: _NOT_THERE,
        409: "The clip is not done yet.",
        413: "The clip is too large.",
        408: "The clip came too slowly.",
        422: "The clip, or what was said of it, is refused.",
        507: "There is no space for the clip.",
        429: "No more clips can wait; `Retry-After` says when to come again.",
    }
    return {code: {"description": said[code], **_ERROR} for code in codes}


def build_app(jobs: Jobs, about: About, options: ServeOptions) -> FastAPI:
    """Return the application, without the gate before it.

    Args:
        jobs: The clips.
        about: What the run is.
        options: How it is served.
    """
    app = FastAPI(
        title="qinn",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{API}/openapi.json",
        redirect_slashes=False,
    )
    _add_errors(app)
    _add_page(app)

    def found(number: str) -> Job:
        job = jobs.find(number)
        if job is None:
            raise HTTPException(404, _NOT_THERE)
        return job

    def result(number: str) -> bytes:
        job = found(number)
        if job.state is State.FAILED:
            raise HTTPException(422, job.error)
        if job.state is not State.DONE:
            raise HTTPException(409, "The clip is not done yet.")
        return job.result

    @app.get(f"{API}/about", summary="Say what this server does")
    def say_what_it_does() -> dict[str, Any]:
        return {
            "qinn": __version__,
            "run": about.name,
            "predicts": about.kind,
            "tiers": dict(about.tiers),
            "stages": list(about.stages),
            "level": options.level,
            "max_bytes": options.max_bytes,
            "max_seconds": options.max_seconds,
            "waiting": options.waiting,
            "kept": options.keep is not None,
            "private": options.is_private,
            "clips": jobs.counts(),
        }

    @app.post(
        f"{API}/clips",
        status_code=202,
        summary="Send a clip",
        responses={
            202: {"description": "It waits to be scored.", **_STATUS},
            **_refused(408, 413, 422, 429, 507),
        },
        openapi_extra=_CLIP_BODY,
    )
    async def send_a_clip(
        request: Request,
        name: Annotated[str, Query(max_length=1000, description="What to call it.")] = "clip",
        begin: Annotated[float | None, Query(ge=0, le=1e6, description="Where to begin, in seconds.")] = None,
        end: Annotated[float | None, Query(gt=0, le=1e6, description="Where to end.")] = None,
        words: Annotated[
            str | None, Query(max_length=5000, description="What is said, if you know it.")
        ] = None,
    ) -> Response:
        if end is not None and end <= (begin or 0.0):
            raise HTTPException(422, "`end` must lie behind `begin`.")
        if _stated_size(request) > options.max_bytes:
            await _let_go(request, options)
            raise HTTPException(413, _too_large(options))
        try:
            job = jobs.reserve(_shown(name), begin, end, None if words is None else tuple(words.split()))
        except FullError as error:
            await _let_go(request, options)
            raise HTTPException(429, str(error), {"Retry-After": str(error.seconds)}) from None
        try:
            await _receive(request, job, options)
        except BaseException:
            jobs.remove(job)
            raise
        jobs.submit(job)
        place = {"Location": f"{API}/clips/{job.id}"}
        return JSONResponse(jobs.status(job), status_code=202, headers=place)

    @app.get(f"{API}/clips/{{id}}", summary="Say where a clip is", responses={200: _STATUS, **_refused(404)})
    def say_where_it_is(id: str) -> Response:
        return JSONResponse(jobs.status(found(id)))

    @app.get(
        f"{API}/clips/{{id}}/events",
        summary="Say it whenever it changes",
        responses={
            200: {
                "description": "Server-sent events `status`, each with a status as data, until it is done or failed.",
                "content": {"text/event-stream": {}},
            },
            **_refused(404),
        },
    )
    def say_whenever_it_changes(id: str) -> Response:
        return StreamingResponse(_events(jobs, found(id)), media_type="text/event-stream")

    @app.get(
        f"{API}/clips/{{id}}/result",
        summary="Give the result",
        responses={
            200: {"content": {"application/json": {"schema": {"$ref": f"{_NAMED}ClipScore"}}}},
            **_refused(404, 409, 422),
        },
    )
    def give_the_result(id: str) -> Response:
        return Response(result(id), media_type="application/json")

    @app.get(
        f"{API}/clips/{{id}}/fragment",
        summary="Give the result as a piece of HTML",
        responses={200: {"content": {"text/html": {}}}, **_refused(404, 409, 422)},
    )
    def give_a_fragment(id: str) -> Response:
        return Response(clip_fragment(_read(result(id))), media_type=_TYPES["html"])

    @app.get(
        f"{API}/clips/{{id}}/page",
        summary="Give the result as a page that needs nothing else",
        responses={200: {"content": {"text/html": {}}}, **_refused(404, 409, 422)},
    )
    def give_a_page(id: str) -> Response:
        head = {"Content-Disposition": 'attachment; filename="clip-score.html"'}
        return Response(clip_page(_read(result(id))), media_type=_TYPES["html"], headers=head)

    @app.delete(
        f"{API}/clips/{{id}}",
        status_code=204,
        summary="Delete a clip with its result, or give it up",
        responses=_refused(404),
    )
    def delete_it(id: str) -> None:
        if not jobs.delete(id):
            raise HTTPException(404, _NOT_THERE)

    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Put the schemas into the description that are not made of annotations, and who may ask."""
    described = app.openapi()
    components = described.setdefault("components", {})
    components["schemas"] = {
        name: schema
        for name, schema in components.get("schemas", {}).items()
        if name not in ("HTTPValidationError", "ValidationError")
    } | {**_SCHEMAS, **_result_schemas()}
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    described["security"] = [{"token": []}]
    for operations in described["paths"].values():
        for operation in operations.values():
            operation["responses"] |= {
                code: {"description": said, **_ERROR} for code, said in _SAID_BY_THE_GATE.items()
            }
            # What FastAPI says by itself of arguments that it refuses; ours is one sentence.
            if "HTTPValidationError" in json.dumps(operation["responses"].get("422", {})):
                operation["responses"]["422"] = _refused(422)[422]


def _result_schemas() -> dict[str, Any]:
    """Return the schema of a result and its parts, which refer to each other by the places that they get here."""
    schema = json.loads(json.dumps(json_schema()).replace('"#/$defs/', f'"{_NAMED}'))
    parts = schema.pop("$defs", {})
    return {**parts, "ClipScore": schema}


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def refused(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = first["loc"][-1]
        return JSONResponse({"error": f"`{where}`: {str(first['msg']).lower()}."}, 422)

    async def answered(request: Request, error: Any) -> Response:
        said = {404: "There is nothing here.", 405: "That cannot be done here."}
        detail = str(error.detail)
        known = detail if " " in detail and detail.endswith(".") else said.get(error.status_code, detail)
        return JSONResponse({"error": known}, error.status_code, headers=error.headers)

    # The framework's own class, which knows no path, and ours.
    for kind in HTTPException.__mro__[:2]:
        app.add_exception_handler(kind, answered)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "This server made a mistake; its own output says which."}, 500)


def _add_page(app: FastAPI) -> None:
    """Have the files of the page answered, each under its name and no other."""
    folder = files("qinn.serving").joinpath("page")
    contents = {
        one.name: one.read_bytes() for one in folder.iterdir() if one.name.partition(".")[2] in _TYPES
    }
    contents["clip.css"] = clip_css().encode()
    contents[""] = contents.pop("index.html")
    for name, content in contents.items():
        kind = _TYPES[name.partition(".")[2] or "html"]

        def answer(content: bytes = content, kind: str = kind) -> Response:
            return Response(content, media_type=kind)

        app.add_route(f"/{name}", lambda request, answer=answer: answer(), include_in_schema=False)


def _read(content: bytes) -> ClipScore:
    return ClipScore.from_json(json.loads(content))


def _shown(name: str) -> str:
    """Return what a clip is called: the last part of a path, visible, not endless."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2].strip()
    shown = visible(last).replace("`", "'")
    if len(shown) > _LONGEST_NAME:
        shown = f"{shown[: _LONGEST_NAME // 2]}…{shown[-_LONGEST_NAME // 2 :]}"
    return shown or "clip"


def _stated_size(request: Request) -> int:
    stated = request.headers.get("content-length", "0")
    return int(stated) if stated.isdigit() else 0


def _too_large(options: ServeOptions) -> str:
    return f"The clip has more than {options.max_megabytes:g} MB; cut it, or make its pictures smaller."


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """Return the body piece by piece, each in time."""
    stream = request.stream()
    loop = asyncio.get_running_loop()
    end = loop.time() + SECONDS_FOR_A_BODY
    while True:
        async with asyncio.timeout(min(SECONDS_BETWEEN_PIECES, end - loop.time())):
            piece = await anext(stream, None)
        if piece is None:
            return
        yield piece


async def _receive(request: Request, job: Job, options: ServeOptions) -> None:
    """Write a body to the file of a clip."""
    size = 0
    try:
        with job.clip.path.open("xb") as stream:
            async for piece in _pieces(request):
                size += len(piece)
                if size <= options.max_bytes:
                    stream.write(piece)
                elif size > 2 * options.max_bytes:  # as far as `_let_go` goes
                    break
    except TimeoutError:
        raise HTTPException(
            408, "The clip came too slowly; send it again.", {"Connection": "close"}
        ) from None
    except ClientDisconnect:
        # Nobody reads this, and whoever runs the server need not hear of it.
        raise HTTPException(400, "The clip did not arrive.") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise HTTPException(
            507, "The server has no space for the clip; free some there, or send a smaller one."
        ) from None
    if size > options.max_bytes:
        raise HTTPException(413, _too_large(options), {"Connection": "close"})
    if not size:
        raise HTTPException(422, f"`{job.clip.name}` is empty.")


async def _let_go(request: Request, options: ServeOptions) -> None:
    """Take a body that nobody wants, as much of it as a clip may have, so that who sends it hears the answer.

    A connection that is closed while something of it is unread is reset, and the answer lost. Programs that ask before
    they send need not be waited for.
    """
    if "expect" in request.headers:
        return
    size = 0
    try:
        async for piece in _pieces(request):
            size += len(piece)
            if size > options.max_bytes:
                return
    except (TimeoutError, ClientDisconnect):
        return


async def _events(jobs: Jobs, job: Job) -> AsyncIterator[str]:
    """Tell where a clip is, at once and whenever that changes, until nothing more comes of it."""
    loop = asyncio.get_running_loop()
    with jobs.watched(job):
        last: Mapping[str, Any] | None = None
        said = loop.time()
        while not jobs.is_over:
            is_over = jobs.find(job.id) is None
            status = jobs.status(job)
            if is_over:
                status["state"], status["error"] = "failed", job.ending or "The clip was deleted."
            # What was told, not what is: it may end while the reader takes its time.
            is_over = is_over or State(status["state"]).is_final
            if status != last:
                last, said = status, loop.time()
                yield f"event: status\ndata: {json.dumps(status)}\n\n"
            elif loop.time() - said > _HEARTBEAT:
                said = loop.time()
                yield ": still here\n\n"
            if is_over:
                return
            await asyncio.sleep(_LOOK)
