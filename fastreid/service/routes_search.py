"""POST /api/v1/search."""

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Form as FormBody

from fastreid.index.records import format_now
from fastreid.service.errors import ServiceError
from fastreid.service.grouping import count_other_drawings
from fastreid.service.pictures import list_pictures
from fastreid.service.requests import ERRORS, PREFIX, CheckedForm, CurrentService, describe_hit
from fastreid.service.schemas import SearchForm, SearchResponse
from fastreid.utils.errors import InputError

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
    options = form.model_dump(include={"k", "group", "exclude_patents", "min_score", "combine"})
    ids, collection = list(dict.fromkeys(form.ids)), service.collection
    group, within = form.group, None
    if form.within is not None:
        if group is None:
            raise InputError("within needs group, the column that has its value")
        group, within = None, (group, form.within)
    hits, version = await service.search(pictures, ids, where=form.filter, within=within, **{**options, "group": group})
    shown = hits[form.offset : form.offset + form.limit]
    views: list[int | None] = [None] * len(shown)
    if group is not None:
        excluded = {"exclude_patents": form.exclude_patents, "ids": ids}
        views = [*await service.read(count_other_drawings, collection, shown, group, where=form.filter, **excluded)]
    model = collection.manifest.model
    query = {
        "pictures": [{"name": picture.name, "page": picture.page, "crop": picture.crop} for picture in pictures],
        "ids": ids,
        "filter": form.filter,
        **options,
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
