from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.hooks.hard_identities import MineHardIdentities, mine_hard_identities
from fastreid.engine.run_checks import check_evaluation_period
from fastreid.engine.setup import load_config
from fastreid.utils.errors import InputError

TINY = Path(__file__).parents[2] / "end_to_end/resnet.yml"


def build_hook(progress, *, period=1, restarts=None, num_patents=3, num_sub_centers=1):
    return MineHardIdentities(
        progress,
        period=period,
        num_patents=num_patents,
        num_drawings=27,
        batch_size=6,
        memory_mb=64,
        num_sub_centers=num_sub_centers,
        restart_loader=[].append if restarts is None else restarts.append,
    )


def test_hard_identities_are_the_nearest_rows_by_cosine():
    weight = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    rows = nn.functional.normalize(weight.double())
    cosines = (rows @ rows.T).fill_diagonal_(-2)
    table = mine_hard_identities(nn.Parameter(weight), k=5)
    assert torch.equal(table, cosines.argsort(dim=1, descending=True)[:, :5].int())


def test_patent_is_not_its_own_hard_identity_among_equal_rows():
    table = mine_hard_identities(torch.ones(5, 3), k=50)
    assert [sorted(row) for row in table.tolist()] == [[n for n in range(5) if n != own] for own in range(5)]
    assert mine_hard_identities(torch.ones(1, 3)).shape == (1, 0)


def test_hook_mines_after_evaluations_and_restarts_the_loader(make_loop):
    progress, restarts = Progress(), []
    loop = make_loop([build_hook(progress, period=2, restarts=restarts)])
    loop.run()
    assert restarts == [8]  # 4 iterations per epoch; the period skips the third epoch
    assert list(progress.hard_identities) == [8]
    loop = make_loop([build_hook(progress, restarts=restarts)], max_epochs=1)
    loop.run()
    assert torch.equal(progress.hard_identities[4], mine_hard_identities(loop.step.model.heads.weight))


def test_class_is_represented_by_the_mean_direction_of_its_sub_centers(make_loop, make_step):
    step, progress = make_step(), Progress()
    step.model.heads = nn.Linear(4, 6)  # its rows never change: it is not in the optimizer
    angles = torch.tensor([0.0, 1.0, 0.6, 0.8, 0.1, 1.8])  # mean angles .5, .7, .95
    step.model.heads.weight.data = torch.stack([3 * angles.cos(), 3 * angles.sin(), 0 * angles, 0 * angles], dim=1)
    make_loop([build_hook(progress, num_sub_centers=2)], step=step, max_epochs=1).run()
    assert progress.hard_identities[4].tolist() == [[1, 2], [0, 2], [1, 0]]


def test_extra_classifier_rows_are_ignored(make_loop):
    progress = Progress()
    make_loop([build_hook(progress, num_patents=2)], max_epochs=1).run()
    assert progress.hard_identities[4].tolist() == [[1], [0]]


def test_unused_tables_are_removed(make_loop):
    progress = Progress()
    make_loop([build_hook(progress)], max_epochs=9).run()
    assert list(progress.hard_identities)[-1] == 36
    assert len(progress.hard_identities) <= 3


def test_checkpoint_contains_the_tables(make_step, tmp_path):
    tables = {4: torch.tensor([[1, 2], [0, 2], [0, 1]], dtype=torch.int32)}
    Checkpointer(tmp_path, make_step(), iters_per_epoch=4).save("model_0000.pth", Progress(4, hard_identities=tables))
    restored = Checkpointer(tmp_path, make_step(), iters_per_epoch=4).resume().hard_identities
    assert {start: table.tolist() for start, table in restored.items()} == {4: tables[4].tolist()}
    assert restored[4].numpy().dtype == np.int32


def test_model_without_a_classifier_is_an_error(make_loop, make_step):
    step = make_step()
    step.model.heads = nn.Sequential(step.model.heads)
    with pytest.raises(InputError, match=r"needs the classifier heads\.weight, which this model does not have"):
        make_loop([build_hook(Progress())], step=step).run()


def test_hard_identities_require_evaluations():
    cfg = load_config(TINY, ["DATALOADER.HARD_IDENTITIES", "0.5", "TEST.EVAL_PERIOD", "0"])
    with pytest.raises(
        InputError, match=r"HARD_IDENTITIES is 0\.5 and TEST.EVAL_PERIOD is 0: .*set EVAL_PERIOD to 1 or more"
    ):
        check_evaluation_period(cfg)
