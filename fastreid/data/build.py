"""Registries of datasets and samplers; build samplers and the page cache from a config."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid.config import CfgNode, legacy_names
from fastreid.data.datasets.base import Dataset, encode_labels
from fastreid.data.datasets.deeppatent import Patent, PatentTest
from fastreid.data.datasets.folder import Folder, ImageLists
from fastreid.data.datasets.products import CUB, SOP, Cars196, InShop
from fastreid.data.datasets.reid import Market1501, VeRi
from fastreid.data.io.cache.connections import CacheLockedError
from fastreid.data.io.cache.store import FillReport, PageCache
from fastreid.data.io.color import is_colored, is_dark, sample_drawings
from fastreid.data.io.image import Array
from fastreid.data.io.verification import compute_files_digest, find_unreadable, select_files
from fastreid.data.loading.loader import Sampler
from fastreid.data.loading.unreadable import UnreadableDrawings, check_unreadable
from fastreid.data.samplers.complete import CompleteIdentitySampler
from fastreid.data.samplers.identity import BalancedIdentitySampler, NaiveIdentitySampler
from fastreid.data.samplers.instance import ImbalancedDatasetSampler, TrainingSampler
from fastreid.structures import Drawing
from fastreid.utils import comm
from fastreid.utils.errors import InputError
from fastreid.utils.files import expand_home
from fastreid.utils.logger import get_logger
from fastreid.utils.progress import show_progress
from fastreid.utils.registry import Registry

MIN_FILES_FOR_WORKERS = 256  # fewer are decoded before worker processes have started
MAX_DECODED_SAMPLES = 16  # of a run, to find dark pages; decoding a large sheet takes some 50 ms

# (cfg, data root) -> dataset; fastreid/engine/data.py registers the synthetic ones
DATASETS: Registry[Callable[[CfgNode, Path], Dataset]] = Registry(
    "dataset",
    {
        "Patent": lambda cfg, root: Patent(root),
        "PatentTest": lambda cfg, root: PatentTest(root),
        "Folder": lambda cfg, root: _build_folder(cfg),
        "List": lambda cfg, root: _build_lists(cfg),
        "CUB": lambda cfg, root: CUB(root),
        "Cars196": lambda cfg, root: Cars196(root),
        "SOP": lambda cfg, root: SOP(root),
        "InShop": lambda cfg, root: InShop(root),
        "Market1501": lambda cfg, root: Market1501(root),
        "VeRi": lambda cfg, root: VeRi(root),
    },
    substitutes=legacy_names.DATASETS,
)


@dataclass(frozen=True)
class SamplerOptions:
    """The arguments of samplers other than the labels.

    Args:
        batch_size: drawings per iteration over all devices.
        num_instance: drawings of one patent in a batch.
        seed: of the run.
        cameras: viewpoint number of each drawing; -1: unknown.
        hard_identity_ratio: fraction 0..1 of a batch's patents that are hard identities of the others.
        neighbors: tables of hard identities, as for `CompleteIdentitySampler`.
    """

    batch_size: int
    num_instance: int
    seed: int
    cameras: tuple[int, ...]
    hard_identity_ratio: float = 0.0
    neighbors: Mapping[int, Array] | None = None

    def identity_options(self) -> dict[str, int]:
        """Return the common arguments of identity samplers."""
        return {name: getattr(self, name) for name in ("batch_size", "num_instance", "seed")}


# (labels, options) -> sampler
SAMPLERS: Registry[Callable[[list[int], SamplerOptions], Sampler]] = Registry(
    "training sampler",
    {
        "TrainingSampler": lambda targets, options: TrainingSampler(
            len(targets), batch_size=options.batch_size, seed=options.seed
        ),
        "ImbalancedDatasetSampler": lambda targets, options: ImbalancedDatasetSampler(
            targets, batch_size=options.batch_size, seed=options.seed
        ),
        "BalancedIdentitySampler": lambda targets, options: BalancedIdentitySampler(
            targets, cameras=options.cameras, **options.identity_options()
        ),
        "NaiveIdentitySampler": lambda targets, options: NaiveIdentitySampler(targets, **options.identity_options()),
        "CompleteIdentitySampler": lambda targets, options: CompleteIdentitySampler(
            targets,
            hard_identity_ratio=options.hard_identity_ratio,
            neighbors=options.neighbors,
            **options.identity_options(),
        ),
    },
    substitutes=legacy_names.SAMPLERS,
)


def get_data_root(cfg: CfgNode) -> Path:
    """Return the data folder: DATASETS.ROOT, $FASTREID_DATASETS, or `datasets`."""
    return Path(cfg.DATASETS.ROOT or expand_home(os.environ.get("FASTREID_DATASETS") or "datasets"))


def get_dataset_names(cfg: CfgNode, key: str) -> tuple[str, ...]:
    """Return the names in DATASETS.NAMES or DATASETS.TESTS.

    Raises:
        InputError: there is none, or one is repeated.
    """
    names = tuple(cfg.DATASETS[key])
    if not names or len(set(names)) != len(names):
        raise InputError(f"DATASETS.{key} is {names}; it takes one or more datasets, each once")
    return names


def build_sampler(
    cfg: CfgNode,
    drawings: Sequence[Drawing],
    *,
    neighbors: Mapping[int, Array] | None = None,
) -> Sampler:
    """Return the sampler DATALOADER.SAMPLER_TRAIN for a training list.

    Args:
        cfg: settings.
        drawings: the training list.
        neighbors: tables of hard identities, as for `CompleteIdentitySampler`.

    Raises:
        InputError: DATALOADER.HARD_IDENTITIES with a sampler that does not support it, or no batch can be sampled from
            these drawings.
    """
    targets, _ = encode_labels(drawings)
    options = SamplerOptions(
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        num_instance=cfg.DATALOADER.NUM_INSTANCE,
        seed=cfg.SEED,
        cameras=tuple(drawing.camera for drawing in drawings),
        hard_identity_ratio=cfg.DATALOADER.HARD_IDENTITIES,
        neighbors=neighbors,
    )
    sampler = SAMPLERS.get(cfg.DATALOADER.SAMPLER_TRAIN, "DATALOADER.SAMPLER_TRAIN")(targets, options)
    if options.hard_identity_ratio and not isinstance(sampler, CompleteIdentitySampler):
        raise InputError(
            f"DATALOADER.HARD_IDENTITIES is {options.hard_identity_ratio}, which {cfg.DATALOADER.SAMPLER_TRAIN} does "
            "not support; set it to 0, or DATALOADER.SAMPLER_TRAIN to CompleteIdentitySampler"
        )
    return sampler


def build_unreadable_drawings(cfg: CfgNode) -> UnreadableDrawings | None:
    """Return the record of unreadable training drawings of a run; None if the first one is an error."""
    return UnreadableDrawings(cfg.INPUT.MAX_BAD_IMAGES) if cfg.INPUT.ON_BAD_IMAGE == "skip" else None


def build_cache(cfg: CfgNode) -> PageCache:
    """Return the cache of pages of INPUT.LONGEST_PX in DATASETS.CACHE.FOLDER, or in `cache` of the data root."""
    cache_folder = cfg.DATASETS.CACHE.FOLDER
    folder = Path(cache_folder) if cache_folder else get_data_root(cfg) / "cache"
    return PageCache(
        folder,
        longest_px=cfg.INPUT.LONGEST_PX,
        max_pixels=cfg.INPUT.MAX_PIXELS,
        color=cfg.INPUT.COLOR == "rgb",
    )


def log_color_mode(cfg: CfgNode, *lists: Sequence[Drawing]) -> None:
    """Log whether pages are read with color; in gray, warn if drawings of a sample contain color or are dark.

    Args:
        cfg: settings.
        lists: drawings of a run; the sample is taken from all of them together.
    """
    if not comm.is_main_process():
        return
    if cfg.INPUT.COLOR == "rgb":
        get_logger().info("pages are read with color (INPUT.COLOR rgb)")
        return
    get_logger().info("pages are read in gray (INPUT.COLOR gray)")
    sample = sample_drawings(list({one.path: one for list_ in lists for one in list_}.values()))
    num_colored = sum(is_colored(one, max_pixels=cfg.INPUT.MAX_PIXELS) for one in sample)
    if num_colored:
        get_logger().warning(
            f"{num_colored} of {len(sample)} sampled drawings contain color, which INPUT.COLOR gray removes; "
            "INPUT.COLOR rgb keeps it"
        )
    sample = sample_drawings(sample, max_num=MAX_DECODED_SAMPLES)
    num_dark = sum(is_dark(one, max_pixels=cfg.INPUT.MAX_PIXELS) for one in sample)
    if num_dark:
        get_logger().warning(
            f"{num_dark} of {len(sample)} sampled drawings are dark (no gray level above 127; paper is 255); save "
            "them with levels from 0 to 255"
        )


def fill_cache_if_enabled(
    cfg: CfgNode,
    *lists: Sequence[Drawing],
    training: Sequence[Drawing] = (),
    unreadable: UnreadableDrawings | None = None,
) -> None:
    """Fill the cache, if DATASETS.CACHE is enabled, with all drawings of a run; call it after all other checks.

    Args:
        cfg: settings.
        lists: drawings that must be readable.
        training: training drawings, which INPUT.ON_BAD_IMAGE may skip.
        unreadable: from `build_unreadable_drawings`, records skipped drawings; None: a new one.

    Raises:
        InputError: a drawing that must be readable is not, too many others are not, or a patent has no readable
            drawing; the message has all of them.
    """
    if cfg.DATASETS.CACHE.ENABLED:
        drawings = [drawing for list_ in lists for drawing in list_]
        try:
            fill_cache(cfg, build_cache(cfg), drawings, training=training, unreadable=unreadable)
        except CacheLockedError as error:
            get_logger().warning(f"{error}. This run reads the files of the drawings until it is unlocked")


def check_readable(
    cfg: CfgNode,
    *lists: Sequence[Drawing],
    decode: bool,
    verified: str = "",
) -> str:
    """Check that all drawings of the lists can be read, and show the progress.

    Every process must call this function; each reads a part of the files.

    Args:
        cfg: settings.
        lists: drawings that must be readable.
        decode: decode the pages with DATALOADER.NUM_WORKERS processes; otherwise read headers only. If DATASETS.CACHE
            is enabled, only headers are read, because `fill_cache_if_enabled` decodes the pages.
        verified: result of an earlier call; if it is that of these files, they are not read again.

    Returns:
        A digest of the files.

    Raises:
        InputError: drawings cannot be read; the message has all of them.
    """
    files = select_files(drawing for list_ in lists for drawing in list_)
    digest = compute_files_digest(files, max_pixels=cfg.INPUT.MAX_PIXELS)
    if comm.all_gather_object(bool(digest) and digest == verified)[0]:
        return digest
    decode = decode and not cfg.DATASETS.CACHE.ENABLED
    own = files[comm.get_rank() :: comm.get_world_size()]
    description = "decoding test drawings" if decode else "reading headers"
    with show_progress(description, unit="drawing") as update:
        own_faults = find_unreadable(
            own,
            decode=decode,
            max_pixels=cfg.INPUT.MAX_PIXELS,
            longest_px=cfg.INPUT.LONGEST_PX,
            num_workers=cfg.DATALOADER.NUM_WORKERS if len(own) >= MIN_FILES_FOR_WORKERS else 0,
            on_progress=update,
        )
    faults = {path: fault for part in comm.all_gather_object(own_faults) for path, fault in part.items()}
    check_unreadable(faults, needed=faults.keys(), unreadable=build_unreadable_drawings(cfg))
    return digest


def fill_cache(
    cfg: CfgNode,
    cache: PageCache,
    drawings: Sequence[Drawing],
    *,
    training: Sequence[Drawing] = (),
    unreadable: UnreadableDrawings | None = None,
) -> FillReport:
    """Decode missing pages with DATALOADER.NUM_WORKERS processes, and show the progress.

    Arguments and errors are those of `fill_cache_if_enabled`.
    """
    with show_progress(f"pages for {cache.path.name}", unit="drawing") as update:
        report = cache.fill(
            [drawing for drawing in (*drawings, *training) if not drawing.is_synthetic],
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            on_progress=update,
        )
    if report.num_decoded:
        get_logger().info(f"{cache.path}: decoded {report.num_decoded} pages, {report.num_reused} were in the cache")
    needed = {drawing.path for drawing in drawings}
    check_unreadable(
        report.faults, needed=needed, training=training, unreadable=unreadable or build_unreadable_drawings(cfg)
    )
    return report


def _build_folder(cfg: CfgNode) -> Folder:
    options = cfg.DATASETS.FOLDER
    path = _parse_folder(options.PATH, "FOLDER.PATH")
    return Folder(path, test_fraction=options.TEST_FRACTION, num_queries=options.NUM_QUERIES, level=options.LEVEL)


def _build_lists(cfg: CfgNode) -> ImageLists:
    options = cfg.DATASETS.LIST
    train, query, gallery = (Path(path) if path else None for path in (options.TRAIN, options.QUERY, options.GALLERY))
    return ImageLists(_parse_folder(options.IMAGES, "LIST.IMAGES"), train=train, query=query, gallery=gallery)


def _parse_folder(path: str, key: str) -> Path:
    if not path:
        raise InputError(f"DATASETS.{key} is empty; set it to a folder, absolute or relative to the working folder")
    return Path(path)
