"""Build datasets, page readers and loaders from a config, with the synthetic drawings included."""

import functools
import os
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import torch

from fastreid.config import CfgNode
from fastreid.data.build import (
    DATASETS,
    build_cache,
    build_sampler,
    build_unreadable_drawings,
    get_data_root,
    get_dataset_names,
)
from fastreid.data.datasets.base import Dataset, InvalidListError, RetrievalData, encode_labels, raise_faults
from fastreid.data.datasets.combined import find_overlap, join_datasets
from fastreid.data.datasets.generated import Generated
from fastreid.data.datasets.generated_stream import GeneratedStream
from fastreid.data.io.image import Array, read_drawing
from fastreid.data.io.reader import DrawingReader, ReadPage
from fastreid.data.loading.loader import CPU, TestLoader, TrainLoader, steps_per_epoch
from fastreid.data.loading.unreadable import NEEDS_ALL, UnreadableDrawings
from fastreid.data.loading.workers import Workers
from fastreid.data.samplers.coverage import measure_coverage
from fastreid.data.samplers.identity import IdentitySampler
from fastreid.data.transforms.build import build_test_transforms, build_train_transforms
from fastreid.structures import Drawing
from fastreid.synthetic import RULES_VERSION, Collection, write_patents
from fastreid.synthetic.stream import StreamRenderer, list_drawings
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger
from fastreid.utils.progress import show_progress
from fastreid.utils.text import format_faults


def build_dataset(cfg: CfgNode, name: str) -> Dataset:
    """Return a dataset by its name in the registry; nothing is read yet.

    Raises:
        InputError: the name is unknown.
    """
    keys = (key for key in ("NAMES", "TESTS") if name in cfg.DATASETS[key])
    return DATASETS.get(name, next((f"DATASETS.{key}" for key in keys), ""))(cfg, get_data_root(cfg))


def build_datasets(cfg: CfgNode) -> tuple[tuple[Drawing, ...], dict[str, RetrievalData]]:
    """Return the joined training drawings of DATASETS.NAMES, and the test sets of DATASETS.TESTS by name.

    Raises:
        InputError: a name is unknown or repeated, a list is invalid, there are too few drawings for a test, or a
            drawing is in training and test without DATASETS.ALLOW_OVERLAP. If all training sets are also test sets, the
            message about a test also says why the training drawings make no batch.
    """
    datasets = {name: build_dataset(cfg, name) for name in get_dataset_names(cfg, "NAMES")}
    try:
        tests = build_test_datasets(cfg, datasets)  # before training sets, whose generation may take minutes
    except InputError as error:
        fault = "" if isinstance(error, InvalidListError) else _find_batch_fault(cfg, datasets)
        if fault:
            raise_faults([str(error), fault], f"{', '.join(datasets)}: the data cannot be used")
        raise
    train = join_datasets(datasets, include_tests=cfg.DATASETS.COMBINEALL)
    for name, data in tests.items():
        shared = [
            f"{drawing.source}: {drawing.name} is also a training drawing ({twin.source})"
            for drawing, twin in find_overlap(train, data)
        ]
        heading = f"drawings are in both training and the test set {name}"
        if not cfg.DATASETS.ALLOW_OVERLAP:
            raise_faults(shared, f"{heading}; remove them from one list, or set DATASETS.ALLOW_OVERLAP True")
        elif shared:
            reason = "allowed by DATASETS.ALLOW_OVERLAP, but its scores are too optimistic"
            get_logger().warning(format_faults(shared, f"{heading}; {reason}"))
    return train, tests


def _find_batch_fault(cfg: CfgNode, datasets: Mapping[str, Dataset]) -> str:
    """Return why training drawings make no batch; "" if they do, or if only training would read a dataset."""
    if not set(datasets) <= set(get_dataset_names(cfg, "TESTS")):
        return ""
    try:
        train = join_datasets(datasets)
        build_sampler(cfg, train)
        steps_per_epoch(len(train), cfg.SOLVER.IMS_PER_BATCH)
    except InputError as error:
        return "" if isinstance(error, InvalidListError) else str(error)
    return ""


def build_test_datasets(cfg: CfgNode, datasets: Mapping[str, Dataset] | None = None) -> dict[str, RetrievalData]:
    """Return the test sets of DATASETS.TESTS by name, in their order; no training list is read.

    Args:
        cfg: settings.
        datasets: those that have been built, by name.
    """
    tests = {}
    for name in get_dataset_names(cfg, "TESTS"):
        dataset = None if datasets is None else datasets.get(name)
        queries, gallery = (build_dataset(cfg, name) if dataset is None else dataset).test()
        tests[name] = RetrievalData(name, (), queries, gallery)
    return tests


def build_reader(cfg: CfgNode) -> ReadPage:
    """Return the page reader of a run: pages reduced to INPUT.LONGEST_PX, from the cache if it is enabled.

    Pages that are not in the cache are read from their files; see `fill_cache_if_enabled`. Synthetic drawings without a
    file are rendered.
    """
    if cfg.DATASETS.CACHE.ENABLED:
        cache = build_cache(cfg)
        return DrawingReader(
            cache.read,
            render=StreamRenderer(),
            longest_px=cfg.INPUT.LONGEST_PX,
            on_close=cache.connections.log_pages_from_files,
        )
    read_file = functools.partial(
        read_drawing,
        color=cfg.INPUT.COLOR == "rgb",
        max_pixels=cfg.INPUT.MAX_PIXELS,
        longest_px=cfg.INPUT.LONGEST_PX,
    )
    return DrawingReader(read_file, render=StreamRenderer(), longest_px=cfg.INPUT.LONGEST_PX)


def build_train_loader(
    cfg: CfgNode,
    drawings: Sequence[Drawing],
    *,
    start_iteration: int = 0,
    rank: int = 0,
    world_size: int = 1,
    neighbors: Mapping[int, Array] | None = None,
    device: torch.device = CPU,
    unreadable: UnreadableDrawings | None = None,
) -> TrainLoader:
    """Return the endless iterator over training batches, from an iteration on; see `TrainLoader`.

    Args:
        cfg: settings.
        drawings: the training list.
        start_iteration: iterations that are already done; at 0 the coverage of the list by the sampler is logged.
        rank: process rank.
        world_size: number of processes that share a batch.
        neighbors: tables of hard identities, as for `CompleteIdentitySampler`.
        device: device of the batches.
        unreadable: from `build_unreadable_drawings`; None: a new one.

    Raises:
        InputError: as `build_sampler` and `TrainLoader`.
    """
    targets, patents = encode_labels(drawings)
    num_instance = cfg.DATALOADER.NUM_INSTANCE
    sampler = build_sampler(cfg, drawings, neighbors=neighbors)
    if isinstance(sampler, IdentitySampler) and sampler.num_short_ids and start_iteration == 0:
        get_logger().info(
            f"{sampler.num_short_ids} of {len(patents)} patents have fewer than {num_instance} drawings "
            "(DATALOADER.NUM_INSTANCE), so batches repeat some of their drawings"
        )
    read = build_reader(cfg)
    loader = TrainLoader(
        drawings,
        transform=build_train_transforms(cfg, donors=drawings, read=read),
        sampler=sampler,
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        seed=cfg.SEED,
        start_iteration=start_iteration,
        rank=rank,
        world_size=world_size,
        workers=_build_workers(cfg, cfg.INPUT.SIZE_TRAIN, num_processes=world_size),
        read=read,
        device=device,
        unreadable=unreadable or build_unreadable_drawings(cfg),
    )
    if start_iteration == 0 and rank == 0:
        coverage = measure_coverage(sampler, targets, batch_size=cfg.SOLVER.IMS_PER_BATCH, num_instance=num_instance)
        get_logger().info(f"{cfg.DATALOADER.SAMPLER_TRAIN}: {coverage}")
    return loader


def build_test_loader(
    cfg: CfgNode,
    drawings: Sequence[Drawing],
    *,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device = CPU,
    done: AbstractSet[int] = frozenset(),
    unreadable: UnreadableDrawings | None = None,
    read: ReadPage | None = None,
) -> TestLoader:
    """Return batches of TEST.IMS_PER_BATCH drawings in the order of the list; see `TestLoader`.

    Without `read`, pages are read as by `build_reader`.
    """
    return TestLoader(
        drawings,
        transform=build_test_transforms(cfg),
        batch_size=cfg.TEST.IMS_PER_BATCH,
        rank=rank,
        world_size=world_size,
        workers=_build_workers(cfg, cfg.INPUT.SIZE_TEST, num_processes=world_size),
        read=build_reader(cfg) if read is None else read,
        device=device,
        done=done,
        unreadable=unreadable,
        hint=NEEDS_ALL if cfg.INPUT.ON_BAD_IMAGE == "skip" and unreadable is None else "",
    )


def _build_workers(cfg: CfgNode, size_px: Sequence[int], *, num_processes: int) -> Workers:
    """Return the settings of a loader's workers.

    Args:
        cfg: settings.
        size_px: INPUT.SIZE_TRAIN or SIZE_TEST; with one number the size of a page is unknown.
        num_processes: number of processes of the run; torchrun says how many of them are on this machine.
    """
    size_px = cfg.INPUT.CROP.SIZE if cfg.INPUT.CROP.ENABLED else size_px
    num_channels = 3 if cfg.INPUT.COLOR == "rgb" else 1
    page_bytes = num_channels * size_px[0] * size_px[1] if len(size_px) == 2 else 0
    uses_gpu = cfg.MODEL.DEVICE.startswith("cuda") and torch.cuda.is_available()
    return Workers(
        cfg.DATALOADER.NUM_WORKERS,
        timeout_s=cfg.DATALOADER.TIMEOUT_S,
        pin_memory=uses_gpu,
        page_bytes=page_bytes,
        num_processes=int(os.environ.get("LOCAL_WORLD_SIZE", num_processes)),
    )


def _build_generated(cfg: CfgNode, root: Path) -> Generated:
    collection = _build_collection(cfg)
    write = functools.partial(_write_collection, collection=collection, num_workers=cfg.DATALOADER.NUM_WORKERS)
    return Generated(root, identity=_collection_identity(collection), write=write)


def _write_collection(folder: Path, *, collection: Collection, num_workers: int) -> None:
    with show_progress("rendering drawings", unit="patent") as update:
        write_patents(folder, collection, num_workers=num_workers, on_patent=update)


def _build_generated_stream(cfg: CfgNode, root: Path) -> GeneratedStream:
    return GeneratedStream(functools.partial(list_drawings, _build_collection(cfg)))


def _build_collection(cfg: CfgNode) -> Collection:
    options = cfg.DATASETS.GENERATED
    return Collection(
        options.SEED,
        options.NUM_TRAIN_PATENTS,
        options.NUM_TEST_PATENTS,
        size_px=options.SIZE_PX,
        disjoint=options.DISJOINT,
        exclude=tuple(sorted(set(options.EXCLUDE))),
    )


def _collection_identity(collection: Collection) -> str:
    """Return the text whose digest names the folder of a collection.

    Written out rather than taken from `repr`: renaming a field must not move the folders that users have.
    """
    return (
        f"({RULES_VERSION}, Collection(seed={collection.seed!r}, num_train_patents={collection.num_train_patents!r}, "
        f"num_test_patents={collection.num_test_patents!r}, size_px={collection.size_px!r}, "
        f"disjoint={collection.disjoint!r}, without={collection.exclude!r}))"
    )


DATASETS.register("Generated")(_build_generated)
DATASETS.register("GeneratedStream")(_build_generated_stream)
