"""SLURM and systemd send SIGTERM to every process of a run at once."""

import os
import signal
import sys
import time

import numpy as np
import pytest
from fork_server import get_server
from PIL import Image

PROGRAM = """
import signal, sys, time
from fastreid.data.loading.loader import TrainLoader, Workers
from fastreid.data.samplers.instance import TrainingSampler
from fastreid.data.transforms.pipeline import Pipeline, Resize
from fastreid.structures import Drawing

class SlowPipeline(Pipeline):
    def prepare(self, page):
        time.sleep(0.01)
        return super().prepare(page)

received = []
signal.signal(signal.SIGTERM, lambda *_: received.append(1))
loader = TrainLoader(
    [Drawing(f"{sys.argv[1]}/{row}.png", f"{row}.png", str(row)) for row in range(4)],
    transform=SlowPipeline([Resize([8, 8], max_pixels=100)]),
    sampler=TrainingSampler(4, batch_size=4, seed=0),
    batch_size=4,
    seed=0,
    workers=Workers(2, timeout_s=60),
)
num_after = 0
for batch in loader:
    print("step", flush=True)
    num_after += len(received)
    if num_after == 8:  # more batches than the workers have prefetched
        break
if sys.argv[2] == "close":
    loader.close()
print("saved", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the sender of a signal")
@pytest.mark.parametrize("ending", ["close", "leave open"])
def test_workers_ignore_signals_and_end_with_the_main_process(tmp_path, ending):
    for row in range(4):
        Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / f"{row}.png")
    (tmp_path / "program.py").write_text(PROGRAM)
    arguments = ("program.py", str(tmp_path), ending)
    run = get_server().start("fork_server:run_script", *arguments, folder=tmp_path, new_session=True)
    deadline = time.monotonic() + 60
    while "step\n" not in run.read_output():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(run.pid, signal.SIGTERM)
    output, errors = run.communicate(timeout=60)
    assert (run.returncode, errors, output.splitlines()[-1]) == (0, "", "saved")
    assert has_group_ended(run.pid)


def has_group_ended(group):
    for _ in range(20):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
