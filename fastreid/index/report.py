"""A search as one HTML file without external resources: the record of a query and its results."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from fastreid import __version__
from fastreid.engine.predictor_inputs import Page
from fastreid.index.collection import Collection
from fastreid.index.crop import Crop
from fastreid.index.saved_queries import SavedQuery
from fastreid.index.search import Hit
from fastreid.index.similarity_map import FULL_MATCH, SimilarityMap, map_similarity, prepare_local_drawing
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger
from fastreid.utils.page_address import join_page_address

TEMPLATE = Path(__file__).parent / "templates" / "report.html"
QUERY_PX = 640  # longest side of a query picture
_WHOLE = Crop((0, 0, 100, 100), is_relative=True)


@dataclass(frozen=True)
class QueryPicture:
    """A picture of the query, as the report shows it.

    Args:
        name: of the file, or the id of a drawing.
        image: PNG or JPEG file of the searched part.
        crop: the searched part in words; "": all.
    """

    name: str
    image: bytes
    crop: str = ""


def format_report(
    pictures: Sequence[QueryPicture],
    hits: Sequence[Hit],
    thumbnails: Mapping[str, bytes],
    *,
    date: str,
    facts: Mapping[str, Any],
    versions: Mapping[str, str],
    maps: Mapping[str, SimilarityMap] | None = None,
) -> str:
    """Return the HTML of a report. All texts are escaped, and a browser loads nothing from elsewhere.

    Args:
        pictures: the query.
        hits: the results in order.
        thumbnails: id -> PNG or JPEG file; a result may have none.
        date: of the search.
        facts: what else the result depends on, such as the collection, the model and the filter; empty values are left
            out.
        versions: versions of the software.
        maps: id -> which lines of a result match the query, shown instead of its thumbnail; None: none.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        date=date,
        facts=[("date", date), *((name, value) for name, value in facts.items() if value not in ("", None, [], ()))],
        pictures=[
            {"name": one.name, "crop": one.crop, "url": to_data_url(one.image) if one.image else ""} for one in pictures
        ],
        hits=[_describe_hit(hit, thumbnails.get(hit.id), (maps or {}).get(hit.id)) for hit in hits],
        footer=", ".join(f"{name} {version}" for name, version in versions.items()),
    )


def collect_pictures(
    collection: Collection, pictures: Sequence[Page], ids: Sequence[str], *, crop: Crop | None, crop_text: str
) -> list[QueryPicture]:
    """Return the pictures of a query: parts of files, and thumbnails of drawings.

    Args:
        collection: has the drawings.
        pictures: paths of the files.
        ids: drawings of the collection.
        crop: the searched part of the files; None: all.
        crop_text: the crop in words.

    Raises:
        InputError: a picture cannot be read, or the crop is outside of it.
    """
    found = []
    for picture in pictures:
        image = Image.fromarray(collection.embedder.read_part(picture, crop or _WHOLE))
        image.thumbnail((QUERY_PX, QUERY_PX), Image.Resampling.BILINEAR, reducing_gap=2)
        file = io.BytesIO()
        image.save(file, "PNG")
        found.append(QueryPicture(Path(str(picture)).name, file.getvalue(), crop_text))
    return found + [QueryPicture(f"drawing {name}", collection.thumbnail(name) or b"") for name in ids]


def compare_hits(
    collection: Collection, query: Page, hits: Sequence[Hit], *, crop: Crop | None
) -> dict[str, SimilarityMap]:
    """Return which lines of the results match the query, by id; without results whose files cannot be read.

    Args:
        collection: has the model.
        query: a picture.
        hits: the results.
        crop: the part of the picture to use; None: all.

    Raises:
        InputError: the picture cannot be read, the crop is outside of it, or the network has no map inside.
    """
    embedder, maps = collection.embedder, {}
    drawing = prepare_local_drawing(embedder, embedder.read_part(query, crop or _WHOLE))
    features = embedder.compute_local([drawing.levels])[0]
    for hit in hits:
        try:
            page = embedder.load_page(hit.path if hit.page == 1 else join_page_address(hit.path, hit.page - 1))
        except InputError as error:
            get_logger().warning(f"{error}; the report shows its thumbnail")
            continue
        other = prepare_local_drawing(embedder, page)
        _, maps[hit.id] = map_similarity((drawing, features), (other, embedder.compute_local([other.levels])[0]))
    return maps


def describe_search(collection: Collection) -> dict[str, str]:
    """Return the collection and the model of a search, for people."""
    info, model = collection.info(), collection.manifest.model
    return {
        "collection": f"{info['folder']}, version {info['version']}, {info['drawings']} drawings",
        "model": f"{model.name}, weights sha256 {model.weights_sha256}",
    }


def list_versions() -> dict[str, str]:
    """Return the versions of the software that a search depends on."""
    return {"fastreid": __version__, "torch": torch.__version__}


def format_monitor_report(collection: Collection, query: SavedQuery, hits: Sequence[Hit], *, time: datetime) -> str:
    """Return the HTML of the new hits of a saved query.

    Args:
        collection: has the drawings.
        query: the query.
        hits: its new hits in order.
        time: of the search, in UTC.
    """
    facts = {
        "saved query": query.name,
        **describe_search(collection),
        "searched": "only drawings that are new",
        "filter": query.filter,
        "grouped by": query.group,
        "smallest score": query.min_score if query.min_score > -1 else "",
        "smallest probability": query.min_probability or "",
        "largest number of results": query.k,
    }
    return format_report(
        collect_pictures(collection, query.pictures, query.ids, crop=None, crop_text=""),
        hits,
        {hit.id: image for hit in hits if (image := collection.thumbnail(hit.id))},
        date=f"{time:%Y-%m-%d %H:%M} UTC",
        facts=facts,
        versions=list_versions(),
    )


def to_data_url(image: bytes) -> str:
    """Return a PNG or JPEG file as the address of an image that contains it."""
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"


def _describe_hit(hit: Hit, thumbnail: bytes | None, lines: SimilarityMap | None) -> dict[str, Any]:
    fields = hit.to_json()
    image = thumbnail if lines is None else lines.render()
    return {
        "id": hit.id,
        "patent": hit.patent,
        "score": f"{hit.score:.4f}",
        "probability": _format_probability(fields.get("probability")),
        "path": hit.path,
        "page": hit.page,
        "metadata": sorted(fields["metadata"].items()),
        "url": to_data_url(image) if image else "",
        "matched": "" if lines is None else f"{min(1.0, lines.matched / FULL_MATCH):.0%}",
    }


def _format_probability(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
