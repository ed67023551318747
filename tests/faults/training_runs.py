"""Training runs of a second in forked processes, so that hundreds of them can be killed."""

import json
import os
import resource
import sys
from pathlib import Path

from fork_server import get_server

STAGES = ("one", "two")
STAGE = """
MODEL:
  DEVICE: cpu
  BACKBONE: {NAME: tiny_backbone, FEAT_DIM: 32}
  HEADS: {WITH_BNNECK: true, NECK_FEAT: after, CLS_LAYER: ArcSoftmax, SCALE: 30, MARGIN: 0.3}
  LOSSES: {NAME: [CrossEntropyLoss, TripletLoss], TRI: {MARGIN: 0.0, HARD_MINING: true}}
INPUT:
  SIZE_TRAIN: [32, 32]
  SIZE_TEST: [32, 32]
  PADDING: {ENABLED: true, SIZE: 2}
  AUTOAUG: {ENABLED: true, PROB: 0.1}
  REA: {ENABLED: true, PROB: 0.2}
DATASETS:
  NAMES: Generated
  TESTS: Generated
  GENERATED: {NUM_TRAIN_PATENTS: 12, NUM_TEST_PATENTS: 6, SIZE_PX: 64}
DATALOADER: {SAMPLER_TRAIN: BalancedIdentitySampler, NUM_INSTANCE: 4, NUM_WORKERS: 0}
SOLVER:
  {MAX_EPOCH: 3, IMS_PER_BATCH: 16, BASE_LR: 0.001, SCHED: CosineAnnealingLR, WARMUP_ITERS: 4, CHECKPOINT_PERIOD: 1,
   LOG_PERIOD: 1}
TEST: {EVAL_PERIOD: 1, IMS_PER_BATCH: 16, NUM_VISUALIZED_QUERIES: 1}
"""


def start_training(folder, *, stages=STAGES, **options):
    """Start a process that trains these stages with --resume in a folder; `options` are those of `train`."""
    folder.mkdir(parents=True, exist_ok=True)
    return get_server().start("training_runs:train", stages, options, folder=folder)


def run_training(folder, **options):
    """Train like `start_training` and return the exit code."""
    return start_training(folder, **options).wait()


def read_errors(folder):
    """Return the lines that the runs in a folder have written to stderr."""
    return (folder / "errors").read_text().splitlines()


def train(stages, options):
    """Train the stages in turn, each from the best weights of the previous one; return the exit code."""
    return _train(stages, **options)


def _train(stages, *, root, workers=0, nan_at=0, full="", full_after=1, logs_full_at=0, umask=None, settings=()):
    """Train in the working folder.

    Args:
        stages: names of the stages, which are also the output folders.
        root: data root.
        workers: number of loading processes.
        nan_at: iteration whose images are NaN; 0 for none.
        full: name of a file that cannot be written from its `full_after`-th time on, as on a full disk.
        logs_full_at: iteration from which no log can be written; 0 for none.
        umask: permissions that new files do not have; None for those of the test.
        settings: KEY VALUE pairs.
    """
    from fastreid.cli.main import main as fastreid_main
    from fastreid.utils.cli import run_tool

    if umask is not None:
        os.umask(umask)
    for name, descriptor in (("output", 1), ("errors", 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    Path("stage.yml").write_text(STAGE)
    if nan_at:
        change_batch(nan_at, to_nan)
    if logs_full_at:
        change_batch(logs_full_at, fill_disk_of_logs)
    if full:
        fill_disk(full, full_after)
    weights = ""
    for stage in stages:
        arguments = ["--config-file", "stage.yml", "--resume", "DATASETS.ROOT", root, "OUTPUT_DIR", stage]
        arguments += ["DATALOADER.NUM_WORKERS", str(workers), "MODEL.WEIGHTS", weights, *settings]
        sys.argv = ["fastreid", "train", *arguments]
        code = run_tool(fastreid_main)
        if code:
            return code
        weights = f"{stage}/model_best.pth"
    return 0


def change_batch(iteration, change):
    """Replace the batch of one iteration by `change(trainer, batch)`."""
    from fastreid.engine.trainer import DefaultTrainer

    original = DefaultTrainer._iterate_batches

    def batches(self):
        for current, batch in enumerate(original(self), self.progress.iteration + 1):
            yield change(self, batch) if current == iteration else batch

    DefaultTrainer._iterate_batches = batches


def to_nan(trainer, batch):
    """Return the batch with NaN images, and write the names of its drawings to nan.json."""
    from fastreid.structures import Batch

    Path("nan.json").write_text(json.dumps([trainer.drawings[row].name for row in batch.rows.tolist()]))
    return Batch(batch.images * float("nan"), batch.targets, batch.rows)


def fill_disk_of_logs(trainer, batch):
    """Return the batch unchanged; from now on, every file that grows line by line is on a full device."""
    from tensorboard.compat.tensorflow_stub.io import gfile

    from fastreid.utils import files

    def full_events(self, filename, content, mode, *more):
        with open("/dev/full", mode) as file:
            file.write(content)

    original = files.open_own_file
    gfile.LocalFileSystem._write = full_events
    files.open_own_file = lambda path, flags: (
        os.open("/dev/full", flags) if str(path).endswith("metrics.json") else original(path, flags)
    )
    for handle in Path("/proc/self/fd").iterdir():
        if os.path.realpath(handle).endswith("log.txt"):
            os.dup2(os.open("/dev/full", os.O_WRONLY), int(handle.name))
    return batch


def fill_disk(name, after):
    """Make writing the temporary file of a file fail, from its `after`-th time on.

    A limit on the file size has the effect of a full disk; it ends when the temporary file is removed.
    """
    from fastreid.utils import files

    original, remove, times = files.create_temporary_file, os.unlink, []
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def create(path):
        times.extend([1] * (path.name == name))
        if len(times) >= after and path.name == name:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000 if name.endswith(".pth") else 0, hard))
        return original(path)

    def unlink(path, **options):
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        remove(path, **options)

    files.create_temporary_file, os.unlink = create, unlink


def write_files(folder):
    """Write the same file again and again, each time a million equal bytes, with its checksum file."""
    from fastreid.utils.checksums import write_with_checksum

    for count in range(1_000_000):
        with write_with_checksum(Path(folder) / "file.bin") as file:
            for _ in range(10):
                file.write(bytes([count % 256]) * 100_000)


def save_checkpoints(folder):
    """Save the same checkpoint again and again; its weights and iteration are the number of the save."""
    from fastreid.engine.checkpoint.checkpointer import Progress

    checkpointer = build_checkpointer(folder)
    for count in range(1_000_000):
        checkpointer.step.model.weight.data.fill_(count)
        checkpointer.save("model_stopped.pth", Progress(iteration=count))


def build_checkpointer(folder):
    import torch

    from fastreid.engine.checkpoint.checkpointer import Checkpointer
    from fastreid.engine.step.train_step import TrainStep

    model = torch.nn.Linear(100, 1000)
    step = TrainStep(model, torch.optim.Adam(model.parameters()), device=torch.device("cpu"))
    return Checkpointer(folder, step, iters_per_epoch=10)
