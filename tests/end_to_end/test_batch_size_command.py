"""`fastreid batch-size` from the shell."""

import re

from commands import RESNET, TINY, run, run_here


def test_prints_fitting_sizes_and_the_setting(drawings, tmp_path):
    settings = ("--config-file", TINY, "DATASETS.ROOT", drawings)
    code, output, errors = run_here("batch-size", "--steps", 1, "--max-size", 20, *settings, folder=tmp_path)
    assert code == 0, errors
    assert re.findall(r"batch of (\d+): [\d.]+ drawings per second, \d+ MiB", output) == ["8", "16"]
    assert output.endswith("largest batch that fits: SOLVER.IMS_PER_BATCH 16\n")


def test_too_little_memory_is_one_line(drawings, tmp_path):
    settings = ("--config-file", RESNET, "DATASETS.ROOT", drawings)
    code, output, errors = run_here("batch-size", "--memory-mb", 10, "--steps", 1, *settings, folder=tmp_path)
    assert (code, errors.count("\n")) == (2, 1)
    assert re.search(r"batch of 8 does not fit: it needs \d+ MiB", output)
    assert "no batch size fits" in errors


def test_limit_below_the_smallest_batch_is_named(drawings, tmp_path):
    settings = ("--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out")
    code, _, errors = run_here("batch-size", "--max-size", 4, *settings, folder=tmp_path)
    assert code == 2
    assert "the smallest is 8 drawings" in errors
    assert "the largest 4 (--max-size)" in errors


def test_partial_fc_needs_less_memory(drawings, tmp_path):
    """The batch size and the micro-batches of the config are ignored."""
    many_classes = ("MODEL.HEADS.NUM_CLASSES", 150_000, "SOLVER.IMS_PER_BATCH", 4, "SOLVER.GRAD_ACCUM_STEPS", 4)
    settings = ("--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out", *many_classes)
    memory_mb = []  # each in a new process, because this one still has the memory of earlier tests

    for ratio in (1.0, 0.01):
        options = ("--steps", 1, "--max-size", 32, *settings, "MODEL.HEADS.PARTIAL_FC_RATIO", ratio)
        code, output, errors = run("batch-size", *options, folder=tmp_path)
        assert code == 0, errors
        memory_mb.append(float(output.split(" MiB")[0].rsplit(" ", 1)[1]))
    assert memory_mb[1] < memory_mb[0] - 30
