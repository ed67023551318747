import logging
from dataclasses import replace

import pytest
import torch

from fastreid.evaluation import nearest
from fastreid.evaluation.search import passes
from fastreid.evaluation.search.candidates import largest_products
from fastreid.evaluation.search.metric_space import CosineSpace
from fastreid.evaluation.search.nearest import METRICS
from fastreid.evaluation.search.passes import bfloat16_pass, float32_pass


def open_pass(precision, space, k=5, memory_mb=64):
    if precision == "float32":
        return float32_pass(space, k, memory_mb=memory_mb)
    return bfloat16_pass(space, k, memory_mb=memory_mb, insist=True)


def crowded_space(metric, num=900, width=300, seed=0):
    """Drawings so near each other that rounding turns many pairs."""
    generator = torch.Generator().manual_seed(seed)
    queries, gallery = torch.randn(20, width, generator=generator), torch.randn(num, width, generator=generator)
    return METRICS.get(metric)(1 + queries, 1 + 0.01 * gallery)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("metric", METRICS.names())
def test_what_lies_below_a_floor_is_farther_for_certain(metric, precision):
    space = crowded_space(metric)
    scan = open_pass(precision, space).scan
    values = torch.cat([block.float().clone() for _, _, block in scan.blocks()], dim=1)
    distances = space.distances(torch.arange(20), slice(0, 900))
    nearer = distances[:, :, None] < distances[:, None, :]
    assert (nearer & (values[:, :, None] < values[:, None, :])).any()  # rounding does turn some pairs
    floors = torch.stack([scan.floors(slice(None), column) for column in values.T], dim=1)
    assert not (nearer & (values[:, :, None] < floors[:, None, :])).any()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("block", [7, 64, 400])
@pytest.mark.parametrize("same", [True, False])
def test_candidates_are_the_largest_products_whatever_the_blocks(precision, block, same):
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(640, 24, generator=generator)
    gallery[64:128] = gallery[3]  # a strip and more of twins
    space = CosineSpace(gallery if same else gallery[::9].clone(), gallery)
    scan = replace(open_pass(precision, space).scan, block=block)
    values, rows = largest_products(scan, 5, 80)
    whole = torch.full((len(space.queries), 640), -torch.inf)
    for mine, theirs, products in scan.blocks():
        whole[mine, theirs] = products.float()
        if same and theirs != mine:
            whole[theirs, mine] = products.float().T
    wanted = whole.sort(dim=1, descending=True).values[:, :80]
    kept = wanted >= scan.floors(slice(None), wanted[:, 4])[:, None]  # the others need not be there
    assert torch.equal(values[kept], wanted[kept])
    assert torch.equal(whole.gather(1, rows.clamp(min=0))[kept], values[kept])
    assert all(len(set(line[line >= 0].tolist())) == (line >= 0).sum() for line in rows)


def test_bfloat16_is_taken_by_itself_only_where_it_pays(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    spread, mean = torch.randn(9000, 32, generator=generator), torch.ones(32)
    crowded = mean + 1e-4 * spread
    monkeypatch.setattr(passes, "has_bfloat16_units", lambda device: True)
    assert bfloat16_pass(CosineSpace(spread, spread), 5, memory_mb=64) is not None
    assert bfloat16_pass(CosineSpace(spread, spread), 5, memory_mb=1) is None  # no room for the rows
    assert bfloat16_pass(CosineSpace(spread[:99], spread), 5, memory_mb=64) is None  # too few pairs
    assert bfloat16_pass(CosineSpace(crowded, crowded), 5, memory_mb=64) is None  # float32 alone tells these apart
    monkeypatch.setattr(passes, "has_bfloat16_units", lambda device: False)
    assert bfloat16_pass(CosineSpace(spread, spread), 5, memory_mb=64) is None


def test_hardware_that_rounds_more_than_the_proof_allows_is_found_out(monkeypatch, caplog):
    rows = torch.randn(9000, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(passes, "has_bfloat16_units", lambda device: True)
    coarse = passes._multiply_bfloat16
    monkeypatch.setattr(passes, "_multiply_bfloat16", lambda left, right, out: coarse(left, right, out).mul_(1.02))
    monkeypatch.setattr(logging.getLogger("fastreid"), "propagate", True)
    for insist in (False, True):
        caplog.clear()
        assert bfloat16_pass(CosineSpace(rows, rows), 5, memory_mb=64, insist=insist) is None
        assert "rounded more than they should" in caplog.text


def test_a_common_direction_does_not_make_the_search_wrong():
    generator = torch.Generator().manual_seed(0)
    rows = 1 + 0.01 * torch.randn(3000, 64, generator=generator)
    wanted, found = (nearest(rows, rows, 10, precision=precision) for precision in ("float32", "bfloat16"))
    assert torch.equal(found.indices, wanted.indices)
    assert torch.equal(found.distances, wanted.distances)
