"""Deterministic weights and inputs of the golden tests, computed with numpy from their formulas."""

import re
import zlib

import numpy as np

TARGETS = np.repeat(np.array([3, 17, 42, 99], np.int64), 4)
NL_NORM = re.compile(r"\.NL_\d\.\d+\.W\.1\.weight$")


def golden_tensor(key, shape):
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key == "heads.pool_layer.p":
        return np.full(shape, 3.0, np.float32)
    if key.endswith("running_mean"):
        values = 0.1 * rng.standard_normal(shape)
    elif key.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif key.endswith(".bias"):
        values = 0.1 * rng.standard_normal(shape)
    elif len(shape) >= 2:
        spread = np.sqrt(2.0 / np.prod(shape[1:])) * (0.25 if ".NL_" in key else 1.0)
        values = rng.standard_normal(shape) * spread
    else:
        base = 0.25 if key.endswith(".bn3.weight") else 0.1 if NL_NORM.search(key) else 1.0
        values = base * (1.0 + 0.1 * rng.standard_normal(shape))
    return values.astype(np.float32)


def eval_images(size=96):
    return np.random.default_rng(0).integers(0, 256, (2, 3, size, size)).astype(np.float32)


def train_images():
    rng = np.random.default_rng(1)
    base = rng.integers(0, 256, (4, 3, 6, 6))
    noise = rng.integers(0, 256, (16, 3, 96, 96))
    blocks = np.kron(base, np.ones((1, 1, 16, 16), np.int64))
    return ((3 * blocks[np.repeat(np.arange(4), 4)] + noise) // 4).astype(np.float32)
