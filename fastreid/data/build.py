"""From a config to drawings, transforms and loaders: the room's tables and its only reader of the config."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.transforms import v2

from fastreid.config import CfgNode
from fastreid.data.datasets.base import Dataset, RetrievalData, class_numbers
from fastreid.data.datasets.deeppatent import Patent, PatentTest
from fastreid.data.datasets.folder import Folder, Lists
from fastreid.data.datasets.generated import Generated
from fastreid.data.datasets.joined import joined, overlap
from fastreid.data.loading import Sampler, TestLoader, TrainLoader, Workers
from fastreid.data.samplers.complete import CompleteIdentitySampler
from fastreid.data.samplers.coverage import measure
from fastreid.data.samplers.identity import BalancedIdentitySampler, IdentitySampler, NaiveIdentitySampler
from fastreid.data.samplers.stream import ImbalancedDatasetSampler, TrainingSampler
from fastreid.data.transforms.autoaugment import AugMix, AutoAugment
from fastreid.data.transforms.page import PadAndCrop, Pipeline, Resize
from fastreid.data.transforms.patch import RandomPatch
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger
from fastreid.utils.registry import Registry

BICUBIC = v2.InterpolationMode.BICUBIC

# (cfg, root) -> the data set
DATASETS: Registry[Callable[[CfgNode, Path], Dataset]] = Registry(
    "data set",
    {
        "Patent": lambda cfg, root: Patent(root),
        "PatentTest": lambda cfg, root: PatentTest(root),
        "Folder": lambda cfg, root: _folder(cfg),
        "List": lambda cfg, root: _lists(cfg),
        "Generated": lambda cfg, root: _generated(cfg, root),
    },
)


@dataclass(frozen=True)
class SamplerOptions:
    """What a config and a run say to a sampler beside the targets."""

    batch_size: int
    num_instance: int
    seed: int
    world_size: int
    cameras: tuple[int, ...]
    look_alikes: float = 0.0
    neighbours: Mapping[int, np.ndarray] | None = None

    def groups(self) -> dict[str, int]:
        """The options of an identity sampler."""
        return {name: getattr(self, name) for name in ("batch_size", "num_instance", "seed", "world_size")}


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

# Training steps on the grey page between decoder and tensor, in order: (switch in INPUT, maker from INPUT).
PAGE_STEPS: tuple[tuple[str, Callable[[CfgNode], Any]], ...] = (
    ("AUTOAUG", lambda given: AutoAugment(given.AUTOAUG.PROB, fill=given.FILL)),
    ("", lambda given: Resize(given.SIZE_TRAIN, max_pixels=given.MAX_PIXELS)),
    ("CROP", lambda given: _random_crop(given.CROP)),
    ("PADDING", lambda given: PadAndCrop(given.PADDING.SIZE, mode=given.PADDING.MODE, fill=given.FILL)),
    ("FLIP", lambda given: v2.RandomHorizontalFlip(given.FLIP.PROB)),
    ("CJ", lambda given: v2.RandomApply([_jitter(given.CJ)], p=given.CJ.PROB)),
    ("AFFINE", lambda given: _affine(given.FILL)),
    ("AUGMIX", lambda given: AugMix(given.AUGMIX.PROB, fill=given.FILL)),
)


def build_datasets(cfg: CfgNode) -> tuple[tuple[Drawing, ...], dict[str, RetrievalData]]:
    """The training drawings of DATASETS.NAMES joined, and the test sets of DATASETS.TESTS by name.

    Raises:
        InputError: a name is not known or stands twice, a list is at fault, or a drawing stands in training and test
            without DATASETS.ALLOW_OVERLAP.
    """
    names = _names(cfg, "NAMES")
    sets = {name: _dataset(cfg, name) for name in names}
    train = joined(sets, with_tests=cfg.DATASETS.COMBINEALL)
    tests = build_test_datasets(cfg)
    for name, data in tests.items():
        both = overlap(train, data)
        told = f"{len(both)} drawings stand in training and in the test set {name}: {', '.join(both[:20])}"
        if both and not cfg.DATASETS.ALLOW_OVERLAP:
            raise InputError(f"{told}; take them off one list, or set DATASETS.ALLOW_OVERLAP True")
        if both:
            get_logger().warning(f"{told}; allowed by DATASETS.ALLOW_OVERLAP, so its scores say little")
    return train, tests


def build_test_datasets(cfg: CfgNode) -> dict[str, RetrievalData]:
    """The test sets of DATASETS.TESTS by name, in their order; no training list is read."""
    tests = {}
    for name in _names(cfg, "TESTS"):
        queries, gallery = _dataset(cfg, name).test()
        tests[name] = RetrievalData(name, (), queries, gallery)
    return tests


def build_train_loader(
    cfg: CfgNode,
    drawings: Sequence[Drawing],
    *,
    start_iteration: int = 0,
    rank: int = 0,
    world_size: int = 1,
    neighbours: Mapping[int, np.ndarray] | None = None,
) -> TrainLoader:
    """Batches of the training drawings for ever, from an iteration on; see `TrainLoader`.

    Args:
        cfg: settings.
        drawings: the training list.
        start_iteration: iterations that are already done; from 0 on, what the sampler shows of the list is logged.
        rank: this device's number.
        world_size: how many devices share a batch.
        neighbours: tables of look-alikes, as `CompleteIdentitySampler` takes them.

    Raises:
        InputError: DATALOADER.LOOK_ALIKES with a sampler that knows none, and as `TrainLoader` and the samplers do.
    """
    targets, words = class_numbers(drawings)
    options = SamplerOptions(
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        num_instance=cfg.DATALOADER.NUM_INSTANCE,
        seed=cfg.SEED,
        world_size=world_size,
        cameras=tuple(drawing.camera for drawing in drawings),
        look_alikes=cfg.DATALOADER.LOOK_ALIKES,
        neighbours=neighbours,
    )
    sampler = SAMPLERS.get(cfg.DATALOADER.SAMPLER_TRAIN)(targets, options)
    if options.look_alikes and not isinstance(sampler, CompleteIdentitySampler):
        raise InputError(
            f"DATALOADER.LOOK_ALIKES is {options.look_alikes} and {cfg.DATALOADER.SAMPLER_TRAIN} knows no look-alikes; "
            "set it to 0, or DATALOADER.SAMPLER_TRAIN to CompleteIdentitySampler"
        )
    if isinstance(sampler, IdentitySampler) and sampler.num_short_ids and start_iteration == 0:
        get_logger().info(
            f"{sampler.num_short_ids} of {len(words)} patents have fewer than {options.num_instance} drawings "
            "(DATALOADER.NUM_INSTANCE), so drawings of theirs stand several times in a batch"
        )
    loader = TrainLoader(
        drawings,
        transform=build_train_transforms(cfg, donors=drawings),
        sampler=sampler,
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        seed=cfg.SEED,
        start_iteration=start_iteration,
        rank=rank,
        world_size=world_size,
        workers=_workers(cfg),
        max_pixels=cfg.INPUT.MAX_PIXELS,
    )
    if start_iteration == 0 and rank == 0:
        shown = measure(
            sampler,
            targets,
            batch_size=options.batch_size,
            num_instance=options.num_instance,
            world_size=world_size,
        )
        get_logger().info(f"{cfg.DATALOADER.SAMPLER_TRAIN}: {shown}")
    return loader


def build_test_loader(cfg: CfgNode, drawings: Sequence[Drawing], *, rank: int = 0, world_size: int = 1) -> TestLoader:
    """Batches of TEST.IMS_PER_BATCH drawings in the list's order; see `TestLoader`."""
    return TestLoader(
        drawings,
        transform=build_test_transforms(cfg),
        batch_size=cfg.TEST.IMS_PER_BATCH,
        rank=rank,
        world_size=world_size,
        workers=_workers(cfg),
        max_pixels=cfg.INPUT.MAX_PIXELS,
    )


def build_train_transforms(cfg: CfgNode, *, donors: Sequence[Drawing] = ()) -> Pipeline:
    """Page to image with the random changes that INPUT switches on.

    Args:
        cfg: settings.
        donors: where random patch (INPUT.RPT) takes its pieces from; refused when that is on and they are none.
    """
    given = cfg.INPUT
    on_page = [make(given) for switch, make in PAGE_STEPS if not switch or given[switch].ENABLED]
    on_tensor: list[Callable[[torch.Tensor], torch.Tensor]] = []
    if given.REA.ENABLED:
        on_tensor.append(_erasing(given.REA))
    if given.RPT.ENABLED:
        on_tensor.append(RandomPatch(donors, prob=given.RPT.PROB, max_pixels=given.MAX_PIXELS))
    return Pipeline(on_page, on_tensor)


def build_test_transforms(cfg: CfgNode) -> Pipeline:
    """Page to image as in the test: resized, and cut to its centre where INPUT.CROP is on."""
    size, crop = cfg.INPUT.SIZE_TEST, cfg.INPUT.CROP.SIZE
    steps: list[Callable[[Any], Any]] = [Resize(size, max_pixels=cfg.INPUT.MAX_PIXELS)]
    if cfg.INPUT.CROP.ENABLED:
        if any(side > whole for side, whole in zip(_pair(crop), _pair(size))):
            raise InputError(
                f"INPUT.CROP.SIZE is {crop}; allowed is at most INPUT.SIZE_TEST {size}, from whose centre it is cut"
            )
        steps.append(v2.CenterCrop(_pair(crop)))
    return Pipeline(steps)


def _dataset(cfg: CfgNode, name: str) -> Dataset:
    return DATASETS.get(name)(cfg, _root(cfg))


def _root(cfg: CfgNode) -> Path:
    return Path(cfg.DATASETS.ROOT or os.environ.get("FASTREID_DATASETS") or "datasets").expanduser()


def _names(cfg: CfgNode, key: str) -> tuple[str, ...]:
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


def _generated(cfg: CfgNode, root: Path) -> Generated:
    given = cfg.DATASETS.GENERATED
    return Generated(
        root,
        seed=given.SEED,
        num_train_patents=given.NUM_TRAIN_PATENTS,
        num_test_patents=given.NUM_TEST_PATENTS,
        size_px=given.SIZE_PX,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def _workers(cfg: CfgNode) -> Workers:
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda") and torch.cuda.is_available()
    return Workers(cfg.DATALOADER.NUM_WORKERS, timeout_s=cfg.DATALOADER.TIMEOUT_S, pin_memory=on_gpu)


def _pair(size: Sequence[int]) -> tuple[int, int]:
    """Height and width; one number stands for both."""
    return (size[0], size[-1])


def _random_crop(given: CfgNode) -> v2.RandomResizedCrop:
    return v2.RandomResizedCrop(
        _pair(given.SIZE), scale=tuple(given.SCALE), ratio=tuple(given.RATIO), interpolation=BICUBIC
    )


def _jitter(given: CfgNode) -> v2.ColorJitter:
    return v2.ColorJitter(given.BRIGHTNESS, contrast=given.CONTRAST, saturation=given.SATURATION, hue=given.HUE)


def _affine(fill: int) -> v2.RandomAffine:
    # fast-reid takes the nearest pixel here, which breaks thin lines; bilinear keeps them.
    bilinear = v2.InterpolationMode.BILINEAR
    return v2.RandomAffine(10, scale=(0.9, 1.1), shear=0.1, interpolation=bilinear, fill=fill)


def _erasing(given: CfgNode) -> v2.RandomErasing:
    return v2.RandomErasing(given.PROB, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=list(given.VALUE))
