"""Statistics of a training batch for the log: accuracy and how well the patents are separated."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreid.layers.precision import in_full_precision
from fastreid.modeling.heads import HeadOutput
from fastreid.utils import comm

Stats = dict[str, Tensor]  # scalars without gradient, on the device


@torch.no_grad()
def compute_batch_stats(output: HeadOutput, targets: Tensor) -> Stats:
    """Compute the statistics of a batch, without gradient and on the device.

    Args:
        output: output of the head for this process's batch.
        targets: int64 (B,), classes.

    Returns:
        `cls_accuracy`: ratio 0..1 of drawings whose highest class score is that of their class, among the classes
        sampled in this step. `feature_norm`: mean L2 norm of the features. And the values of `compute_spread`, over the
        features of all processes.
    """
    return {
        "cls_accuracy": (output.plain_logits.argmax(dim=1) == output.target_columns).float().mean(),
        "feature_norm": output.neck_features.norm(dim=1).mean(),
        **compute_spread(comm.all_gather_rows(output.neck_features), comm.all_gather_rows(targets)),
    }


@torch.no_grad()
@in_full_precision
def compute_spread(features: Tensor, targets: Tensor) -> Stats:
    """Compute how the directions of features are distributed.

    Args:
        features: (B, D).
        targets: int64 (B,), classes.

    Returns:
        `positive_distance`, `negative_distance`: mean cosine distance over pairs of the same patent (without pairs of a
        drawing with itself) and of different patents; NaN if there are no such pairs.
        `feature_spread`: root mean square distance of the directions from their mean, 0 if all are equal, 1 if they
        cancel out.
        `feature_rank`: effective number of dimensions, (sum of variances)^2 / sum of squared variances over the
        principal directions, 1 to B - 1; 0 if all directions are equal.
    """
    directions = F.normalize(features)
    cosines = directions @ directions.T
    is_same = targets[:, None] == targets
    self_mask = torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    centered = directions - directions.mean(dim=0)
    products = centered @ centered.T  # its eigenvalues are B times the variances of the principal directions
    total, squares = products.diagonal().sum(), products.square().sum()
    return {
        "positive_distance": 1 - _masked_mean(cosines, is_same & ~self_mask),
        "negative_distance": 1 - _masked_mean(cosines, ~is_same),
        "feature_spread": (total / len(targets)).clamp(min=0).sqrt(),
        "feature_rank": torch.where(squares > 0, total.square() / squares, torch.zeros_like(squares)),
    }


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum()
