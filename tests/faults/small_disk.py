"""Write every kind of file of a run to a folder that is nearly full, and print one JSON line for each: its message."""

import io
import json
import logging
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

from fastreid.data.io.cache.store import PageCache
from fastreid.evaluation.reporting.results import write_results
from fastreid.monitoring.tensorboard import TensorboardWriter
from fastreid.monitoring.writers import CSVWriter, JSONWriter
from fastreid.structures import Drawing, Ranking
from fastreid.utils.checksums import write_with_checksum
from fastreid.utils.cli import explain_error
from fastreid.utils.files import atomic_write, write_text
from fastreid.utils.logger import get_logger, setup_logger

FILLING = "filling"  # the file that fills the disk


def fill(folder):
    """Fill the disk to the last byte."""
    with open(folder / FILLING, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass


def write_checkpoint(folder):
    """Write 6 MB of weights."""
    with write_with_checksum(folder / "model.pth") as file:
        torch.save({"weight": torch.zeros(1_500_000)}, file)


def write_features(folder):
    """Write 6 MB of features."""
    with atomic_write(folder / "queries.npy") as file:
        for _ in range(6):
            file.write(bytes(1_000_000))


def write_archive(folder):
    """Write 6 MB in a zip file, which is not written sequentially."""
    with atomic_write(folder / "result.zip") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("result.npy", bytes(6_000_000))


def write_table(folder):
    """Write 6 MB of text."""
    write_text(folder / "queries.csv", "ä" * 3_000_000)


def write_ranking(folder):
    """Write 6 MB of rankings."""
    rows = torch.arange(100).repeat(7500, 1)
    write_results(Ranking(rows, rows.float()), folder, num_gallery=100)


def write_cache(folder):
    """Write 6 MB of pages to the cache; the files are in another folder."""
    pages = sorted(Path(sys.argv[2]).glob("*.png"))
    PageCache(folder / "cache", longest_px=0).fill([Drawing(str(path), path.name, "1") for path in pages])


ERRORS = (write_checkpoint, write_features, write_archive, write_table, write_ranking, write_cache)


def main(folder):
    """Write with 2 MB free, then with none free."""
    for write in ERRORS:
        try:
            write(folder)
            print(json.dumps([write.__name__, "was written", 0]))
        except Exception as error:
            print(json.dumps([write.__name__, *explain_error(error)]))
        left = [path.name for path in folder.iterdir() if path.is_file()]
        assert left == [], left
    shutil.rmtree(folder / "cache")
    logger = setup_logger(folder)
    logger.handlers[0].setStream(console := io.StringIO())
    writers = [JSONWriter(folder), CSVWriter(folder), TensorboardWriter(folder)]
    writers[0].write(1, {"loss": 1.0})
    fill(folder)
    for writer in writers:
        for iteration in range(2, 5):
            writer.write(iteration, {"loss": 1.0} | {f"value{number}": 1.0 for number in range(2000)})
            writer.on_evaluation()
        writer.close(finished=False)
    get_logger().log(logging.INFO, "x" * 5000)
    (folder / FILLING).unlink()
    lines = (folder / "metrics.json").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1], [line[:100] for line in lines]
    print(json.dumps(["warnings", console.getvalue(), 0]))


if __name__ == "__main__":
    np.seterr(all="raise")
    main(Path(sys.argv[1]))
