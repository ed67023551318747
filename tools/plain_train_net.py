#!/usr/bin/env python3
"""The whole of training on one page, without hooks: tools/plain_train_net.py --config-file FILE KEY VALUE ...

The same run as tools/train_net.py on one process in float32, for reading, for changing, and as a check: a test holds
both to the same losses. It leaves out what a long run needs: resuming, freezing, clipping, mixed precision, pictures.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch

from fastreid.cli.launcher import launch_command
from fastreid.data.build import build_datasets, build_train_loader
from fastreid.data.io.build import build_bad_drawings, fill_if_cached
from fastreid.engine import default_setup
from fastreid.engine.evaluate import build_testers
from fastreid.engine.setup import load_config, resolve_device, to_device, write_config
from fastreid.engine.trainer import num_classes_of, start_from
from fastreid.modeling import build_model
from fastreid.solver.build import build_optimizer, build_schedule
from fastreid.utils import comm
from fastreid.utils.checksums import checked_write
from fastreid.utils.cli import run_tool
from fastreid.utils.errors import InputError
from fastreid.utils.files import write_text
from fastreid.utils.logger import get_logger


def run(args: argparse.Namespace) -> None:
    cfg = load_config(args.config_file, args.opts)
    left_out = [
        cfg.SOLVER.AMP.ENABLED and (resolve_device(cfg).type == "cuda" or cfg.SOLVER.AMP.DTYPE == "bfloat16"),
        cfg.SOLVER.GRAD_ACCUM_STEPS > 1,
        cfg.SOLVER.AVERAGE.METHOD != "none",
        cfg.SOLVER.FREEZE_ITERS,
        cfg.SOLVER.CLIP_GRADIENTS.ENABLED,
        cfg.DATALOADER.HARD_IDENTITIES,
        cfg.MODEL.HEADS.PARTIAL_FC_RATIO < 1,
        cfg.TEST.PRECISE_BN.ENABLED,
        cfg.MODEL.COMPILE,
        cfg.SOLVER.EARLY_STOP_PATIENCE,
        cfg.SOLVER.SAVE_TOP_K,
        args.num_gpus * args.num_machines > 1 or comm.world_size() > 1,
        args.resume,
        args.eval_only,
    ]
    if any(left_out):
        raise InputError(
            "the plain run has no SOLVER.AMP on a GPU or in bfloat16, GRAD_ACCUM_STEPS, AVERAGE, FREEZE_ITERS, CLIP_GRADIENTS, DATALOADER.HARD_IDENTITIES, MODEL.HEADS.PARTIAL_FC_RATIO, "
            "TEST.PRECISE_BN, MODEL.COMPILE, SOLVER.EARLY_STOP_PATIENCE, SAVE_TOP_K, several processes, --resume or --eval-only; use tools/train_net.py"
        )
    default_setup(cfg, args)
    device = resolve_device(cfg)

    drawings, tests = build_datasets(cfg)
    bad = build_bad_drawings(cfg)
    loader = build_train_loader(cfg, drawings, device=device, bad=bad)
    model = to_device(cfg, build_model(cfg, num_classes=num_classes_of(cfg, loader.num_classes)))
    start_from(cfg, model)
    optimizer = build_optimizer(cfg, model)
    schedule = build_schedule(cfg, loader.iters_per_epoch)

    fill_if_cached(cfg, training=drawings, bad=bad)
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
        lines.append(
            {"iteration": iteration + 1, "total_loss": total.item(), **{n: v.item() for n, v in losses.items()}}
        )
        if (iteration + 1) % cfg.SOLVER.LOG_PERIOD == 0:
            get_logger().info(f"step {iteration + 1}/{max_iterations}  total_loss {total.item():.4g}")
    loader.close()

    folder = Path(cfg.OUTPUT_DIR)
    write_text(folder / "plain_metrics.json", "".join(json.dumps(line) + "\n" for line in lines))
    with checked_write(folder / "model_final.pth") as file:
        torch.save({"model": model.state_dict()}, file)
    for tester in build_testers(cfg, tests):
        tester.tell(tester.test(model))


def main(argv: Sequence[str] | None = None) -> int:
    return launch_command(run, "Train on one page of code.", argv=argv)


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
