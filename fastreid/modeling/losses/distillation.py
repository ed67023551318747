"""Distillation: the similarities of a batch follow those of a teacher network."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid.layers.precision import in_full_precision
from fastreid.modeling.losses.global_batch import GlobalBatch, all_gather_batch


class SimilarityDistillation:
    """Pull the cosines between the drawings of a batch to those of a teacher.

    Tung, Mori: Similarity-preserving knowledge distillation (2019), with the cosines of features instead of the
    normalized rows of their product. Features of the two networks may have different widths, because only similarities
    are compared. The teacher computes in float32, without gradient and in evaluation mode. It is not a part of the
    network: neither its parameters nor its buffers are among those of the student.

    Args:
        teacher: images (B, 3, H, W) -> features (B, D), on the device of the batches.
        scale: weight of the loss, above 0.
    """

    def __init__(self, teacher: nn.Module, *, scale: float = 1.0):
        self.teacher = teacher.eval().requires_grad_(False)
        self.scale = scale

    def __call__(self, images: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        """Return the scaled loss of the drawings of this process.

        Args:
            images: float32 (B, 3, H, W), RGB, 0..255.
            features: (B, D), features of the student that inference returns.
            targets: int64 (B,), classes.
        """
        expected = self._teacher_features(images)
        loss: Tensor = similarity_loss(
            features,
            expected,
            student_batch=all_gather_batch(features, targets),
            teacher_batch=all_gather_batch(expected, targets),
        )
        return self.scale * loss

    def __deepcopy__(self, memo: dict[int, Any]) -> "SimilarityDistillation":
        return self  # the teacher never changes, so a copy of the student, such as its average, shares it

    @torch.no_grad()
    @in_full_precision
    def _teacher_features(self, images: Tensor) -> Tensor:
        features: Tensor = self.teacher(images)
        return features


@in_full_precision
def similarity_loss(
    student: Tensor, teacher: Tensor, *, student_batch: GlobalBatch, teacher_batch: GlobalBatch
) -> Tensor:
    """Return the mean squared difference of two matrices of cosines, without those of a drawing with itself.

    Args:
        student: (B, D), features of the drawings of this process.
        teacher: (B, E), features of another network for the same drawings.
        student_batch: features (N, D) from every process.
        teacher_batch: features (N, E) from every process.
    """
    differences = _cosines(student, student_batch.features) - _cosines(teacher, teacher_batch.features)
    others = ~student_batch.self_mask(len(student))
    return (differences.square() * others).sum() / others.sum()


def _cosines(features: Tensor, others: Tensor) -> Tensor:
    return F.normalize(features) @ F.normalize(others).T
