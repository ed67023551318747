"""GET /api/v1/collection and GET /api/v1/facets."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Query

from fastreid.index import Collection
from fastreid.index.columns import Value, list_names, split_values
from fastreid.index.manifest import Source
from fastreid.service.requests import ERRORS, PATH_COLUMNS, PREFIX, CurrentService, check_columns, shorten_path
from fastreid.service.schemas import (
    MAX_LIMIT,
    CollectionResponse,
    FacetQuery,
    FacetResponse,
    NoQuery,
)
from fastreid.utils.errors import InputError, describe_unknown

router = APIRouter(prefix=PREFIX, tags=["collection"], responses=ERRORS)
_COPIED = ("drawings", "patents", "weights_sha256", "dimension", "created", "version", "search", "columns")


@router.get("/collection", response_model=CollectionResponse)
async def get_collection(service: CurrentService, _: Annotated[NoQuery, Query()]) -> dict[str, Any]:
    """Return the size, model and columns of the collection, and the limits of requests."""
    info, settings = await service.get_info(), service.settings
    limits = {
        "pictures": settings.max_pictures,
        "picture_bytes": settings.max_picture_bytes,
        "request_bytes": settings.max_request_bytes,
        "k": settings.max_results,
        "limit": MAX_LIMIT,
        "request_s": settings.request_s,
    }
    access = {"needs_token": bool(settings.token), "changes": settings.uploads is not None}
    return {
        "name": service.collection.name,
        **{name: info[name] for name in _COPIED},
        "model": service.model_name,
        "limits": limits,
        **access,
    }


@router.get("/facets", response_model=FacetResponse)
async def get_facets(query: Annotated[FacetQuery, Query()], service: CurrentService) -> dict[str, Any]:
    """Return the values of a column with the number of drawings that have them."""
    collection, sources = service.collection, service.sources
    await service.read(check_columns, collection, where=query.filter)
    return await service.read(count_values, collection, query.column, sources, where=query.filter, limit=query.limit)


def count_values(
    collection: Collection, column: str, sources: Iterable[Source] = (), *, where: str, limit: int
) -> dict[str, Any]:
    """Count the values of a column, the most frequent ones first.

    Args:
        collection: the collection.
        column: a column of metadata.
        sources: of the collection; paths start with the name of theirs.
        where: filter; "": none.
        limit: number of values.

    Raises:
        InputError: the column is unknown, or the filter is invalid.
    """
    columns = collection.columns()
    if column not in columns:
        raise InputError(describe_unknown("the column", column[:100], list_names(columns)))
    rows = Counter(row[column] for block in collection.scan([column], where) for row in block)
    total, missing = rows.total(), rows.pop(None, 0)
    counts = Counter[Value]()
    paths = [source.path for source in sources]
    for value, count in rows.items():
        if column in PATH_COLUMNS:
            value = shorten_path(str(value), paths)
        counts.update(dict.fromkeys(split_values(column, value), count))
    values = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
    return {
        "column": column,
        "type": columns[column],
        "filter": where,
        "total": total,
        "missing": missing,
        "distinct": len(counts),
        "minimum": min(counts, default=None),
        "maximum": max(counts, default=None),
        "values": [{"value": value, "count": count} for value, count in values],
    }
