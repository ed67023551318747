#!/usr/bin/env python3
"""Training on one page, without hooks: tools/plain_train_net.py --config-file FILE KEY VALUE ...

Trains like tools/train_net.py in one process in float32, to read and to modify; a test compares the losses of both.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import islice
from operator import attrgetter

import torch

from fastreid.cli.launcher import launch_command
from fastreid.data.build import build_unreadable_drawings, fill_cache_if_enabled
from fastreid.engine import default_argument_parser, default_setup
from fastreid.engine.data import build_datasets, build_train_loader
from fastreid.engine.evaluate import build_testers
from fastreid.engine.model.network import build_training_model, load_initial_weights
from fastreid.engine.run_checks import check_component_names
from fastreid.engine.setup import load_config, resolve_device, write_config
from fastreid.solver.build import build_optimizer, build_schedule
from fastreid.utils import comm
from fastreid.utils.checksums import write_with_checksum
from fastreid.utils.cli import run_tool
from fastreid.utils.errors import InputError
from fastreid.utils.files import write_text
from fastreid.utils.logger import get_logger

# Setting -> the only value that this script supports.
SUPPORTED = {
    **dict.fromkeys(("SOLVER.FREEZE_ITERS", "SOLVER.L2_SP", "SOLVER.EARLY_STOP_PATIENCE", "SOLVER.SAVE_TOP_K"), 0),
    "SOLVER.GRAD_ACCUM_STEPS": 1,
    "SOLVER.AVERAGE.METHOD": "none",
    "SOLVER.CLIP_GRADIENTS.ENABLED": False,
    "DATALOADER.HARD_IDENTITIES": 0,
    "MODEL.HEADS.PARTIAL_FC_RATIO": 1,
    "MODEL.COMPILE": False,
    **dict.fromkeys(("MODEL.DISTILL.CONFIG", "MODEL.HEADS.PROJECTION", "TRACKER.NAME"), ""),
    "MODEL.LOSSES.MEMORY.SIZE": 0,
    "SOLVER.HEAD_ONLY": False,
    "TEST.PRECISE_BN.ENABLED": False,
}


def train(args: argparse.Namespace) -> None:
    """Train, save model_final.pth, and evaluate."""
    cfg = load_config(args.config_file, args.opts)
    faults = [f"{key} must be {value!r}" for key, value in SUPPORTED.items() if attrgetter(key)(cfg) != value]
    has_amp = cfg.SOLVER.AMP.ENABLED and (resolve_device(cfg).type == "cuda" or cfg.SOLVER.AMP.DTYPE == "bfloat16")
    num_processes = max(comm.get_world_size(), args.num_gpus * args.num_machines)
    if has_amp or args.resume or args.eval_only or num_processes > 1:
        faults.append("SOLVER.AMP.ENABLED True, --resume, --eval-only and several processes are not supported")
    if faults:
        raise InputError(f"plain_train_net.py: {'; '.join(faults)}; for all features use tools/train_net.py")
    check_component_names(cfg, training=True)
    default_setup(cfg, args)
    device = resolve_device(cfg)
    drawings, tests = build_datasets(cfg)
    unreadable = build_unreadable_drawings(cfg)
    loader = build_train_loader(cfg, drawings, device=device, unreadable=unreadable)
    model = build_training_model(cfg, drawings)
    load_initial_weights(cfg, model)
    optimizer = build_optimizer(cfg, model)
    schedule = build_schedule(cfg, loader.iters_per_epoch)
    fill_cache_if_enabled(cfg, training=drawings, unreadable=unreadable)
    write_config(cfg)
    lines = []
    max_iterations = cfg.SOLVER.MAX_EPOCH * loader.iters_per_epoch
    for iteration, batch in enumerate(islice(loader, max_iterations)):
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr(group["base_lr"], iteration)
        model.train()
        losses = model(batch.images, batch.targets)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values = {name: loss.item() for name, loss in losses.items()}
        lines.append({"iteration": iteration + 1, "total_loss": total.item(), **values})
        if (iteration + 1) % cfg.SOLVER.LOG_PERIOD == 0:
            get_logger().info(f"iteration {iteration + 1}/{max_iterations}  total_loss {total.item():.4g}")
    loader.close()
    write_text(f"{cfg.OUTPUT_DIR}/plain_metrics.json", "".join(json.dumps(line) + "\n" for line in lines))
    with write_with_checksum(f"{cfg.OUTPUT_DIR}/model_final.pth") as file:
        torch.save({"model": model.state_dict()}, file)
    for tester in build_testers(cfg, tests):
        tester.log_scores(tester.test(model))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return launch_command(train, default_argument_parser("Train on one page of code.").parse_args(argv))


if __name__ == "__main__":
    sys.exit(run_tool(main))
