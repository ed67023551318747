"""Check before any work that a test has at least one query with a match, and explain why not."""

import functools
from collections.abc import Sequence

import numpy as np

from fastreid.evaluation.scoring.ground_truth import GroundTruth
from fastreid.structures import Drawing, Embeddings
from fastreid.utils.errors import InputError
from fastreid.utils.text import escape_unprintable

NUM_IDS_SHOWN = 3


def build_ground_truth(
    query_ids: Sequence[str],
    gallery_ids: Sequence[str],
    *,
    query_names: Sequence[str],
    gallery_names: Sequence[str],
    query_cameras: Sequence[int] = (),
    gallery_cameras: Sequence[int] = (),
) -> GroundTruth | None:
    """Return the ground truth of a test; None if all ids of one side are unknown.

    Cameras are used only if the camera of every drawing is known. A query's own drawing has the same name.

    Args:
        query_ids: ids of the Q queries; "" if unknown.
        gallery_ids: ids of the G gallery drawings.
        query_names: names of the queries.
        gallery_names: names of the gallery drawings.
        query_cameras: cameras of the queries, -1 if unknown; empty if all are unknown.
        gallery_cameras: cameras of the gallery drawings.
    """
    if not (any(query_ids) and any(gallery_ids)):
        return None
    row_of = {name: row for row, name in enumerate(gallery_names)}
    has_cameras = all(cameras and min(cameras) >= 0 for cameras in (query_cameras, gallery_cameras))
    return GroundTruth(
        query_ids,
        gallery_ids,
        query_cameras=query_cameras if has_cameras else None,
        gallery_cameras=gallery_cameras if has_cameras else None,
        self_rows=[row_of.get(name, -1) for name in query_names],
    )


def build_feature_truth(queries: Embeddings, gallery: Embeddings) -> GroundTruth | None:
    """Return the ground truth of a test on features; None if all ids of one side are unknown."""
    return build_ground_truth(
        queries.patents,
        gallery.patents,
        query_names=queries.names,
        gallery_names=gallery.names,
        query_cameras=queries.cameras,
        gallery_cameras=gallery.cameras,
    )


def check_matches(name: str, queries: Sequence[Drawing], gallery: Sequence[Drawing]) -> None:
    """Check that a query has a match in the gallery, unless the ids of one side are unknown.

    Args:
        name: name of the dataset, for the message.
        queries: query drawings.
        gallery: gallery drawings.

    Raises:
        InputError: no query has a match; the message has the cause.
    """
    query_ids, gallery_ids = ([one.patent for one in side] for side in (queries, gallery))
    build_without_cameras = functools.partial(
        build_ground_truth,
        query_ids,
        gallery_ids,
        query_names=[one.name for one in queries],
        gallery_names=[one.name for one in gallery],
    )
    query_cameras, gallery_cameras = ([one.camera for one in side] for side in (queries, gallery))
    truth = build_without_cameras(query_cameras=query_cameras, gallery_cameras=gallery_cameras)
    if truth is None or _has_match(truth):
        return
    if not _has_match(GroundTruth(query_ids, gallery_ids)):
        cause = (
            f"no id is in both lists (queries: {_format_ids(query_ids)}; gallery: {_format_ids(gallery_ids)}); "
            "check the ids"
        )
    elif not _has_match(build_without_cameras()):
        cause = (
            "the gallery drawings of the queries' patents are the query drawings themselves, which do not count; add "
            "other drawings of these patents to the gallery"
        )
    elif not _has_match(
        GroundTruth(query_ids, gallery_ids, query_cameras=query_cameras, gallery_cameras=gallery_cameras)
    ):
        cause = (
            "every gallery drawing of a query's patent has the camera of the query, so it does not count; correct the "
            "cameras, or leave the column `camera` out"
        )
    else:
        cause = (
            "every gallery drawing of a query's patent is the query itself or has its camera, so it does not count; "
            "add other drawings of these patents, correct the cameras, or leave the column `camera` out"
        )
    raise InputError(f"{name}: none of the {len(queries)} queries has a match in the gallery: {cause}")


def _has_match(truth: GroundTruth | None) -> bool:
    return truth is not None and bool(truth.count_matches(np.arange(truth.num_queries)).any())


def _format_ids(ids: Sequence[str]) -> str:
    distinct = [escape_unprintable(one) for one in dict.fromkeys(ids) if one]
    return ", ".join(distinct[:NUM_IDS_SHOWN]) + (", ..." if len(distinct) > NUM_IDS_SHOWN else "")
