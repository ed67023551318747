"""Train only the head, on features of the frozen backbone that are computed once; fit projections in closed form."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from fastreid.config import CfgNode
from fastreid.data.build import build_sampler
from fastreid.data.datasets.base import encode_labels
from fastreid.data.loading.loader import steps_per_epoch
from fastreid.data.loading.workers import worker_died_error
from fastreid.engine.features.extract import extract_features
from fastreid.modeling.baseline import Baseline
from fastreid.modeling.build import build_losses
from fastreid.modeling.heads import EmbeddingHead
from fastreid.modeling.projection import PROJECTIONS, set_projection
from fastreid.structures import Batch, Drawing
from fastreid.utils import comm
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.logger import get_logger
from fastreid.utils.text import format_count

BATCH_SIZE = 16  # drawings per batch of the features
AUGMENTATIONS = ("CROP", "FLIP", "PADDING", "CJ", "AFFINE", "AUGMIX", "AUTOAUG", "REA", "RPT", "LABEL", "INK_CROP")


class PooledBackbone(nn.Module):
    """Backbone and pooling of a network, without the other parts of its head.

    Args:
        model: the network; its modules are shared.
    """

    def __init__(self, model: Baseline):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the pooled features (B, C) of images (B, 3, H, W)."""
        return self.model.compute_pooled_features(images)


class FeatureLoader:
    """Endless iterator over this process's share of batches of cached features, as `TrainLoader`.

    Args:
        features: float32 (N, C), pooled features of the training drawings.
        drawings: the training list.
        cfg: settings; they determine the sampler.
        start_iteration: iterations that are already done.
        device: device of the batches.
    """

    def __init__(
        self,
        features: Tensor,
        drawings: Sequence[Drawing],
        cfg: CfgNode,
        *,
        start_iteration: int = 0,
        device: torch.device,
    ):
        batch_size = cfg.SOLVER.IMS_PER_BATCH
        targets, self.patents = encode_labels(drawings)
        self.num_classes = len(self.patents)
        self.iters_per_epoch = steps_per_epoch(len(drawings), batch_size)
        self._features, self._targets, self._device = features, torch.tensor(targets), device
        rank, world_size = comm.get_rank(), comm.get_world_size()
        self._slice = slice(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)
        self._batches = build_sampler(cfg, drawings).batches(start_iteration)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        rows = torch.tensor(next(self._batches)[self._slice])
        return Batch(self._features[rows].to(self._device), self._targets[rows].to(self._device), rows.to(self._device))

    def worker_error(self, reason: str) -> EnvironmentSetupError:
        """Return the error for a worker of another loader that died; this one has none."""
        return worker_died_error(reason)

    def close(self) -> None:
        """Do nothing: there are no workers."""


def check_head_only(cfg: CfgNode) -> None:
    """Check that SOLVER.HEAD_ONLY and MODEL.HEADS.PROJECTION are possible, and that no setting is without effect.

    Raises:
        InputError: a setting has no effect on cached features, or contradicts the projection.
    """
    heads = cfg.MODEL.HEADS
    if heads.PROJECTION and not (heads.EMBEDDING_DIM and heads.EMBEDDING_BIAS):
        raise InputError(
            f"MODEL.HEADS.PROJECTION is {heads.PROJECTION}, which needs a reduction layer with a bias; set "
            "MODEL.HEADS.EMBEDDING_DIM to the number of components and EMBEDDING_BIAS to True"
        )
    if (heads.PROJECTION or cfg.SOLVER.HEAD_ONLY) and cfg.INPUT.ON_BAD_IMAGE != "stop":
        raise InputError(
            "SOLVER.HEAD_ONLY and MODEL.HEADS.PROJECTION need the features of all training drawings; set "
            "INPUT.ON_BAD_IMAGE to stop, and remove unreadable drawings from the list"
        )
    if not cfg.SOLVER.HEAD_ONLY:
        return
    if list(cfg.INPUT.SIZE_TRAIN) != list(cfg.INPUT.SIZE_TEST):
        raise InputError(
            f"SOLVER.HEAD_ONLY computes the features at INPUT.SIZE_TEST {list(cfg.INPUT.SIZE_TEST)}; set "
            f"INPUT.SIZE_TRAIN to the same, not {list(cfg.INPUT.SIZE_TRAIN)}"
        )
    if heads.NECK_FEAT == "before" and any(term.inputs == "pairs" for term in build_losses(cfg)):
        raise InputError(
            "SOLVER.HEAD_ONLY trains nothing in front of the neck, so pair losses would have no effect on the features "
            "there; set MODEL.HEADS.NECK_FEAT to after"
        )
    enabled = [f"INPUT.{name}.ENABLED" for name in AUGMENTATIONS if cfg.INPUT[name].ENABLED]
    enabled += ["INPUT.LINE_AUG.OPS"] * bool(cfg.INPUT.LINE_AUG.OPS) + ["DATALOADER.HARD_IDENTITIES"] * bool(
        cfg.DATALOADER.HARD_IDENTITIES
    )
    enabled += ["TEST.PRECISE_BN.ENABLED"] * bool(cfg.TEST.PRECISE_BN.ENABLED)
    enabled += ["SOLVER.L2_SP"] * bool(cfg.SOLVER.L2_SP)
    if enabled:
        raise InputError(
            f"SOLVER.HEAD_ONLY trains on features that are computed once, so {', '.join(enabled)} would have no "
            "effect; disable it"
        )


def freeze_backbone(model: nn.Module) -> None:
    """Freeze the parameters of the backbone and of the pooling layer for a training of the other layers of the head."""
    network = _as_baseline(model)
    network.backbone.requires_grad_(False)
    network.heads.get_submodule("pool_layer").requires_grad_(False)


def compute_pooled_features(cfg: CfgNode, model: nn.Module, drawings: Sequence[Drawing]) -> Tensor:
    """Return the pooled features float32 (N, C) of drawings, processed as in a test, on the CPU.

    Raises:
        InputError: the network is not a `Baseline` with an `EmbeddingHead`, or a drawing cannot be read.
    """
    network = _as_baseline(model)
    plain = cfg.clone()  # a mean over images is a unit vector, which has lost the scale of the pooled features
    plain.merge_from_list(["TEST.FLIP.ENABLED", False, "TEST.SCALES", [1.0], "TEST.GEM_POWER", 0.0])
    # These may change at a resume, which must have the same features.
    plain.merge_from_list(["TEST.NETWORK_PRECISION", "float32", "TEST.IMS_PER_BATCH", BATCH_SIZE])
    plain.freeze()
    get_logger().info(f"computing features of {format_count(len(drawings), 'training drawing')}")
    features = extract_features(plain, PooledBackbone(network), drawings).features
    return torch.as_tensor(features[:])


def prepare_head(cfg: CfgNode, model: nn.Module, drawings: Sequence[Drawing], *, is_new: bool) -> Tensor:
    """Return the pooled features of the training drawings, and fit the projection MODEL.HEADS.PROJECTION of a new run.

    Args:
        cfg: settings.
        model: the network; its reduction layer is changed.
        drawings: the training list.
        is_new: whether the run starts now.
    """
    features = compute_pooled_features(cfg, model, drawings)
    if cfg.MODEL.HEADS.PROJECTION and is_new:
        fit_projection(cfg, model, features, drawings)
    return features


def fit_projection(cfg: CfgNode, model: nn.Module, features: Tensor, drawings: Sequence[Drawing]) -> None:
    """Set the reduction layer of the head to the projection MODEL.HEADS.PROJECTION of the training features.

    Args:
        cfg: settings.
        model: the network.
        features: (N, C), from `compute_pooled_features`.
        drawings: the training list.

    Raises:
        InputError: the head has no reduction layer with bias, or the features do not determine the projection.
    """
    heads = cfg.MODEL.HEADS
    reduction = next((part for part in _as_baseline(model).heads.modules() if isinstance(part, nn.Conv2d)), None)
    if reduction is None:
        raise InputError(
            f"MODEL.HEADS.PROJECTION is {heads.PROJECTION}, but the head has no reduction layer; set "
            "MODEL.HEADS.EMBEDDING_DIM to the number of components"
        )
    targets, _ = encode_labels(drawings)
    projection = PROJECTIONS[heads.PROJECTION](
        features, torch.tensor(targets), heads.EMBEDDING_DIM, shrinkage=heads.SHRINKAGE
    )
    set_projection(reduction, projection)
    get_logger().info(
        f"MODEL.HEADS.PROJECTION {heads.PROJECTION}: {features.shape[1]} to {heads.EMBEDDING_DIM} floats, from "
        f"{format_count(len(drawings), 'drawing')}"
    )


def _as_baseline(model: nn.Module) -> Baseline:
    if not (isinstance(model, Baseline) and isinstance(model.heads, EmbeddingHead)):
        raise InputError(
            "SOLVER.HEAD_ONLY and MODEL.HEADS.PROJECTION need MODEL.META_ARCHITECTURE Baseline with the head "
            f"EmbeddingHead, not {type(model).__name__}"
        )
    return model
