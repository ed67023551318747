"""From a config to the step of a run: how it accumulates, clips, averages and calls the network."""

from collections.abc import Iterator

import numpy as np
from torch import nn

from fastreid.config import CfgNode
from fastreid.data.build import build_datasets
from fastreid.data.transforms.build import build_train_transforms
from fastreid.engine.precision import kind_for_training
from fastreid.engine.setup import resolve_device, to_device
from fastreid.engine.train_step import Clip, TrainStep
from fastreid.engine.weight_average import WeightAverage
from fastreid.experiments.batch_size import Trial, doubled, find_batch_size, free_memory_mb, measure_step
from fastreid.modeling import build_model
from fastreid.modeling.build import build_losses
from fastreid.modeling.heads import EmbeddingHead
from fastreid.solver.build import build_optimizer
from fastreid.structures import Drawing
from fastreid.utils import comm
from fastreid.utils.errors import InputError

BLANK_PAGE_PX = (2200, 1700)  # height and width of a page as patent offices scan them


def build_step(cfg: CfgNode, model: nn.Module, *, iters_per_epoch: int) -> TrainStep:
    """The step that trains a network, which is on its device already, by SOLVER's settings.

    Raises:
        InputError: settings that do not go together.
    """
    if cfg.MODEL.COMPILE and cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING:
        raise InputError("MODEL.COMPILE cannot take in MODEL.BACKBONE.GRADIENT_CHECKPOINTING; set one of them to False")
    device = resolve_device(cfg)
    return TrainStep(
        model,
        build_optimizer(cfg, model),
        device=device,
        dtype=kind_for_training(cfg.SOLVER.AMP.DTYPE, device) if cfg.SOLVER.AMP.ENABLED else None,
        accumulate=cfg.SOLVER.GRAD_ACCUM_STEPS,
        clip=_clip(cfg),
        average=_average(cfg, model, iters_per_epoch),
        all_learn=any(term.sees == "logits" for term in build_losses(cfg)),
        compiled=cfg.MODEL.COMPILE,
    )


def batch_size_trials(
    cfg: CfgNode, *, most: int = 4096, num_steps: int = 3, memory_mb: float | None = None
) -> Iterator[Trial]:
    """Try batches of 2, 4, 8 ... patents of NUM_INSTANCE drawings, each time GRAD_ACCUM_STEPS parts of that, until one does
    not fit.

    Args:
        cfg: settings; the training list tells how many patents the head has.
        most: drawings a step at the most; never more than the list has.
        num_steps: that are timed of each size, after one that warms up.
        memory_mb: MiB a run may hold; nine tenths of what is free when None.

    Raises:
        InputError: the list or `most` has room for no size.
    """
    drawings, _ = build_datasets(cfg)
    num_patents = len({drawing.patent for drawing in drawings})
    num_instance, device = cfg.DATALOADER.NUM_INSTANCE, resolve_device(cfg)
    num_classes = cfg.MODEL.HEADS.NUM_CLASSES or num_patents
    least = 2 * num_instance * cfg.SOLVER.GRAD_ACCUM_STEPS
    limits = {
        "--most": most,
        "the training list": len(drawings),
        "whole groups of its patents": num_patents * num_instance,
    }
    limit, largest = min(limits.items(), key=lambda item: item[1])
    if largest < least:
        raise InputError(
            f"no size can be tried: the smallest is {least} drawings, two patents of DATALOADER.NUM_INSTANCE for each of "
            f"SOLVER.GRAD_ACCUM_STEPS parts, and the largest {largest} ({limit}); lower one of the two or raise that"
        )
    model = to_device(cfg, build_model(cfg, num_classes=num_classes))
    heads = model.get_submodule("heads")
    step = build_step(cfg, model, iters_per_epoch=1)
    page = np.full(BLANK_PAGE_PX, 255, np.uint8)
    blank = Drawing("", "a blank page", "")
    image = build_train_transforms(cfg, donors=[blank], read=lambda _: page)(page)

    def measure(size: int) -> tuple[float, float]:
        return measure_step(
            step,
            size,
            num_instance=num_instance,
            num_classes=num_classes,
            image_px=(image.shape[1], image.shape[2]),
            num_steps=num_steps,
            before_step=lambda number: heads.draw(cfg.SEED, number) if isinstance(heads, EmbeddingHead) else None,
        )

    sizes = doubled(least, largest)
    budget_mb = 0.9 * free_memory_mb(device) if memory_mb is None else memory_mb
    yield from find_batch_size(sizes, measure, budget_mb=budget_mb)


def check_parts(cfg: CfgNode) -> None:
    """Refuse a batch of which SOLVER.GRAD_ACCUM_STEPS makes parts too small for batch norm and pairs.

    Raises:
        InputError: a part has fewer than two drawings.
    """
    num = cfg.SOLVER.IMS_PER_BATCH // comm.world_size()
    if num < 2 * cfg.SOLVER.GRAD_ACCUM_STEPS:
        raise InputError(
            f"SOLVER.GRAD_ACCUM_STEPS is {cfg.SOLVER.GRAD_ACCUM_STEPS} and a device has {num} drawings a step; a part needs 2 at least"
        )


def _average(cfg: CfgNode, model: nn.Module, iters_per_epoch: int) -> WeightAverage | None:
    given = cfg.SOLVER.AVERAGE
    if given.METHOD == "none":
        return None
    if given.START_EPOCH >= cfg.SOLVER.MAX_EPOCH:
        raise InputError(
            f"SOLVER.AVERAGE.START_EPOCH is {given.START_EPOCH} and MAX_EPOCH {cfg.SOLVER.MAX_EPOCH}, so nothing would be "
            "averaged; lower it"
        )
    start = given.START_EPOCH * iters_per_epoch
    return WeightAverage(model, method=given.METHOD, decay=given.DECAY, start=start, iters_per_epoch=iters_per_epoch)


def _clip(cfg: CfgNode) -> Clip | None:
    clip = cfg.SOLVER.CLIP_GRADIENTS
    return Clip(clip.CLIP_TYPE, clip.CLIP_VALUE, norm_type=clip.NORM_TYPE) if clip.ENABLED else None
