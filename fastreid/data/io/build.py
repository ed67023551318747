"""From a config to what reads drawings, and to the cache."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from fastreid.config import CfgNode
from fastreid.data.datasets.generated_stream import DrawingReader
from fastreid.data.io.cache.store import Filled, PageCache
from fastreid.data.io.image import read_drawing
from fastreid.data.loading.batches import Read
from fastreid.data.loading.unreadable import BadDrawings, sort_out
from fastreid.structures import Drawing
from fastreid.utils.logger import get_logger, is_quiet


def data_root(cfg: CfgNode) -> Path:
    """The folder of all data."""
    return Path(cfg.DATASETS.ROOT or os.environ.get("FASTREID_DATASETS") or "datasets").expanduser()


def build_reader(cfg: CfgNode) -> Read:
    """Drawing to page as all of a run reads drawings: reduced to INPUT.LONGEST_PX, from the cache where it is on.

    What the cache does not hold yet is read from its file; see `fill_if_cached`. Drawings without a file are drawn.
    """
    if cfg.DATASETS.CACHE.ENABLED:
        return DrawingReader(build_cache(cfg).read, longest_px=cfg.INPUT.LONGEST_PX)
    read = functools.partial(read_drawing, max_pixels=cfg.INPUT.MAX_PIXELS, longest_px=cfg.INPUT.LONGEST_PX)
    return DrawingReader(read, longest_px=cfg.INPUT.LONGEST_PX)


def build_bad_drawings(cfg: CfgNode) -> BadDrawings | None:
    """What takes note, for a whole run, of training drawings that cannot be read; None where the first stops it."""
    return BadDrawings(cfg.INPUT.MAX_BAD_IMAGES) if cfg.INPUT.ON_BAD_IMAGE == "skip" else None


def fill_if_cached(
    cfg: CfgNode, *lists: Sequence[Drawing], training: Sequence[Drawing] = (), bad: BadDrawings | None = None
) -> None:
    """Fill the cache, if DATASETS.CACHE is on, with all that a run will read: once, when nothing else can be wrong.

    Args:
        cfg: settings.
        lists: drawings that all must be read.
        training: drawings to train on, some of which INPUT.ON_BAD_IMAGE may pass over.
        bad: of `build_bad_drawings`, takes note of those; one of its own when None.

    Raises:
        InputError: drawings that are needed cannot be read, too many of the others, or none of a patent; all are told.
    """
    if cfg.DATASETS.CACHE.ENABLED:
        drawings = [drawing for list_ in lists for drawing in list_]
        fill_cache(cfg, build_cache(cfg), drawings, training=training, bad=bad)


def build_cache(cfg: CfgNode) -> PageCache:
    """The cache of the pages of INPUT.LONGEST_PX, in DATASETS.CACHE.FOLDER or beside the data."""
    given = cfg.DATASETS.CACHE.FOLDER
    folder = Path(given).expanduser() if given else data_root(cfg) / "cache"
    return PageCache(folder, longest_px=cfg.INPUT.LONGEST_PX, max_pixels=cfg.INPUT.MAX_PIXELS)


def fill_cache(
    cfg: CfgNode,
    cache: PageCache,
    drawings: Sequence[Drawing],
    *,
    training: Sequence[Drawing] = (),
    bad: BadDrawings | None = None,
) -> Filled:
    """Make the pages that are missing with DATALOADER.NUM_WORKERS processes, with a bar where somebody looks on.

    Arguments and errors are those of `fill_if_cached`.
    """
    with tqdm(disable=is_quiet() or None, unit="drawing", desc=f"pages for {cache.path.name}", leave=False) as bar:

        def on_page(done: int, num: int) -> None:
            bar.total = num
            bar.update(done - bar.n)

        filled = cache.fill(
            [drawing for drawing in (*drawings, *training) if not drawing.is_synthetic],
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            on_page=on_page,
        )
    if filled.num_made:
        get_logger().info(f"{cache.path}: made {filled.num_made} pages, {filled.num_kept} were there")
    needed = {drawing.path for drawing in drawings}
    sort_out(filled.faults, needed=needed, training=training, bad=bad or build_bad_drawings(cfg))
    return filled
