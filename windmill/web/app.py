"""The web app: the search page, the API, and the pictures; everything comes from here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as InPath
from starlette.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from windmill.core import where as conditions
from windmill.errors import ImageError
from windmill.index.searching import MOST
from windmill.model import MOST_ID
from windmill.services import uploads
from windmill.web import refusals, shapes
from windmill.web.desk import Desk
from windmill.web.guard import Guard, Rules
from windmill.web.library import Library, Unknown
from windmill.web.pictures import Picture, size_for
from windmill.web.refusals import FullError
from windmill.web.shapes import Asked

_PAGE = Path(__file__).parent / "page"
_DESCRIPTION = """\
Images by words, by an image, or like one of the index, filtered by what the pipeline found in them.

Errors are `{"error": {"message": …}}`. Where a token is needed, it comes as `Authorization: Bearer TOKEN`.
"""
_KEPT = "private, max-age=3600"
_SEARCHES = (4, 28)  # at once, and waiting; each may look at every vector
_UPLOADS = 32  # under way at once, each of which may take its minute and 32 MB
_PICTURES = (max(2, os.cpu_count() or 1), 250)  # a page of 200 hits asks for all of them

Told = dict[int | str, dict[str, Any]]
_ANY_OTHER: Told = {"default": {"model": shapes.Error, "description": "Any other error"}}
ImageId = Annotated[int, InPath(ge=0, le=MOST_ID, description="The image's id.", examples=[12])]


def _errors(*statuses: int) -> Told:
    told: Told = {
        status: {"model": shapes.Error, "description": HTTPStatus(status).phrase} for status in statuses
    }
    return told | _ANY_OTHER


_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "Up to 32 MB.",
                        },
                        **Asked.model_json_schema()["properties"],
                    },
                }
            }
        },
    }
}


@dataclass(frozen=True, slots=True)
class App:
    """An ASGI application over a library; its desks bound what is done at once, `arriving` the uploads."""

    library: Library
    searches: Desk
    arriving: Desk
    pictures: Desk
    writable: bool

    async def search(self, asked: Annotated[Asked, Query()]) -> Response:
        """The images nearest to words, or to an image of the index."""
        query = asked.query()
        with self.searches.place():
            return JSONResponse(await self.searches.do(lambda: self.library.search(query, asked.where)))

    async def search_image(self, request: Request) -> Response:
        """The images nearest to one that is sent, or to it and words together: the mean of both.

        All of `GET /api/search`, as fields of the form or in the address.
        """
        form = await self._form(request)  # a search's place is for who has said all that is asked
        if form.file is None:
            raise ImageError("no image: POST it as multipart field `file`")
        asked = shapes.asked({**request.query_params, **form.texts})
        query = asked.query(form.file)
        with self.searches.place():
            return JSONResponse(await self.searches.do(lambda: self.library.search(query, asked.where)))

    async def _form(self, request: Request) -> uploads.Form:
        try:
            with self.arriving.place():
                return await uploads.received(request)
        except FullError:
            await uploads.discarded(request)  # or a client that is still sending never reads why
            raise

    async def meeting(
        self,
        where: Annotated[str, Query(min_length=1, description="The condition.", examples=["faces >= 2"])],
        top_k: Annotated[int, Query(ge=1, le=MOST, description="How many images, at most.")] = 10,
    ) -> Response:
        """Images that meet a condition, whatever they look like: in the order of their ids."""
        condition = conditions.parse(where)
        with self.searches.place():
            return JSONResponse(await self.searches.do(lambda: self.library.meeting(condition, top_k)))

    async def image(self, image_id: ImageId) -> Response:
        """All that is known of an image: where it is, its size, votes, merged boxes, faces, colours, text."""
        with self.searches.place():
            return JSONResponse(await self.searches.do(lambda: self.library.image(image_id)))

    async def forget(self, image_id: ImageId) -> Response:
        """Takes an image out of the index: it is found no more. Its file stays. Needs a token."""
        with self.searches.place():
            await self.searches.do(lambda: self.library.forget(image_id))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def overview(self) -> Response:
        """What the index is, what can be asked of it, and some of its images."""
        with self.searches.place():
            told = await self.searches.do(self.library.overview)
        return JSONResponse({**told, "writable": self.writable})

    async def picture(
        self,
        request: Request,
        image_id: ImageId,
        size: Annotated[
            int | None,
            Query(ge=1, le=10_000, description="A JPEG whose longer side has about so many pixels."),
        ] = None,
    ) -> Response:
        """The image itself, upright; with `size`, a small one."""
        longest = None if size is None else size_for(size)
        with self.pictures.place():
            try:
                found = await self.pictures.do(lambda: self.library.picture(image_id, longest))
            except ImageError as exc:  # no fault of who asked
                raise Unknown(
                    f"image {image_id} is in the index, but its file is not to be had: {exc}"
                ) from exc
        return _shown(found, request.headers.get("if-none-match", ""))

    async def health(self) -> Response:
        """Whether the index can be read."""
        with self.pictures.place():
            count = await self.pictures.do(self.library.count)
        return JSONResponse({"status": "healthy", "images": count})


def _shown(picture: Picture, known: str) -> Response:
    headers = {"ETag": picture.etag, "Cache-Control": _KEPT}
    if picture.etag in known:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(picture.data, media_type=picture.kind, headers=headers)


def create(library: Library, rules: Rules) -> ASGIApp:
    """The whole app."""
    app = App(library, Desk(*_SEARCHES), Desk(_UPLOADS, 0), Desk(*_PICTURES), writable=bool(rules.tokens))
    api = FastAPI(
        title="Windmill", description=_DESCRIPTION, version="1", docs_url=None, redoc_url=None,
        openapi_tags=[{"name": "search"}, {"name": "images"}, {"name": "server"}],
    )  # fmt: skip
    _route(api, app)
    refusals.install(api)
    api.add_route("/docs", lambda _: FileResponse(_PAGE / "docs.html"), include_in_schema=False)
    api.mount("/", StaticFiles(directory=_PAGE, html=True))
    return Guard(api, rules)


def _route(api: FastAPI, app: App) -> None:
    searched: Mapping[str, Any] = {"response_model": shapes.Answer, "tags": ["search"]}
    api.get("/api/search", responses=_errors(400, 401, 403, 503), **searched)(app.search)
    api.post(
        "/api/search/image",
        openapi_extra=_UPLOAD,
        responses=_errors(400, 401, 403, 408, 413, 503),
        **searched,
    )(app.search_image)
    api.get(
        "/api/overview",
        response_model=shapes.Overview,
        tags=["server"],
        responses=_errors(401, 403, 503),
    )(app.overview)
    images: Mapping[str, Any] = {"tags": ["images"], "responses": _errors(401, 403, 404, 503)}
    api.get(
        "/api/images", response_model=shapes.Meeting, tags=["images"], responses=_errors(400, 401, 403, 503)
    )(app.meeting)
    api.get("/api/images/{image_id}", response_model=shapes.Entry, **images)(app.image)
    api.delete("/api/images/{image_id}", status_code=204, **images)(app.forget)
    api.get("/images/{image_id}", response_class=Response, **images)(app.picture)
    api.get("/health", response_model=shapes.Health, tags=["server"], responses=_errors(503))(app.health)
