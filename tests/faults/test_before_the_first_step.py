"""Checks before training are fast."""

import io
import os
import time

import pytest
from commands import run_here
from PIL import Image

LIMIT_S = 60  # of CPU time: on a machine with other work the same check took 65 s instead of 7 s


@pytest.mark.parametrize("num", [2000, pytest.param(52_000, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])])
def test_all_paths_and_headers_are_checked_in_seconds(num, tmp_path):
    """The lists have the size of DeepPatent; all files differ."""
    images, memory = tmp_path / "data/train_data/patent_data", io.BytesIO()
    Image.new("1", (850, 1100), 1).save(memory, format="PNG")
    lists = {"train_patent_trn": [], "val_query_patent": [], "val_db_patent": []}
    for index in range(num):
        (images / str(index // 100)).mkdir(parents=True, exist_ok=True)
        (images / f"{index // 100}/{index % 100}.png").write_bytes(memory.getvalue() + str(index).encode())
        is_train, is_query = index % 100 < 80, index % 10 == 0
        name = "train_patent_trn" if is_train else "val_query_patent" if is_query else "val_db_patent"
        lists[name].append(f"{index // 100}/{index % 100}.png {index // 100 + 10_000 * (not is_train)}")
    for name, lines in lists.items():
        (tmp_path / f"data/train_data/{name}.txt").write_text("\n".join([*lines, ""]))
    (tmp_path / "a.yml").write_text("DATASETS: {ROOT: data, NAMES: Patent, TESTS: Patent}\nMODEL: {DEVICE: cpu}\n")
    start, cpu_start = time.monotonic(), cpu_seconds()
    code, output, errors = run_here("data check", "--config-file", "a.yml", "--headers", folder=tmp_path)
    seconds = cpu_seconds() - cpu_start
    print(f"\nR15 {num} paths and headers in {seconds:.1f} s of CPU time, {time.monotonic() - start:.1f} s in all")
    assert code == 0, output[-2000:] + errors
    assert f"{num:,} files" in output
    assert seconds < LIMIT_S


def cpu_seconds():
    """Return the CPU time of this process and of its finished children."""
    return sum(os.times()[:4])
