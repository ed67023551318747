"""tools/find_batch_size.py as a user calls it."""

import re

from commands import TINY, run, run_here


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


def test_a_list_or_limit_with_room_for_no_size_is_told_by_its_name(drawings, tmp_path):
    words = ("--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out")
    code, _, errors = run_here("find_batch_size.py", "--most", 4, *words, folder=tmp_path)
    assert code == 2
    assert "the smallest is 8 drawings" in errors
    assert "the largest 4 (--most)" in errors


def test_classes_that_do_not_take_part_take_no_memory_and_the_config_s_own_batch_is_none_of_its_affairs(
    drawings, tmp_path
):
    many = ("MODEL.HEADS.NUM_CLASSES", 60_000, "SOLVER.IMS_PER_BATCH", 4, "SOLVER.GRAD_ACCUM_STEPS", 4)
    words = (
        "--config-file",
        TINY,
        "DATASETS.ROOT",
        drawings,
        "OUTPUT_DIR",
        "out",
        *many,
        "MODEL.HEADS.PARTIAL_FC_RATIO",
    )
    taken = []  # by a process of its own each: one here holds what tests before it left

    for share in (1.0, 0.01):
        code, output, errors = run("find_batch_size.py", "--steps", 1, "--most", 32, *words, share, folder=tmp_path)
        assert code == 0, errors
        taken.append(float(output.split(" MiB")[0].rsplit(" ", 1)[1]))
    assert taken[1] < taken[0] - 30
