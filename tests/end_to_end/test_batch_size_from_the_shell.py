"""tools/find_batch_size.py as a user calls it."""

import re

from commands import TINY, run_here


def test_the_sizes_that_fit_are_told_with_the_one_to_write_down(drawings, tmp_path):
    words = ("--config-file", TINY, "DATASETS.ROOT", drawings)
    code, output, errors = run_here("find_batch_size.py", "--steps", 1, "--most", 20, *words, folder=tmp_path)
    assert code == 0, errors
    assert re.findall(r"(\d+) drawings a step: [\d.]+ a second, \d+ MiB", output) == ["8", "16"]
    assert output.endswith("the most that was tried and fits: SOLVER.IMS_PER_BATCH 16\n")


def test_no_memory_is_told_in_a_line(drawings, tmp_path):
    words = ("--config-file", TINY, "DATASETS.ROOT", drawings)
    code, output, errors = run_here("find_batch_size.py", "--memory-mb", 10, "--steps", 1, *words, folder=tmp_path)
    assert (code, errors.count("\n")) == (2, 1)
    assert re.search(r"8 drawings a step do not fit: it would take \d+ MiB", output)
    assert "no size fits" in errors
