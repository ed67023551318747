"""Pair losses compare a batch also with the features of earlier iterations."""

import dataclasses
import math

import pytest
import torch

from fastreid.modeling.losses.circle import CircleLoss
from fastreid.modeling.losses.global_batch import GlobalBatch
from fastreid.modeling.losses.memory import MemoryBank
from fastreid.modeling.losses.triplet import TripletLoss
from fastreid.utils.errors import InputError


def make_batch(seed, num=4, dim=6):
    generator = torch.Generator().manual_seed(seed)
    return GlobalBatch(torch.randn(num, dim, generator=generator), torch.arange(num) // 2)


def fill(bank, batches):
    for batch in batches:
        bank.discard()
        bank.extend(batch)
        bank.commit()
    return bank


def test_bank_contains_the_newest_features():
    """The reference is a plain list that is cut to its newest rows."""
    bank, rows = MemoryBank(10), []
    for seed in range(12):
        batch = make_batch(seed, num=3)
        before = bank.extend(batch)
        assert sorted(before.features[3:].tolist()) == sorted(row for row, _ in rows)
        bank.commit()
        rows = (rows + list(zip(batch.features.tolist(), batch.targets.tolist())))[-10:]
        assert sorted(zip(bank.features.tolist(), bank.targets.tolist())) == sorted(rows)


def test_batch_larger_than_the_bank_leaves_its_last_features():
    bank = fill(MemoryBank(3), [make_batch(0), make_batch(1, num=7)])
    assert bank.features.tolist() == make_batch(1, num=7).features[-3:].tolist()


def test_circle_loss_with_a_bank_is_the_loss_of_its_formula():
    """Plain loop over equation 4 of Sun et al. (2020); the bank has further positives and negatives."""
    batch, earlier = make_batch(0), make_batch(7, num=6)
    bank = fill(MemoryBank(100), [earlier])
    loss = CircleLoss(0.25, 2.0)(batch.features, batch.targets, global_batch=bank.extend(batch))
    rows = [*zip(batch.features, batch.targets), *zip(earlier.features, earlier.targets)]
    total = 0.0
    for i in range(4):
        positives, negatives = [], []
        for j, (feature, target) in enumerate(rows):
            cosine = torch.cosine_similarity(batch.features[i], feature, dim=0).item()
            if target == batch.targets[i] and j != i:
                positives.append(math.exp(-2 * max(1.25 - cosine, 0) * (cosine - 0.75)))
            elif target != batch.targets[i]:
                negatives.append(math.exp(2 * max(cosine + 0.25, 0) * (cosine - 0.25)))
        total += math.log1p(sum(positives) * sum(negatives)) / 4
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_features_of_the_bank_have_no_gradient():
    bank = MemoryBank(8)
    earlier = make_batch(1)
    earlier.features.requires_grad_()
    fill(bank, [earlier])
    batch = make_batch(2)
    batch.features.requires_grad_()
    TripletLoss(0.3)(batch.features, batch.targets, global_batch=bank.extend(batch)).backward()
    assert earlier.features.grad is None
    assert batch.features.grad.any()


def test_features_are_stored_after_the_start_and_only_in_training():
    bank = MemoryBank(8, start=2)
    assert [len(fill(bank, [make_batch(n)]).targets) for n in range(4)] == [0, 0, 4, 8]
    with torch.no_grad():
        bank.extend(make_batch(9))
    bank.commit()
    assert make_batch(9).features[0].tolist() not in bank.features.tolist()


def test_discarded_batches_are_not_stored():
    bank = MemoryBank(8)
    bank.extend(make_batch(0))
    fill(bank, [make_batch(1)])
    assert bank.features.tolist() == make_batch(1).features.tolist()


def test_restored_bank_continues_with_the_same_rows():
    first, second = (fill(MemoryBank(10), map(make_batch, range(4))) for _ in range(2))
    restored = MemoryBank(10)
    restored.load_state_dict(second.state_dict())
    for bank in (first, restored):
        fill(bank, map(make_batch, range(4, 7)))
    assert torch.equal(restored.features, first.features)
    assert torch.equal(restored.targets, first.targets)


def test_rows_of_the_batch_stay_first():
    batch = dataclasses.replace(make_batch(2), offset=2)
    extended = fill(MemoryBank(8), [make_batch(1)]).extend(batch)
    assert torch.equal(extended.self_mask(2).int().argmax(dim=1), torch.tensor([2, 3]))
    assert torch.equal(extended.features[:4], batch.features)


def test_empty_bank_is_invalid():
    with pytest.raises(InputError, match="must be at least 1, not 0"):
        MemoryBank(0)
