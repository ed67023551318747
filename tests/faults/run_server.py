"""Training runs of a second, forked from a process that has imported everything, so that hundreds can be killed.

As a program it reads lines of JSON: {"start": {...}} forks a child that trains and answers with its process id;
{"wait": id} answers with how it ended. As a module it has the other side, `Nursery`.
"""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
STAGES = ("one", "two")
STAGE = """
MODEL:
  DEVICE: cpu
  BACKBONE: {NAME: few_weights, FEAT_DIM: 16, PRETRAIN: false}
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
SOLVER: {MAX_EPOCH: 3, IMS_PER_BATCH: 16, BASE_LR: 0.001, SCHED: CosineAnnealingLR, WARMUP_ITERS: 4, CHECKPOINT_PERIOD: 1, LOG_PERIOD: 1}
TEST: {EVAL_PERIOD: 1, IMS_PER_BATCH: 16, NUM_VISUALIZED_QUERIES: 1}
"""


class Nursery:
    """The process that forks runs, seen from the tests."""

    def __enter__(self):
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__]
        self._server = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *fault):
        self._server.communicate()

    def start(self, folder, *, stages=STAGES, **order):
        """Fork a run that trains these stages with --resume in a folder; gives its process id.

        `root` holds the drawings and `workers` how many load them; `nan_at` makes the drawings of a step NaN; `full`
        refuses what is written to a file of this name from its `full_after`-th time on, as a full disk does;
        `logs_full_at` does so to all logs from a step on.
        """
        folder.mkdir(parents=True, exist_ok=True)
        return self._ask({"start": {"folder": str(folder), "stages": stages, **order}})

    def fork(self, task, *words):
        """Fork a child that does one of TASKS for ever; gives its process id."""
        return self._ask({"start": {"task": task, "words": [str(word) for word in words]}})

    def wait(self, process):
        """How a run ended: its exit code, or minus the signal."""
        return self._ask({"wait": process})

    def kill(self, process):
        os.kill(process, signal.SIGKILL)
        return self.wait(process)

    def run(self, folder, **order):
        return self.wait(self.start(folder, **order))

    def has_ended(self, process):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    def wait_for(self, path, process):
        """Wait until a file is there and not empty; the run must live until then."""
        while not (path.exists() and path.stat().st_size):
            assert not self.has_ended(process), f"{path} never came"
            time.sleep(0.001)

    def _ask(self, order):
        self._server.stdin.write(json.dumps(order, default=str) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())


def said(folder):
    """What the runs in a folder wrote on stderr."""
    return (folder / "errors").read_text().splitlines()


def train(folder, stages, *, root, workers=0, nan_at=0, full="", full_after=1, logs_full_at=0):
    """In a child: the stages one after the other, each from the best weights of the one before; the exit code."""
    from fastreid.cli.main import main as fastreid_main
    from fastreid.utils.cli import run_tool

    os.chdir(folder)
    for name, number in (("output", 1), ("errors", 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    Path("stage.yml").write_text(STAGE)
    if nan_at:
        at_step(nan_at, spoiled)
    if logs_full_at:
        at_step(logs_full_at, with_full_logs)
    if full:
        fill_the_disk(full, full_after)
    before = ""
    for stage in stages:
        words = ["--config-file", "stage.yml", "--resume", "DATASETS.ROOT", root, "OUTPUT_DIR", stage]
        words += ["DATALOADER.NUM_WORKERS", str(workers), "MODEL.WEIGHTS", before]
        sys.argv = ["fastreid", "train", *words]
        code = run_tool(fastreid_main)
        if code:
            return code
        before = f"{stage}/model_best.pth"
    return 0


def at_step(step, change):
    """Let something be done with the batch of a step, given the trainer too, which gives the batch to take instead."""
    from fastreid.engine.trainer import DefaultTrainer

    plain = DefaultTrainer._iterate_batches

    def batches(self):
        for number, batch in enumerate(plain(self), self.progress.iteration + 1):
            yield change(self, batch) if number == step else batch

    DefaultTrainer._iterate_batches = batches


def spoiled(trainer, batch):
    """A batch whose drawings are NaN; which they were is noted."""
    from fastreid.structures import Batch

    Path("nan.json").write_text(json.dumps([trainer.drawings[row].name for row in batch.rows.tolist()]))
    return Batch(batch.images * float("nan"), batch.targets, batch.rows)


def with_full_logs(trainer, batch):
    """The batch as it is; from here on all that grows line by line goes to a device that is full."""
    from tensorboard.compat.tensorflow_stub.io import gfile

    def full_events(self, filename, content, mode, *more):
        with open("/dev/full", mode) as file:
            file.write(content)

    plain = Path.open
    gfile.LocalFileSystem._write = full_events
    Path.open = lambda path, mode="r", *a, **k: plain(Path("/dev/full") if mode == "a" else path, mode, *a, **k)
    for handle in Path("/proc/self/fd").iterdir():
        if os.path.realpath(handle).endswith("log.txt"):
            os.dup2(os.open("/dev/full", os.O_WRONLY), int(handle.name))
    return batch


def fill_the_disk(name, after):
    """Let the system refuse what is written to the temporary of a file, from its `after`-th time on.

    The limit on the size of files does what a full disk would, and ends when the temporary is removed.
    """
    plain, remove, times = tempfile.mkstemp, os.unlink, []
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def mkstemp(*, prefix, dir):
        times.extend([1] * prefix.startswith(f"{name}.fastreid"))
        if len(times) >= after and prefix.startswith(f"{name}.fastreid"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (0 if "pth.fast" not in prefix else 5000, hard))
        return plain(prefix=prefix, dir=dir)

    def unlink(path, **options):
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        remove(path, **options)

    tempfile.mkstemp, os.unlink = mkstemp, unlink


def write_files(folder):
    """Write one file over and over, a million equal bytes each time, with its sha256 beside it."""
    from fastreid.utils.checksums import write_with_checksum

    for number in range(1_000_000):
        with write_with_checksum(Path(folder) / "file.bin") as file:
            for _ in range(10):
                file.write(bytes([number % 256]) * 100_000)


def save_checkpoints(folder):
    """Save one checkpoint over and over; its weights and iteration say which it is."""
    from fastreid.engine.checkpoint import Progress

    keeper = checkpointer(folder)
    for number in range(1_000_000):
        keeper.step.model.weight.data.fill_(number)
        keeper.save("model_stopped.pth", Progress(iteration=number))


def checkpointer(folder):
    import torch

    from fastreid.engine.checkpoint import Checkpointer
    from fastreid.engine.train_step import TrainStep

    model = torch.nn.Linear(100, 1000)
    step = TrainStep(model, torch.optim.Adam(model.parameters()), device=torch.device("cpu"))
    return Checkpointer(folder, step, iters_per_epoch=10)


TASKS = {"write_files": write_files, "save_checkpoints": save_checkpoints}


def child(order):
    """In a child: what was ordered, and out."""
    code = 1
    try:
        if "task" in order:
            TASKS[order["task"]](*order["words"])
        else:
            code = train(order.pop("folder"), order.pop("stages"), **order)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve():
    import torch
    import torch.utils.tensorboard

    from fastreid.modeling.build import BACKBONES

    importlib.import_module("fastreid.engine.trainer")  # so that each run starts at once

    class FewWeights(torch.nn.Sequential):
        feature_dim = 16

    parts = lambda: (torch.nn.Conv2d(3, 16, 8, stride=4), torch.nn.BatchNorm2d(16), torch.nn.ReLU())  # noqa: E731
    BACKBONES.register("few_weights")(lambda cfg: FewWeights(*parts()))
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                child(order["start"])
        answers.write(f"{answer}\n")
        answers.flush()


if __name__ == "__main__":
    serve()
