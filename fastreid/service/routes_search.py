"""POST /api/v1/search."""

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Form as FormBody

from fastreid.index import Refinement
from fastreid.index.records import format_now
from fastreid.service.errors import ServiceError
from fastreid.service.grouping import count_other_drawings
from fastreid.service.pictures import list_pictures
from fastreid.service.requests import ERRORS, PREFIX, CheckedForm, CurrentService, check_columns, describe_hit
from fastreid.service.schemas import SearchForm, SearchResponse
from fastreid.utils.errors import InputError

_SEARCH_OPTIONS = {"k", "group", "exclude_patents", "exclude_families", "exclude_own", "min_score", "combine"}

router = APIRouter(prefix=PREFIX, tags=["search"], responses=ERRORS)


@router.post("/search", response_model=SearchResponse, dependencies=[CheckedForm])
async def search(
    form: Annotated[SearchForm, FormBody(media_type="multipart/form-data")], service: CurrentService
) -> dict[str, Any]:
    """Return the nearest drawings to pictures of one object, or to drawings of the collection."""
    settings = service.settings
    service.check_ready()
    pictures = list_pictures(form.pictures, crops=form.crop, pages=form.page, settings=settings)
    if len(pictures) + len(form.ids) > settings.max_pictures:
        message = f"{len(pictures) + len(form.ids)} pictures and ids; at most {settings.max_pictures} are one query"
        raise ServiceError(413, "too_large", message)
    if not pictures and not form.ids:
        raise InputError("no query is given; send pictures, ids, or both")
    if form.k > settings.max_results:
        raise ServiceError(422, "invalid_request", f"k: {form.k} is more than the {settings.max_results} allowed")
    options = form.model_dump(include=_SEARCH_OPTIONS)
    ids, collection = list(dict.fromkeys(form.ids)), service.collection
    group, within = form.group, None
    if form.within is not None:
        if form.group is None:
            raise InputError("within needs group, the column that has its value")
        group, within = None, (form.group, form.within)
    refinement = Refinement(form.expand, form.rerank) if form.expand or form.rerank else None
    await service.read(check_columns, collection, where=form.filter, within=within)
    features = await service.embed(pictures) if pictures else None
    hits, version = await service.search(
        features, ids, where=form.filter, within=within, refinement=refinement, **{**options, "group": group}
    )
    shown = hits[form.offset : form.offset + form.limit]
    views: list[int | None] = [None] * len(shown)
    if group is not None:
        same = {name: value for name, value in options.items() if name not in ("k", "group")}
        count = await service.read(
            count_other_drawings, collection, shown, group, where=form.filter, ids=ids, features=features, **same
        )
        views = [*count]
    model = collection.manifest.model
    query = {
        "pictures": [{"name": picture.name, "page": picture.page, "crop": picture.crop} for picture in pictures],
        "ids": ids,
        "filter": form.filter,
        **options,
        "expand": form.expand,
        "rerank": form.rerank,
        "within": form.within,
        "collection": collection.name,
        "version": version,
        "model": service.model_name,
        "weights_sha256": model.weights_sha256,
        "time": format_now(),
    }
    results = [
        {"rank": rank, **describe_hit(hit, service.sources), "other_views": num_views}
        for rank, (hit, num_views) in enumerate(zip(shown, views, strict=True), form.offset + 1)
    ]
    return {"query": query, "total": len(hits), "offset": form.offset, "limit": form.limit, "results": results}
