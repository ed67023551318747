"""Image transforms: decoded gray page to network input, with random augmentations for training."""

from fastreid.data.transforms.build import build_test_transforms, build_train_transforms
from fastreid.data.transforms.pipeline import BatchStep, Pipeline

__all__ = ["BatchStep", "Pipeline", "build_test_transforms", "build_train_transforms"]
