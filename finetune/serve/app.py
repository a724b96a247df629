"""The server's addresses, as an ASGI application with an OpenAPI description."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from ...datasets.base.schema import schema
from .asked import Assimilate, Encoding, Format, Predict
from .described import page_of
from .pool import Head, Pool
from .receiving import received, require_own
from .refusals import Refused
from .served import Served

Call = Callable[[Request], Awaitable[Response]]
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; form-action 'none'; base-uri 'none'",
}
ASSETS = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "drawing.js": "text/javascript",
    "charts.js": "text/javascript",
}


FILE = (
    "A file with the checkpoint's fields by name (further constant fields and parameters, too) "
    "along time and space. What it takes as prescribed must be there at all times of the forecast: "
    "along the file's time, with an earlier initial time (start), or along times of its own."
)


def _about(text: str, ge: int | None = None) -> Any:
    """What a key of the address means, and the least that it may be."""
    return Field(description=text, ge=ge)


class FileQuery(BaseModel, extra="forbid"):
    """What is asked beside an uploaded file; as in `Predict`."""

    checkpoint: Annotated[str, _about("name of a checkpoint that is served")]
    sample: Annotated[int | None, _about("which of several in the file, from 0", ge=0)] = None
    start: Annotated[
        str | None,
        _about(
            "initial time, one of the file's, as a number or a date; a frame's number where it has "
            "no times (default: the last frame's)"
        ),
    ] = None
    steps: Annotated[int | None, _about("frames to predict", ge=1)] = None
    times: Annotated[str | None, _about("lead times instead, as in 0.1,0.2")] = None
    mode: Annotated[
        Literal["autoregressive", "direct"], _about("from the frame before, or the given ones")
    ] = "autoregressive"
    members: Annotated[int | None, _about("of an ensemble", ge=1)] = None
    seed: Annotated[int, _about("of its perturbations", ge=0)] = 0
    strict: Annotated[bool, _about("refuse what is outside of what was trained")] = False
    parameters: Annotated[str, _about("values in place of the file's, as JSON")] = "{}"
    format: Annotated[Format, _about("of the answer")] = "json"
    encoding: Annotated[Encoding, _about("of numbers in JSON")] = "lists"
    compare: Annotated[bool, _about("add what was given, and spectra")] = False

    def plain(self) -> dict[str, Any]:
        """As a worker takes it.

        Raises:
            Refused: times are no numbers, or parameters no JSON object.
        """
        forecast = self.model_dump(include={"steps", "mode", "members", "seed", "strict"})
        if self.times is not None:
            forecast["times"] = _numbers(self.times)
        try:
            forecast["parameters"] = json.loads(self.parameters)
        except (ValueError, RecursionError):
            raise Refused('parameters must be JSON, as in {"viscosity": 0.01}') from None
        answer = self.model_dump(include={"format", "encoding", "compare"})
        return {
            "checkpoint": self.checkpoint,
            "sample": self.sample,
            "start": self.start,
            "forecast": {key: value for key, value in forecast.items() if value is not None},
            "answer": answer,
        }


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise Refused(f"times must be numbers, as in 0.1,0.2; got {text[:60]!r}") from None


def application(served: Served, host: str = "127.0.0.1") -> FastAPI:
    """The application that serves checkpoints and datasets.

    Args:
        served: what is offered, and its limits.
        host: where the server listens; at a loopback address it answers to no other name.
    """
    pool = Pool(served)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        pool.open()
        try:
            yield
        finally:
            pool.close()

    app = FastAPI(
        title="Pelagos",
        version=version("pelagos"),
        description="Predictions and estimates of neural operators on this machine.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    _add_guard(app, host)
    _add_pages(app)
    _add_lists(app, pool)
    _add_answers(app, pool)
    return app


def _add_guard(app: FastAPI, host: str) -> None:
    """One-line refusals, headers that keep pages apart, and no requests of other sites."""

    @app.middleware("http")
    async def guard(request: Request, go_on: Call) -> Response:
        try:
            require_own(request, host)
            response = await go_on(request)
        except Refused as error:
            response = _refusal(error.status, str(error))
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return _refusal(error.status, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        return _refusal(422, f"{place}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> Response:
        return _refusal(error.status_code, f"{error.detail}; see /docs")


def _refusal(status: int, text: str) -> Response:
    again = {"Retry-After": "1"} if status == 503 else {}
    # What is left of a body that was refused is not read.
    closed = {"Connection": "close"} if status in (403, 408, 413, 503) else {}
    return JSONResponse({"error": text[:600]}, status, {**again, **closed})


@cache
def _asset(name: str) -> str:
    return files("pelagos.finetune.serve").joinpath(name).read_text("utf-8")


def _add_pages(app: FastAPI) -> None:
    """The page for people, the page about the addresses, and what they need."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(_asset("page.html"))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page_of(app.openapi()))

    @app.get("/assets/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in ASSETS:
            return _refusal(404, "Not Found; see /docs")
        return Response(_asset(name), media_type=ASSETS[name])


def _add_lists(app: FastAPI, pool: Pool) -> None:
    """What is offered; asked of a worker once."""
    known: dict[tuple[str, str], tuple[Head, bytes]] = {}

    async def told(task: str, name: str = "") -> Response:
        if (task, name) not in known:
            async with pool.place():
                found = await pool.answer(task, {"name": name})
            if found[0].status != 200:
                return _response(*found)
            known[task, name] = found
        return _response(*known[task, name])

    @app.get("/api/health", summary="Whether the server answers, and how many requests wait")
    async def health() -> Mapping[str, Any]:
        return {"status": "ok", "requests": pool.count}

    @app.get("/api/checkpoints", summary="The checkpoints, and what each maps")
    async def checkpoints() -> Response:
        return await told("checkpoints")

    @app.get("/api/checkpoint", summary="All that is known of a checkpoint")
    async def checkpoint(name: str) -> Response:
        return await told("checkpoint", name)

    @app.get("/api/datasets", summary="The datasets that samples can be taken of")
    async def datasets() -> Response:
        return await told("datasets")


def _add_answers(app: FastAPI, pool: Pool) -> None:
    """What is computed."""

    async def computed(request: Request, task: str, query: dict[str, Any]) -> Response:
        async with pool.place(), received(request, pool.limits) as body:
            return _response(*await pool.answer(task, query, str(body)))

    @app.post(
        "/api/predict", summary="A forecast from a stored sample or given fields",
        openapi_extra=_body(Predict),
    )  # fmt: skip
    async def predict(request: Request) -> Response:
        return await computed(request, "predict", {})

    @app.post(
        "/api/predict/file", summary="A forecast from NetCDF, zipped Zarr or another stored layout",
        openapi_extra={"requestBody": {"required": True, "description": FILE, "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("application/x-netcdf", "application/zip", "application/octet-stream")}}},
    )  # fmt: skip
    async def predict_file(request: Request, query: Annotated[FileQuery, Query()]) -> Response:
        return await computed(request, "predict file", query.plain())

    @app.post(
        "/api/assimilate", summary="An estimate from observations, and a forecast",
        openapi_extra=_body(Assimilate),
    )  # fmt: skip
    async def assimilate(request: Request) -> Response:
        return await computed(request, "assimilate", {})


def _body(kind: type) -> dict[str, Any]:
    """The OpenAPI description of a JSON body."""
    content = {"application/json": {"schema": schema(kind)}}
    return {"requestBody": {"required": True, "content": content}}


def _response(head: Head, content: bytes) -> Response:
    named = {"Content-Disposition": f'attachment; filename="{head.name}"'} if head.name else {}
    return Response(content, head.status, named, head.type)
