from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fastreid.engine.checkpoint import Checkpointer, Progress
from fastreid.engine.hooks.hard_classes import HardClassMiningHook, mine_hard_classes
from fastreid.engine.setup import load_config
from fastreid.engine.trainer import _check_hard_identities
from fastreid.utils.errors import InputError

TINY = Path(__file__).parents[2] / "end_to_end/tiny.yml"


def hook(progress, *, period=1, asked=None, num_patents=3):
    return HardClassMiningHook(
        progress,
        period=period,
        num_patents=num_patents,
        num_drawings=27,
        batch_size=6,
        memory_mb=64,
        restart_loader=[].append if asked is None else asked.append,
    )


def test_look_alikes_are_the_nearest_other_rows_by_cosine():
    weight = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    rows = nn.functional.normalize(weight.double())
    cosines = (rows @ rows.T).fill_diagonal_(-2)
    table = mine_hard_classes(nn.Parameter(weight), k=5)
    assert torch.equal(table, cosines.argsort(dim=1, descending=True)[:, :5].int())


def test_no_patent_is_its_own_look_alike_even_among_twins():
    table = mine_hard_classes(torch.ones(5, 3), k=50)
    assert [sorted(row) for row in table.tolist()] == [[n for n in range(5) if n != own] for own in range(5)]
    assert mine_hard_classes(torch.ones(1, 3)).shape == (1, 0)


def test_after_each_evaluation_the_table_is_that_of_the_weights_and_the_batches_are_made_anew(toy_loop):
    progress, asked = Progress(), []
    loop = toy_loop([hook(progress, period=2, asked=asked)])
    loop.run()
    assert asked == [8]  # epochs have 4 steps; the third one is not evaluated by its period
    assert list(progress.hard_identities) == [8]
    loop = toy_loop([hook(progress, asked=asked)], max_epochs=1)
    loop.run()
    assert torch.equal(progress.hard_identities[4], mine_hard_classes(loop.step.model.heads.weight))


def test_rows_that_are_no_patents_of_the_list_are_left_out(toy_loop):
    progress = Progress()
    toy_loop([hook(progress, num_patents=2)], max_epochs=1).run()
    assert progress.hard_identities[4].tolist() == [[1], [0]]


def test_tables_that_no_batch_needs_are_dropped(toy_loop):
    progress = Progress()
    toy_loop([hook(progress)], max_epochs=9).run()
    assert list(progress.hard_identities)[-1] == 36
    assert len(progress.hard_identities) <= 3


def test_a_checkpoint_keeps_the_tables(toy_step, tmp_path):
    tables = {4: torch.tensor([[1, 2], [0, 2], [0, 1]], dtype=torch.int32)}
    Checkpointer(tmp_path, toy_step(), iters_per_epoch=4).save("model_0000.pth", Progress(4, hard_identities=tables))
    found = Checkpointer(tmp_path, toy_step(), iters_per_epoch=4).resume().hard_identities
    assert {made: table.tolist() for made, table in found.items()} == {4: tables[4].tolist()}
    assert found[4].numpy().dtype == np.int32


def test_a_model_without_a_classifier_is_refused_before_the_first_step(toy_loop, toy_step):
    step = toy_step()
    step.model.heads = nn.Sequential(step.model.heads)
    with pytest.raises(InputError, match=r"looks at the classifier heads\.weight, and this model has none"):
        toy_loop([hook(Progress())], step=step).run()


def test_look_alikes_without_evaluations_are_refused():
    cfg = load_config(TINY, ["DATALOADER.HARD_IDENTITIES", "0.5", "TEST.EVAL_PERIOD", "0"])
    with pytest.raises(
        InputError, match=r"HARD_IDENTITIES is 0\.5 and TEST.EVAL_PERIOD 0: .*set EVAL_PERIOD to 1 or more"
    ):
        _check_hard_identities(cfg)
