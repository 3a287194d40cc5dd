"""The endpoints of the review page. Each is described on the page ``api.html``, made from ``openapi.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from recam.errors import DataError, RecamError, StoreError
from recam.review.bodies import Changed, Decision, Export, Reverted, Thresholds, Together, Undo, describe_decision
from recam.review.chosen import write_recipe
from recam.review.corrections import write_corrections
from recam.review.decisions import Event, UndoError
from recam.review.export import export_decisions
from recam.review.gate import Gate
from recam.review.judged import jpeg, save_corrected
from recam.review.layers import CORRECTED, REVIEW, Item
from recam.review.packing import write_packed
from recam.review.photo import picture_data
from recam.review.proposals import SCALES, propose_regions
from recam.review.session import MissingError, Session, mask_from_bytes
from recam.review.trial import BusyError

PAGE = Path(__file__).parent / "page"
AT_ONCE = 256
"""Images that one request may name."""
AT_ONCE_FULL = 16
"""The same at their full size: planes of a large image take as many bytes as it has pixels."""
DETAIL_SIDE = 2048
"""Longer side (pixels) of a photo that is opened."""
MODEL = "model"
"""Name of the job in which the segmentation model predicts all images."""

api = APIRouter(prefix="/api")


def _session(request: Request) -> Session:
    session: Session = request.app.state.session
    return session


Here = Annotated[Session, Depends(_session)]
Tab = Annotated[
    str,
    Query(
        min_length=1, max_length=64, pattern=r"^[\w-]+$", description="Any name of the browser tab; undo works by tab."
    ),
]


@api.get("/run", summary="The run as a whole")
def about(session: Here) -> dict[str, Any]:
    """Classes, layers with their thresholds and mIoU curves, number of images, and whether the photos are available."""
    return session.about()


@api.get("/images", summary="All images, by column")
def images(session: Here) -> dict[str, list[Any]]:
    """Ids, splits, labels (class indices) and measures of all images. An image's place in the columns is its number."""
    return session.columns()


@api.get("/thumbnails", summary="Thumbnails of some images", response_class=Response)
def thumbnails(
    session: Here, images: Annotated[str, Query(description="Numbers, with commas; at most 256.", max_length=4000)]
) -> Response:
    """For each image u32 number and u32 length (little-endian), then so many bytes of JPEG; length 0 where the photo is
    gone."""
    parts = []
    for number in _numbers(session, images):
        item = session.item(number)
        try:
            picture = session.thumbnails(number, lambda item=item: session.photo(item))  # type: ignore[misc]
        except RecamError:
            picture = b""
        parts.append(np.array([number, len(picture)], "<u4").tobytes() + picture)
    return _binary(b"".join(parts))


@api.get("/layers", summary="Maps or masks of some images", response_class=Response)
def layers(
    session: Here,
    layer: Annotated[str, Query(max_length=200, description="Name of a layer; `corrected` for corrected masks.")],
    images: Annotated[str, Query(description="Numbers, with commas; at most 256.", max_length=4000)],
    side: Annotated[
        int, Query(ge=0, le=4096, description="Reduce where the longer side exceeds this many pixels; 0: never.")
    ] = 160,
) -> Response:
    """8-bit planes in the form of `recam.review.packing`; images without this layer are left out."""
    found = None if layer == CORRECTED else session.layer(layer)
    numbers = _numbers(session, images, AT_ONCE if 0 < side <= DETAIL_SIDE else AT_ONCE_FULL)
    packed = (session.pack(found, number, side) for number in numbers)
    return _binary(write_packed(item for item in packed if item))


@api.get("/photos/{number}", summary="One photo", response_class=Response)
def photo(session: Here, number: int) -> Response:
    """JPEG, its longer side at most 2048 pixels. 422 where the photo is gone."""
    return Response(
        jpeg(session.photo(session.item(number)), 90, DETAIL_SIDE),
        media_type="image/jpeg",
        headers={"cache-control": "private"},
    )


@api.get("/regions/{number}", summary="Regions of like colour in a photo", response_class=Response)
def regions(
    session: Here,
    number: int,
    grain: Annotated[int, Query(ge=0, lt=len(SCALES), description="0: small regions, 3: large ones.")] = 1,
) -> Response:
    """Little-endian u32 height, width, then the number of its region for each pixel, row by row; of the photo reduced
    to 640 pixels. The wand of the page takes one of them at a click."""
    found = propose_regions(session.photo(session.item(number)), SCALES[grain])
    return _binary(np.array(found.shape, "<u4").tobytes() + found.astype("<u4").tobytes())


@api.get("/counts", summary="Pixel counts against the truth", response_class=Response)
def counts(session: Here, layer: Annotated[str, Query(max_length=200)]) -> Response:
    """Little-endian float64 (K+1 truths, K+1 winners, 100 numbers of thresholds exceeded), the last winner for ignored
    pixels.

    From them follows the mIoU of any thresholds. 202 while they are being counted: see `jobs` of `changes`. 404 without
    truth.
    """
    found = session.layer(layer)
    if not session.counts.possible(found):
        raise HTTPException(404, "There are no true masks for this layer, or it is not finished yet.")
    counted = session.counts.read(found)
    if counted is None:
        job = session.jobs.start(f"counts {layer}", lambda advance: session.counts.make(found, advance))
        return JSONResponse({"name": job.name, "done": job.done, "total": job.total}, 202)
    return _binary(counted.astype("<f8").tobytes())


@api.get("/changes", summary="What other tabs decided")
def changes(
    session: Here, since: Annotated[int, Query(ge=0, description="Number of the last line that is known.")] = 0
) -> Changed:
    """States of the images that were decided on since, and the progress of jobs."""
    latest = session.decisions.latest
    return Changed(latest=latest, states=_states(session, since), jobs=[vars(job) for job in session.jobs.all.values()])


@api.post("/decisions", summary="Decide")
def decide(session: Here, decision: Decision) -> Changed:
    """Accept, reject, take that back, or correct labels. On disk before the response."""
    return _decide(session, [decision])


@api.post("/decisions/together", summary="Decide several things at once")
def decide_together(session: Here, together: Together) -> Changed:
    """Decisions that are kept all or none, and undone together: as where images are accepted of different layers."""
    return _decide(session, together.decisions)


@api.post("/masks/{number}", summary="Keep a corrected mask")
async def correct(request: Request, session: Here, number: int, tab: Tab) -> Changed:
    """The body is the mask, row by row, one byte a pixel (0 background, 1…K, 255). The image is accepted with it."""
    item = session.item(number)
    size = await run_in_threadpool(session.run.size, item)
    if size is None:
        raise DataError(f"{item.id}: the size of the image is not known, since nothing of it can be read.")
    content = await _body(
        request,
        size[0] * size[1],
        f"The mask of {item.id} has {size[0]}×{size[1]} pixels, one byte each; more were sent.",
    )

    def keep() -> Changed:
        name, before = save_corrected(session.run, item, mask_from_bytes(content, size)), session.decisions.latest
        source = {"layer": CORRECTED, "key": name}
        session.decisions.add(tab, [item.id], verdict="accepted", mask=name, source=source)
        return _since(session, before)

    return await run_in_threadpool(keep)


@api.post("/undo", summary="Undo the tab's last decision")
def undo(session: Here, request: Undo) -> Reverted:
    """409 where there is nothing to undo."""
    before = session.decisions.latest
    return _reverted(session, before, session.decisions.undo(request.tab))


@api.post("/redo", summary="Redo what the tab undid last")
def redo(session: Here, request: Undo) -> Reverted:
    """The decision counts again. 409 where there is nothing to redo, as after a new decision."""
    before = session.decisions.latest
    return _reverted(session, before, session.decisions.redo(request.tab))


@api.post("/recipe", summary="Put thresholds into a recipe")
def recipe(session: Here, thresholds: Thresholds) -> dict[str, Any]:
    """Writes RUN/review/recipe.toml, which `recam run --recipe` takes; gives its path, the command, and what it
    changes."""
    chosen = write_recipe(
        session.run, session.layer(thresholds.layer), thresholds.threshold, thresholds.class_thresholds
    )
    return {"path": str(chosen.path), "command": chosen.command, "settings": chosen.settings}


@api.post("/corrections", summary="Let the model learn from what people changed")
def corrections(session: Here) -> dict[str, Any]:
    """Writes masks that people made or changed to RUN/review/corrections, and a recipe by which the segmentation model
    learns from them, and from pseudo masks elsewhere; gives the command."""
    return write_corrections(session.run, session.decisions).as_dict()


@api.post("/model", summary="Predict all images")
def predict_all(session: Here) -> dict[str, Any]:
    """Starts a job that makes the segmentation model's mask of every image, and measures how far it and the pseudo mask
    disagree. 404 without a model."""
    model = session.model
    return vars(session.jobs.start(MODEL, lambda advance: session.predict_all(model, advance)))


@api.post("/export", summary="Export a clean data set")
def export(session: Here, request: Export) -> dict[str, Any]:
    """Accepted masks and corrected labels as a folder that `recam run --data folder:` takes, below
    RUN/review/exports."""
    output = session.run.review / "exports" / request.name
    return export_decisions(session.run, session.decisions, output, request.photos, request.everything).as_dict()


@api.post("/try", summary="Try a photo")
async def try_photo(request: Request, session: Here) -> dict[str, Any]:
    """The body is an image file. Gives all classes with their scores, and pictures of class maps, mask and prediction
    as data addresses.

    One photo is tried at a time, reduced to what the networks of the run read; two others wait, further ones get 429.
    """
    with session.trial.place():
        content = await request.body()
        tried = await run_in_threadpool(session.trial.upload, content)
    pictures = {title: picture_data(picture) for title, picture in tried.pictures.items()}
    return {"found": [vars(each) for each in tried.found], "pictures": pictures, "notes": tried.notes}


def make_app(session: Session, token: str) -> ASGIApp:
    """The whole server behind its gate; `token` is the first part of every path."""
    app = FastAPI(title="recam review", version=version("recam"), docs_url=None, redoc_url=None, description=_ABOUT)
    app.state.session = session
    app.include_router(api)

    @app.exception_handler(RecamError)
    async def refused(request: Request, error: RecamError) -> Response:
        full = isinstance(error, StoreError) and "disk full" in str(error)
        status = 507 if full else next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 400)
        return _refusal(str(error), status)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Without the value itself: NaN and half a surrogate pair, which JSON lets through, cannot be sent back.
        problems = [
            {"loc": problem["loc"], "msg": _problem(problem["loc"], problem["msg"])} for problem in error.errors()
        ]
        return _refusal(problems, 422)

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})

    app.mount("/", StaticFiles(directory=PAGE))
    return Gate(app, token)


_STATUS = {UndoError: 409, MissingError: 404, BusyError: 429, DataError: 422}
_ABOUT = f"""Endpoints of the page that `recam review RUN` opens. Every path begins with the token of the address that
was printed. Images are addressed by number, never by path; nothing is written outside RUN/{REVIEW}."""


def _decide(session: Session, decisions: Sequence[Decision]) -> Changed:
    before = session.decisions.latest
    if any(decision.tab != decisions[0].tab for decision in decisions):
        raise HTTPException(422, "Decisions that are one are of one tab.")
    parts = [_fields(session, decision) for decision in decisions]
    session.decisions.add_together(decisions[0].tab, parts)
    return _since(session, before)


def _fields(session: Session, decision: Decision) -> tuple[list[str], dict[str, Any]]:
    """Ids, and what is set of them."""
    items = [session.item(number) for number in decision.images]
    fields: dict[str, Any] = {}
    if decision.verdict is not None:
        fields["verdict"] = decision.verdict
    if decision.verdict == "accepted":
        fields["source"] = _judged(session, items, decision)
    if decision.labels is not None:
        fields["labels"] = sorted(set(decision.labels), key=lambda name: _class_index(session, name))
    if not fields:
        raise HTTPException(422, "A decision holds a verdict, labels, or both.")
    return [item.id for item in items], fields


def _judged(session: Session, items: list[Item], decision: Decision) -> dict[str, Any]:
    """The mask that is accepted."""
    if decision.layer is None:
        raise HTTPException(422, "To accept, name the layer that was shown.")
    if decision.layer == CORRECTED:
        (item, *others) = items
        name = session.decisions.state(item.id).mask
        if others or name is None:
            raise HTTPException(422, "A corrected mask is accepted for one image that has one.")
        return {"layer": CORRECTED, "key": name}
    layer = session.layer(decision.layer)
    missing = next((item for item in items if not session.run.has(item, layer)), None)
    if missing:
        raise DataError(f"{missing.id} has no {layer.title} to accept. Choose another layer, or leave the image out.")
    for name in decision.class_thresholds:
        _class_index(session, name)
    source = session.source(layer, decision.threshold, decision.class_thresholds)
    return source.model_dump(exclude_defaults=True)


def _since(session: Session, before: int) -> Changed:
    return Changed(latest=session.decisions.latest, states=_states(session, before), jobs=[])


def _reverted(session: Session, before: int, lines: Sequence[Event]) -> Reverted:
    changed = _since(session, before)
    return Reverted(**changed.model_dump(), decision=describe_decision(lines))


def _states(session: Session, since: int) -> dict[int, dict[str, Any]]:
    number = session.run.number
    changed = session.decisions.changes(since).items()
    return {number[sample_id]: session.shown_state(state) for sample_id, state in changed if sample_id in number}


async def _body(request: Request, bound: int, refusal: str) -> bytes:
    """The body of a request, 413 with `refusal` as soon as it exceeds `bound` bytes."""
    parts, received = [], 0
    async for part in request.stream():
        received += len(part)
        if received > bound:
            raise HTTPException(413, refusal)
        parts.append(part)
    return b"".join(parts)


def _problem(place: Sequence[Any], message: str) -> str:
    """A field that is wrong, by name: ``threshold: Input should be …``; the body as a whole has none."""
    name = ".".join(str(part) for part in place[1:])
    return f"{name}: {message}" if name else message


def _refusal(detail: str | list[dict[str, Any]], status: int) -> Response:
    """What is wrong, as JSON of ASCII characters alone: names in errors may hold what UTF-8 cannot."""
    headers = {"retry-after": "5"} if status == 429 else None
    return Response(json.dumps({"detail": detail}), status, headers, "application/json")


def _numbers(session: Session, text: str, at_once: int = AT_ONCE) -> list[int]:
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        raise HTTPException(422, "images: write numbers with commas between, e.g. 0,1,2.")
    numbers = [int(number) for number in text.split(",")]
    if len(numbers) > at_once:
        raise HTTPException(422, f"images: at most {at_once} at once{' at full size' * (at_once < AT_ONCE)}.")
    for number in numbers:
        session.item(number)
    return numbers


def _class_index(session: Session, name: str) -> int:
    if name not in session.run.classes:
        raise DataError(f"unknown class {name!r}; the run has {', '.join(session.run.classes)}.")
    return session.run.classes.index(name)


def _binary(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream", headers={"cache-control": "no-store"})
