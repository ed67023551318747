"""fastreid search: find the drawings of a collection that show the same object as pictures."""

import argparse
import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastreid.cli.command import Command
from fastreid.cli.index_options import add_collection, add_filter, add_model
from fastreid.utils.errors import InputError
from fastreid.utils.files import expand_home
from fastreid.utils.option_values import ChoiceParser, ListParser, NumberParser, parse_path
from fastreid.utils.text import print_message

if TYPE_CHECKING:
    from fastreid.index import Collection, Crop, Hit

DEFAULT_K = 20
QUERY_OPTIONS = (  # part of the JSON output
    *("pictures", "id", "crop", "k", "filter", "group", "min_score", "combine", "expand", "rerank"),
    *("exclude_patent", "exclude_family", "exclude_own"),
)
COLUMNS = ("rank", "score", "probability", "id", "patent", "path", "page")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid search`."""
    add_collection(parser)
    parser.add_argument(
        "pictures",
        nargs="*",
        type=expand_home,
        metavar="IMAGE",
        help="pictures of one object, which are one query; a page of a TIFF or PDF is file.pdf#page=2",
    )
    ids, patents = ListParser("0c1f3a5e7b9d2468"), ListParser("D0801234,D0801235")
    parser.add_argument("--id", type=ids, default=[], metavar="ID,...", help="drawings of the collection as query")
    parser.add_argument("--crop", metavar="X,Y,W,H", help="part of the pictures to search for, in pixels or percent")
    parser.add_argument("-k", type=NumberParser(int, 1, example="20"), default=DEFAULT_K, metavar="N", help="results")
    add_filter(parser, "only drawings that fulfill a filter")
    parser.add_argument("--group", metavar="COLUMN", help="only the best drawing of each value, such as patent")
    parser.add_argument("--exclude-patent", type=patents, default=[], metavar="PATENT,...", help="patents to leave out")
    parser.add_argument(
        "--exclude-family",
        type=ListParser("12345678"),
        default=[],
        metavar="FAMILY,...",
        help="values of the column family to leave out",
    )
    parser.add_argument(
        "--exclude-own", action="store_true", help="leave out the patents and families of the drawings of --id"
    )
    parser.add_argument(
        "--min-score", type=NumberParser(float, -1, 1, example="0.5"), default=-1.0, metavar="S", help="smallest cosine"
    )
    parser.add_argument(
        "--combine",
        type=ChoiceParser(("mean", "best")),
        default="mean",
        metavar="HOW",
        help="of several pictures: mean, search with the mean feature; best, order by the best rank of a drawing",
    )
    parser.add_argument(
        "--expand", action="store_true", help="order the best results by the sum of the query and the nearest one"
    )
    parser.add_argument(
        "--rerank",
        type=ChoiceParser(("k-reciprocal", "superglobal")),
        metavar="METHOD",
        help="order the best results by their similarity to each other too: k-reciprocal or superglobal",
    )
    add_model(parser, "that of the collection")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--csv", type=parse_path, metavar="FILE", help="write the results to a CSV file")
    parser.add_argument(
        "--html", type=parse_path, metavar="FILE", help="write a report with pictures to an HTML file, to print or keep"
    )
    parser.add_argument(
        "--maps",
        type=NumberParser(int, 1, 1000, example="5"),
        default=0,
        metavar="N",
        help="color the lines of the first N results of the report that match the first picture, or drawing of --id",
    )


def run(args: argparse.Namespace) -> int:
    """Search, write the CSV file, and print a table or JSON."""
    from fastreid import index
    from fastreid.index.crop import parse_crop
    from fastreid.utils.files import atomic_write, check_writable
    from fastreid.utils.logger import log_to_stderr

    if args.json:
        log_to_stderr()
    if not args.pictures and not args.id:
        raise InputError("fastreid search: no query; add image files, or --id of a drawing in the collection")
    if args.exclude_own and not args.id:
        raise InputError("--exclude-own leaves out the patents of the drawings of --id; add it")
    if args.crop and not args.pictures:
        raise InputError("--crop is a part of the pictures, but only --id is given; add an image file")
    if args.maps and args.html is None:
        raise InputError("--maps colors the results of a report; add --html FILE")
    crop = parse_crop(args.crop) if args.crop else None
    for path in (args.csv, args.html):
        if path is not None:
            if not path.parent.is_dir():
                raise InputError(f"{path}: there is no folder {path.parent}; create it, or choose another one")
            check_writable(path)
    collection = index.open(args.collection, model=args.model)
    if args.maps:
        collection.embedder.check_comparison()
    hits = collection.search(
        args.pictures,
        ids=args.id,
        crop=crop,
        k=args.k,
        where=args.filter or "",
        group=args.group,
        exclude_patents=args.exclude_patent,
        exclude_families=args.exclude_family,
        exclude_own=args.exclude_own,
        refinement=index.Refinement(args.expand, args.rerank) if args.expand or args.rerank else None,
        combine=args.combine,
        min_score=args.min_score,
    )
    if args.csv is not None:
        with atomic_write(args.csv) as file:
            file.write(format_csv(hits).encode())
    if args.html is not None:
        with atomic_write(args.html) as file:
            file.write(format_html(args, collection, hits, crop=crop).encode())
    if args.json:
        print_message(json.dumps(to_json(args, collection, hits), indent=1))
    else:
        print_message(format_table(hits) if hits else "no drawing fulfills the filter and the smallest score")
    return 0


def to_json(args: argparse.Namespace, collection: "Collection", hits: Sequence["Hit"]) -> dict[str, Any]:
    """Return the query and the results as values of JSON."""
    query = {name: getattr(args, name) for name in QUERY_OPTIONS}
    model = collection.manifest.model
    query |= {"collection": collection.uri, "model": model.name, "weights_sha256": model.weights_sha256}
    return {"query": query, "results": [hit.to_json() for hit in hits]}


def format_table(hits: Sequence["Hit"]) -> str:
    """Return the results in columns."""
    from tabulate import tabulate

    from fastreid.utils.text import escape_unprintable

    has_probability = any(hit.probability is not None for hit in hits)
    columns = [name for name in COLUMNS if name != "probability" or has_probability]
    rows = [
        {
            "rank": rank,
            "score": f"{hit.score:.4f}",
            "probability": "" if hit.probability is None else f"{hit.probability:.3f}",
            "id": hit.id,
            "patent": escape_unprintable(hit.patent or ""),
            "path": escape_unprintable(hit.path),
            "page": hit.page,
        }
        for rank, hit in enumerate(hits, 1)
    ]
    table = [[row[name] for name in columns] for row in rows]
    return tabulate(table, columns, tablefmt="plain", disable_numparse=True)


def format_csv(hits: Sequence["Hit"]) -> str:
    """Return the results as CSV with all metadata."""
    rows = [{"rank": rank, **hit.to_json()} for rank, hit in enumerate(hits, 1)]
    metadata = list(dict.fromkeys(name for row in rows for name in row["metadata"]))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*COLUMNS, "distance", *metadata])
    for row in rows:
        values = [row[name] for name in (*COLUMNS, "distance")]
        writer.writerow([*values, *(row["metadata"].get(name, "") for name in metadata)])
    return text.getvalue()


def format_html(
    args: argparse.Namespace, collection: "Collection", hits: Sequence["Hit"], *, crop: "Crop | None"
) -> str:
    """Return the report of a search as HTML."""
    from datetime import datetime, timezone

    from fastreid.index.report import collect_pictures, compare_hits, describe_search, format_report, list_versions

    maps = {}
    if args.maps and hits:
        query = args.pictures[0] if args.pictures else find_page(collection, args.id[0])
        maps = compare_hits(collection, query, hits[: args.maps], crop=crop if args.pictures else None)

    facts = {
        **describe_search(collection),
        "filter": args.filter,
        "grouped by": args.group,
        "excluded patents": ", ".join([*args.exclude_patent, *(["those of the query"] if args.exclude_own else [])]),
        "excluded families": ", ".join([*args.exclude_family, *(["those of the query"] if args.exclude_own else [])]),
        "smallest score": args.min_score if args.min_score > -1 else "",
        "largest number of results": args.k,
        "order of the best results": ", ".join(
            [*(["query expansion"] if args.expand else []), *filter(None, [args.rerank])]
        ),
        "several pictures": args.combine if len(args.pictures) + len(args.id) > 1 else "",
    }
    return format_report(
        collect_pictures(collection, args.pictures, args.id, crop=crop, crop_text=args.crop or ""),
        hits,
        {hit.id: image for hit in hits if (image := collection.thumbnail(hit.id))},
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        facts=facts,
        versions=list_versions(),
        maps=maps,
    )


def find_page(collection: "Collection", name: str) -> str:
    """Return the address of the page of a drawing of the collection."""
    from fastreid.utils.page_address import join_page_address

    row = collection.get([name])[0]
    path, page = str(row.get("path") or ""), int(str(row.get("page") or 1))
    return path if page == 1 else join_page_address(path, page - 1)


COMMAND = Command(
    "search",
    "Find the drawings of a collection that show the same object as pictures.",
    "fastreid search patents.index query.png --group patent -k 10",
    add_options,
    run,
)
