"""Inference and training on a CPU with freed memory kept in the process, relative to glibc's defaults."""

import json
import statistics
import subprocess
import sys

import pytest

pytest.importorskip("timm", reason="the extra `timm` is not installed")

NUM_RUNS = 3  # of each mode, alternating
CODE = """
import json, resource, sys, time
import timm, torch
from fastreid.utils.allocator import keep_freed_memory
torch.set_num_threads(2)
assert sys.argv[1] == "default" or keep_freed_memory()

def measure(name, size, num, train):
    network = timm.create_model(name, num_classes=0).train(train)
    images = torch.rand(num, 3, size, size)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        with torch.inference_mode(not train):
            features = network(images)
        if train:
            features.square().mean().backward()
        times.append(time.perf_counter() - start)
    return min(times[1:])

cases = [("mobilenetv2_100", 320, 16, False), ("resnet50", 224, 16, False), ("mobilenetv2_100", 224, 32, True)]
seconds = {f"{name} {size} px {'training' if train else 'inference'}": measure(name, size, num, train)
           for name, size, num, train in cases}
seconds["peak memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps(seconds))
"""


@pytest.mark.benchmark
def test_kept_memory_relative_to_the_defaults():
    modes = ("default", "kept")
    runs = {mode: [] for mode in modes}
    for _ in range(NUM_RUNS):
        for mode in modes:
            output = subprocess.check_output([sys.executable, "-c", CODE, mode], text=True)
            runs[mode].append(json.loads(output))
    for name in runs["kept"][0]:
        default, kept = (statistics.median(run[name] for run in runs[mode]) for mode in modes)
        print(f"\n{name}: {kept / default:.2f} times the default")
