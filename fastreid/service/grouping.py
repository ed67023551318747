"""How many drawings the groups of results have."""

from collections.abc import Sequence
from typing import Any

from fastreid.index import Collection, Hit
from fastreid.index.columns import Value


def count_other_drawings(
    collection: Collection,
    hits: Sequence[Hit],
    group: str,
    *,
    where: str,
    ids: Sequence[str],
    **options: Any,
) -> list[int]:
    """Return, for the best drawing of each group, the number of other drawings that the group has.

    Args:
        collection: the collection.
        hits: the best drawings.
        group: column of the groups; a drawing without a value is a group of one.
        where: filter of the search; "": none.
        ids: drawings of the query, which are not counted.
        **options: as for `Collection.count_groups`.
    """
    values = [_find_value(hit, group) for hit in hits]
    present = list(dict.fromkeys(value for value in values if value is not None))
    if not present:
        return [0] * len(hits)
    counts = collection.count_groups(group, present, where=where, ids=ids, **options)
    return [0 if value is None else max(0, counts[value] - 1) for value in values]


def _find_value(hit: Hit, group: str) -> Value | None:
    """Return the value of a column; None if the drawing has none."""
    own: dict[str, Value | None] = {"id": hit.id, "patent": hit.patent, "path": hit.path, "page": hit.page}
    return own[group] if group in own else hit.metadata.get(group)
