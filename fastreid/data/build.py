"""From a config to drawings, transforms and loaders: the room's tables and its only reader of the config."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fastreid.config import CfgNode
from fastreid.data.datasets.base import Dataset, RetrievalData, class_numbers
from fastreid.data.datasets.combined import joined, overlap
from fastreid.data.datasets.deeppatent import Patent, PatentTest
from fastreid.data.datasets.folder import Folder, Lists
from fastreid.data.datasets.generated import Generated
from fastreid.data.datasets.generated_stream import GeneratedStream
from fastreid.data.io.build import build_bad_drawings, build_reader, data_root
from fastreid.data.loading.loader import CPU, Sampler, TestLoader, TrainLoader, Workers
from fastreid.data.loading.unreadable import NEEDS_ALL, BadDrawings
from fastreid.data.samplers.complete import CompleteIdentitySampler
from fastreid.data.samplers.coverage import measure
from fastreid.data.samplers.identity import BalancedIdentitySampler, IdentitySampler, NaiveIdentitySampler
from fastreid.data.samplers.instance import ImbalancedDatasetSampler, TrainingSampler
from fastreid.data.transforms.build import build_test_transforms, build_train_transforms
from fastreid.structures import Drawing
from fastreid.synthetic import Collection
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger
from fastreid.utils.registry import Registry

# (cfg, root) -> the data set
DATASETS: Registry[Callable[[CfgNode, Path], Dataset]] = Registry(
    "data set",
    {
        "Patent": lambda cfg, root: Patent(root),
        "PatentTest": lambda cfg, root: PatentTest(root),
        "Folder": lambda cfg, root: _folder(cfg),
        "List": lambda cfg, root: _lists(cfg),
        "Generated": lambda cfg, root: Generated(root, _collection(cfg), num_workers=cfg.DATALOADER.NUM_WORKERS),
        "GeneratedStream": lambda cfg, root: GeneratedStream(_collection(cfg)),
    },
)


@dataclass(frozen=True)
class SamplerOptions:
    """What a config and a run say to a sampler beside the targets."""

    batch_size: int
    num_instance: int
    seed: int
    cameras: tuple[int, ...]
    look_alikes: float = 0.0
    neighbours: Mapping[int, np.ndarray] | None = None

    def groups(self) -> dict[str, int]:
        """The options of an identity sampler."""
        return {name: getattr(self, name) for name in ("batch_size", "num_instance", "seed")}


# (targets, options) -> the sampler
SAMPLERS: Registry[Callable[[list[int], SamplerOptions], Sampler]] = Registry(
    "training sampler",
    {
        "TrainingSampler": lambda targets, given: TrainingSampler(
            len(targets), batch_size=given.batch_size, seed=given.seed
        ),
        "ImbalancedDatasetSampler": lambda targets, given: ImbalancedDatasetSampler(
            targets, batch_size=given.batch_size, seed=given.seed
        ),
        "BalancedIdentitySampler": lambda targets, given: BalancedIdentitySampler(
            targets, cameras=given.cameras, **given.groups()
        ),
        "NaiveIdentitySampler": lambda targets, given: NaiveIdentitySampler(targets, **given.groups()),
        "CompleteIdentitySampler": lambda targets, given: CompleteIdentitySampler(
            targets, look_alikes=given.look_alikes, neighbours=given.neighbours, **given.groups()
        ),
    },
)


def build_datasets(cfg: CfgNode) -> tuple[tuple[Drawing, ...], dict[str, RetrievalData]]:
    """The training drawings of DATASETS.NAMES joined, and the test sets of DATASETS.TESTS by name.

    Raises:
        InputError: a name is not known or stands twice, a list is at fault, or a drawing stands in training and test
            without DATASETS.ALLOW_OVERLAP.
    """
    names = set_names(cfg, "NAMES")
    sets = {name: build_dataset(cfg, name) for name in names}
    tests = build_test_datasets(cfg)  # first, since what is generated to train on may take minutes to draw
    train = joined(sets, with_tests=cfg.DATASETS.COMBINEALL)
    for name, data in tests.items():
        both = overlap(train, data)
        told = f"{len(both)} drawings stand in training and in the test set {name}: {', '.join(both[:20])}"
        if both and not cfg.DATASETS.ALLOW_OVERLAP:
            raise InputError(f"{told}; take them off one list, or set DATASETS.ALLOW_OVERLAP True")
        if both:
            get_logger().warning(f"{told}; allowed by DATASETS.ALLOW_OVERLAP, so its scores say little")
    return train, tests


def build_dataset(cfg: CfgNode, name: str) -> Dataset:
    """One data set by name; nothing of it is read yet."""
    return DATASETS.get(name)(cfg, data_root(cfg))


def build_test_datasets(cfg: CfgNode) -> dict[str, RetrievalData]:
    """The test sets of DATASETS.TESTS by name, in their order; no training list is read."""
    tests = {}
    for name in set_names(cfg, "TESTS"):
        queries, gallery = build_dataset(cfg, name).test()
        tests[name] = RetrievalData(name, (), queries, gallery)
    return tests


def build_sampler(
    cfg: CfgNode,
    drawings: Sequence[Drawing],
    *,
    neighbours: Mapping[int, np.ndarray] | None = None,
) -> Sampler:
    """The order in which the training drawings come, by DATALOADER.SAMPLER_TRAIN.

    Arguments are those of `build_train_loader`.

    Raises:
        InputError: DATALOADER.HARD_IDENTITIES with a sampler that knows none, or no batch can be made of these drawings.
    """
    targets, _ = class_numbers(drawings)
    options = SamplerOptions(
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        num_instance=cfg.DATALOADER.NUM_INSTANCE,
        seed=cfg.SEED,
        cameras=tuple(drawing.camera for drawing in drawings),
        look_alikes=cfg.DATALOADER.HARD_IDENTITIES,
        neighbours=neighbours,
    )
    sampler = SAMPLERS.get(cfg.DATALOADER.SAMPLER_TRAIN)(targets, options)
    if options.look_alikes and not isinstance(sampler, CompleteIdentitySampler):
        raise InputError(
            f"DATALOADER.HARD_IDENTITIES is {options.look_alikes} and {cfg.DATALOADER.SAMPLER_TRAIN} knows no look-alikes; "
            "set it to 0, or DATALOADER.SAMPLER_TRAIN to CompleteIdentitySampler"
        )
    return sampler


def build_train_loader(
    cfg: CfgNode,
    drawings: Sequence[Drawing],
    *,
    start_iteration: int = 0,
    rank: int = 0,
    world_size: int = 1,
    neighbours: Mapping[int, np.ndarray] | None = None,
    device: torch.device = CPU,
    bad: BadDrawings | None = None,
) -> TrainLoader:
    """Batches of the training drawings for ever, from an iteration on; see `TrainLoader`.

    Args:
        cfg: settings.
        drawings: the training list.
        start_iteration: iterations that are already done; from 0 on, what the sampler shows of the list is logged.
        rank: this device's number.
        world_size: how many devices share a batch.
        neighbours: tables of look-alikes, as `CompleteIdentitySampler` takes them.
        device: where the batches go.
        bad: of `build_bad_drawings`; one of its own when None.

    Raises:
        InputError: as `build_sampler` and `TrainLoader` do.
    """
    targets, words = class_numbers(drawings)
    num_instance = cfg.DATALOADER.NUM_INSTANCE
    sampler = build_sampler(cfg, drawings, neighbours=neighbours)
    if isinstance(sampler, IdentitySampler) and sampler.num_short_ids and start_iteration == 0:
        get_logger().info(
            f"{sampler.num_short_ids} of {len(words)} patents have fewer than {num_instance} drawings "
            "(DATALOADER.NUM_INSTANCE), so drawings of theirs stand several times in a batch"
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
        workers=_workers(cfg),
        read=read,
        device=device,
        bad=bad or build_bad_drawings(cfg),
    )
    if start_iteration == 0 and rank == 0:
        shown = measure(sampler, targets, batch_size=cfg.SOLVER.IMS_PER_BATCH, num_instance=num_instance)
        get_logger().info(f"{cfg.DATALOADER.SAMPLER_TRAIN}: {shown}")
    return loader


def build_test_loader(
    cfg: CfgNode,
    drawings: Sequence[Drawing],
    *,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device = CPU,
    done: AbstractSet[int] = frozenset(),
    bad: BadDrawings | None = None,
) -> TestLoader:
    """Batches of TEST.IMS_PER_BATCH drawings in the list's order; see `TestLoader`."""
    return TestLoader(
        drawings,
        transform=build_test_transforms(cfg),
        batch_size=cfg.TEST.IMS_PER_BATCH,
        rank=rank,
        world_size=world_size,
        workers=_workers(cfg),
        read=build_reader(cfg),
        device=device,
        done=done,
        bad=bad,
        hint=NEEDS_ALL if cfg.INPUT.ON_BAD_IMAGE == "skip" and bad is None else "",
    )


def set_names(cfg: CfgNode, key: str) -> tuple[str, ...]:
    """The data sets of DATASETS.NAMES or TESTS.

    Raises:
        InputError: there are none, or one stands twice.
    """
    names = tuple(cfg.DATASETS[key])
    if not names or len(set(names)) != len(names):
        raise InputError(f"DATASETS.{key} is {names}; it takes one data set or more, each once")
    return names


def _folder(cfg: CfgNode) -> Folder:
    given = cfg.DATASETS.FOLDER
    return Folder(_path(given.PATH, "FOLDER.PATH"), test_fraction=given.TEST_FRACTION, num_queries=given.NUM_QUERIES)


def _lists(cfg: CfgNode) -> Lists:
    given = cfg.DATASETS.LIST
    train, query, database = (
        Path(path).expanduser() if path else None for path in (given.TRAIN, given.QUERY, given.DATABASE)
    )
    return Lists(_path(given.IMAGES, "LIST.IMAGES"), train=train, query=query, database=database)


def _path(path: str, key: str) -> Path:
    if not path:
        raise InputError(f"DATASETS.{key} is empty; set it to a folder, absolute or from the working folder")
    return Path(path).expanduser()


def _collection(cfg: CfgNode) -> Collection:
    given = cfg.DATASETS.GENERATED
    return Collection(
        given.SEED,
        given.NUM_TRAIN_PATENTS,
        given.NUM_TEST_PATENTS,
        size_px=given.SIZE_PX,
        disjoint=given.DISJOINT,
        without=tuple(sorted(set(given.EXCLUDE))),
    )


def _workers(cfg: CfgNode) -> Workers:
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda") and torch.cuda.is_available()
    return Workers(cfg.DATALOADER.NUM_WORKERS, timeout_s=cfg.DATALOADER.TIMEOUT_S, pin_memory=on_gpu)
