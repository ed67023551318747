import logging
from dataclasses import replace

import pytest
import torch

from fastreid.evaluation import nearest
from fastreid.evaluation.search import passes
from fastreid.evaluation.search.candidates import topk_products
from fastreid.evaluation.search.metric_space import CosineSpace
from fastreid.evaluation.search.nearest import METRICS
from fastreid.evaluation.search.passes import build_bfloat16_pass, build_float32_pass


def build_pass(precision, space, k=5, memory_mb=64):
    if precision == "float32":
        return build_float32_pass(space, k, memory_mb=memory_mb)
    return build_bfloat16_pass(space, k, memory_mb=memory_mb, force=True)


def make_crowded_space(metric, num=900, width=300, seed=0):
    """Return features so near each other that rounding swaps many pairs."""
    generator = torch.Generator().manual_seed(seed)
    queries, gallery = torch.randn(20, width, generator=generator), torch.randn(num, width, generator=generator)
    return METRICS.get(metric)(1 + queries, 1 + 0.01 * gallery)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("metric", METRICS.names())
def test_pairs_below_the_threshold_are_farther(metric, precision):
    space = make_crowded_space(metric)
    scan = build_pass(precision, space).scan
    values = torch.cat([block.float().clone() for _, _, block in scan.blocks()], dim=1)
    distances = space.distances(torch.arange(20), slice(0, 900))
    nearer = distances[:, :, None] < distances[:, None, :]
    assert (nearer & (values[:, :, None] < values[:, None, :])).any()  # rounding swaps some pairs
    thresholds = torch.stack([scan.thresholds(slice(None), column) for column in values.T], dim=1)
    assert not (nearer & (values[:, :, None] < thresholds[:, None, :])).any()


def test_threshold_is_twice_the_error_below_the_value():
    scan = build_pass("float32", CosineSpace(torch.eye(3), torch.eye(3))).scan
    scan = replace(scan, error_bound=torch.tensor([0.0, 0.1, 0.1], dtype=torch.float64), relative_error=0.01)
    thresholds = scan.thresholds(slice(0, 3), torch.tensor([1.0, 1.0, -2.0]))
    # An error of 0.01, 0.11 and 0.12 plus 2 %, as the error at the threshold may be larger than at the value.
    assert thresholds.tolist() == pytest.approx([0.9796, 0.7756, -2.2448], abs=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("block", [7, 64, 400])
@pytest.mark.parametrize("same", [True, False])
def test_candidates_are_the_largest_products(precision, block, same):
    generator = torch.Generator().manual_seed(0)
    num = 640 if block > 7 else 256
    gallery = torch.randn(num, 24, generator=generator)
    gallery[64:128] = gallery[3]  # duplicates that fill more than one strip
    space = CosineSpace(gallery if same else gallery[::9].clone(), gallery)
    scan = replace(build_pass(precision, space).scan, block=block)
    values, rows = topk_products(scan, 5, 80)
    matrix = torch.full((len(space.queries), num), -torch.inf)
    for query_rows, gallery_rows, products in scan.blocks():
        matrix[query_rows, gallery_rows] = products.float()
        if same and gallery_rows != query_rows:
            matrix[gallery_rows, query_rows] = products.float().T
    assert matrix.isfinite().all()  # the blocks cover all pairs
    expected = matrix.sort(dim=1, descending=True).values[:, :80]
    kept = expected >= scan.thresholds(slice(None), expected[:, 4])[:, None]  # the others may be missing
    assert torch.equal(values[kept], expected[kept])
    assert torch.equal(matrix.gather(1, rows.clamp(min=0))[kept], values[kept])
    assert all(len(set(line[line >= 0].tolist())) == (line >= 0).sum() for line in rows)


def test_bfloat16_is_used_only_if_it_is_faster(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    spread, mean = torch.randn(9000, 32, generator=generator), torch.ones(32)
    crowded = mean + 1e-4 * spread
    monkeypatch.setattr(passes, "has_fast_bfloat16", lambda device: True)
    assert build_bfloat16_pass(CosineSpace(spread, spread), 5, memory_mb=64) is not None
    assert build_bfloat16_pass(CosineSpace(spread, spread), 5, memory_mb=1) is None  # rows do not fit in memory
    assert build_bfloat16_pass(CosineSpace(spread[:99], spread), 5, memory_mb=64) is None  # too few pairs
    assert build_bfloat16_pass(CosineSpace(crowded, crowded), 5, memory_mb=64) is None  # only float32 separates these
    monkeypatch.setattr(passes, "has_fast_bfloat16", lambda device: False)
    assert build_bfloat16_pass(CosineSpace(spread, spread), 5, memory_mb=64) is None


def test_hardware_with_larger_rounding_errors_is_detected(monkeypatch, caplog):
    rows = torch.randn(9000, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(passes, "has_fast_bfloat16", lambda device: True)
    coarse = passes._multiply_bfloat16
    monkeypatch.setattr(passes, "_multiply_bfloat16", lambda left, right, out: coarse(left, right, out).mul_(1.02))
    monkeypatch.setattr(logging.getLogger("fastreid"), "propagate", True)
    for force in (False, True):
        caplog.clear()
        assert build_bfloat16_pass(CosineSpace(rows, rows), 5, memory_mb=64, force=force) is None
        assert "less exact on this hardware" in caplog.text


def test_features_with_a_common_direction_are_searched_exactly():
    generator = torch.Generator().manual_seed(0)
    rows = 1 + 0.01 * torch.randn(3000, 64, generator=generator)
    expected, ranking = (nearest(rows, rows, 10, precision=precision) for precision in ("float32", "bfloat16"))
    assert torch.equal(ranking.indices, expected.indices)
    assert torch.equal(ranking.distances, expected.distances)
