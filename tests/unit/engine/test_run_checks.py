import re
from unittest import mock

import torch
from processes import run_in_processes
from torch import nn

from fastreid.config import get_cfg
from fastreid.engine import run_checks
from fastreid.engine.checkpoint.checkpointer import Progress
from fastreid.engine.checkpoint.index import BEFORE_EVALUATION_FILE
from fastreid.utils import comm
from fastreid.utils.errors import StorageError


def check_rank(folder):
    """Return the error of the check in a process; only the second one has a file that the new run will remove."""
    cfg, rank = get_cfg(), comm.get_rank()
    output_dir = folder / str(rank)
    output_dir.mkdir()
    (output_dir / ("other", BEFORE_EVALUATION_FILE)[rank]).write_bytes(b"x" * 10**6)
    cfg.merge_from_list(["OUTPUT_DIR", str(output_dir), "SOLVER.MAX_EPOCH", 1])
    model = nn.Linear(8, 8)
    step = mock.Mock(model=model, average=None, memory=None, starting_point=None)
    step.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    checkpointer = mock.Mock(step=step, data=None, config="", iters_per_epoch=1)
    with mock.patch.object(run_checks, "find_free_bytes", return_value=100):
        try:
            run_checks.check_disk_space(cfg, checkpointer, Progress(), is_new=True)
        except StorageError as error:
            return re.search(r"\((.*)\)", str(error))[1]
    return ""


def test_processes_compare_the_same_numbers(tmp_path):
    (tmp_path / "processes").mkdir()
    first, second = run_in_processes(2, check_rank, tmp_path / "processes", tmp_path)
    assert first == second != ""
