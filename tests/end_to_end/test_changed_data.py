"""A run whose lists, images or measure of the best model change between stop and resume, or between processes."""

import os
import re
import shutil
import socket

import pytest
import torch
from commands import TINY, run, start, wait

TRAIN, QUERY, GALLERY = (f"train_data/{name}.txt" for name in ("train_patent_trn", "val_query_patent", "val_db_patent"))
PATENT = ("--config-file", TINY, "DATASETS.NAMES", "Patent", "DATASETS.TESTS", "Patent", "DATASETS.ROOT")


@pytest.fixture(scope="module")
def stopped(drawings, tmp_path_factory):
    """Return a folder with `data` and the `run` of two epochs on it."""
    folder = tmp_path_factory.mktemp("stopped")
    (collection,) = drawings.glob("generated-*")
    shutil.copytree(collection, folder / "data")
    code, _, errors = run("train", *PATENT, "data", "OUTPUT_DIR", "run", "SOLVER.MAX_EPOCH", 2, folder=folder)
    assert code == 0, errors
    return folder


@pytest.fixture
def copied(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "moved")


def resume(folder, *settings, epochs=3, root="data"):
    arguments = (root, "OUTPUT_DIR", "run", "SOLVER.MAX_EPOCH", epochs, *settings)
    return run("train", PATENT[0], PATENT[1], "--resume", *PATENT[2:], *arguments, folder=folder)


def edit(folder, name, change):
    path = folder / "data" / name
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))


def drop_a_line(lines):
    return lines[:4] + lines[5:]


def swap_lines(lines):
    return [lines[1], lines[0], *lines[2:]]


def swap_ids(lines):
    first, second = (
        lines[0].split()[-1],
        next(line.split()[-1] for line in lines if line.split()[-1] != lines[0].split()[-1]),
    )
    ids = {first: second, second: first}
    fields = [line.rsplit(" ", 1) for line in lines]
    return [f"{path} {ids.get(id_, id_)}" for path, id_ in fields]


def double(lines):
    return lines + [f"more/{line}" for line in lines]


@pytest.mark.parametrize("epochs", [2, 3])
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            TRAIN,
            drop_a_line,
            r"the training list changed: \d+ drawings then, \d+ now; 1 drawing is missing, number 5 then; restore",
        ),
        (
            TRAIN,
            swap_lines,
            r"the training list changed: the same drawings in another order; first difference at drawing 1 ",
        ),
        (TRAIN, swap_ids, r"the training list changed: \d+ of \d+ drawings have another id or camera; .* drawing 1 "),
        (QUERY, drop_a_line, r"the queries of Patent changed: \d+ drawings then, \d+ now"),
        (GALLERY, swap_lines, r"the gallery of Patent changed: the same drawings in another order"),
    ],
)
def test_changed_list_is_an_error_also_after_the_last_epoch(name, change, message, epochs, copied):
    edit(copied, name, change)
    before = {path.name: path.read_bytes() for path in (copied / "run").glob("*.pth")}
    code, output, errors = resume(copied, epochs=epochs)
    assert code == 2, output + errors
    assert re.search(f"^--resume from run/model_final.pth: {message}", errors)
    assert "start a new run with MODEL.WEIGHTS run/model_final.pth and another OUTPUT_DIR" in errors
    assert len(errors.splitlines()) == 1
    assert "is finished" not in output
    assert before == {path.name: path.read_bytes() for path in (copied / "run").glob("*.pth")}


def test_longer_list_does_not_restart_the_schedule(copied):
    patent_data = copied / "data/train_data/patent_data"
    shutil.copytree(patent_data, copied / "more")
    shutil.move(copied / "more", patent_data / "more")
    edit(copied, TRAIN, double)
    code, _, errors = resume(copied)
    assert code == 2, errors
    assert re.search(r"the training list changed: \d+ drawings then, \d+ now; the first \d+ are the same", errors)


@pytest.mark.parametrize("is_same_size", [False, True])
def test_replaced_image_is_an_error(is_same_size, copied):
    path = sorted((copied / "data/train_data/patent_data").rglob("*.png"))[0]
    path.write_bytes(bytes(path.stat().st_size) if is_same_size else path.read_bytes() + b"more")
    code, _, errors = resume(copied)
    assert code == 2, errors
    assert ("another content, first" if is_same_size else "1 of ") in errors


def test_moved_folder_with_other_times_is_resumed(copied):
    (copied / "data").rename(copied / "elsewhere")
    for path in (copied / "elsewhere").rglob("*.png"):
        os.utime(path, (1, 1))
    code, output, errors = resume(copied, root="elsewhere")
    assert code == 0, errors
    assert len(re.findall(r"(\d+) of \1 files have new modification times and the same content", output)) == 3
    assert (copied / "run/last_checkpoint").read_text() == "model_final.pth"


@pytest.mark.parametrize("name", ["Folder", "List"])
def test_moved_dataset_with_its_own_path_is_resumed(name, drawings, tmp_path):
    (collection,) = drawings.glob("generated-*")
    shutil.copytree(collection, tmp_path / "old")

    def train(root, epochs, *options):
        paths = {"IMAGES": "", "TRAIN": TRAIN, "QUERY": QUERY, "GALLERY": GALLERY}
        settings = {f"DATASETS.LIST.{key}": f"{root}/{path}" for key, path in paths.items()}
        settings["DATASETS.LIST.IMAGES"] = f"{root}/train_data/patent_data"
        if name == "Folder":
            settings = {"DATASETS.FOLDER.PATH": f"{root}/train_data/patent_data"}
        pairs = [text for pair in settings.items() for text in pair]
        arguments = (
            "DATASETS.NAMES",
            name,
            "DATASETS.TESTS",
            name,
            "OUTPUT_DIR",
            "run",
            "SOLVER.MAX_EPOCH",
            epochs,
            *pairs,
        )
        return run("train", "--config-file", TINY, *options, *arguments, folder=tmp_path)

    code, _, errors = train("old", 1)
    assert code == 0, errors
    (tmp_path / "old").rename(tmp_path / "new")
    code, output, errors = train("new", 2, "--resume")
    assert code == 0, errors
    assert "resuming from run/model_final.pth" in output


def test_other_measure_starts_the_best_score_again(copied):
    code, output, errors = resume(copied, "TEST.SELECT_BY", "Rank-10", "SOLVER.EARLY_STOP_PATIENCE", 1)
    assert code == 0, errors
    assert output.count("earlier scores are not comparable") == 1
    assert "done: best Rank-10" in output
    best, previous = (
        torch.load(copied / "run" / name, weights_only=True) for name in ("model_best.pth", "model_best.previous.pth")
    )
    assert (best["best_epoch"], best["num_bad_evaluations"]) == (2, 0)
    assert previous["best_epoch"] < 2


def test_finished_run_with_another_measure_keeps_its_files(copied):
    before = {path.name: path.read_bytes() for path in (copied / "run").glob("*.pth")}
    code, output, errors = resume(copied, "TEST.SELECT_BY", "Rank-10", epochs=2)
    assert code == 0, errors
    assert "the run is finished" in output
    assert before == {path.name: path.read_bytes() for path in (copied / "run").glob("*.pth")}


def test_checkpoint_contains_the_fingerprint_in_plain_values(stopped):
    data = torch.load(stopped / "run/model_best.pth", weights_only=True)["data"]
    assert list(data["lists"]) == ["the training list", "the queries of Patent", "the gallery of Patent"]


def test_processes_with_other_lists_stop_before_the_first_step(stopped, tmp_path):
    """Two machines, each with its own copy of the data, of which one is older."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    processes = []
    for rank in range(2):
        shutil.copytree(stopped / "data", tmp_path / str(rank) / "data")
        arguments = ["--num-machines", 2, "--machine-rank", rank, "--dist-url", url, "OUTPUT_DIR", tmp_path / "run"]
        if rank:
            edit(tmp_path / "1", TRAIN, drop_a_line)
        settings = ("DATASETS.NAMES", "Patent", "DATASETS.TESTS", "Patent", "DATASETS.ROOT", "data")
        arguments = ["--config-file", TINY, *arguments, *settings]
        processes.append(start("train", *arguments, folder=tmp_path / str(rank)))
    for process in processes:
        code, _, errors = wait(process, limit_s=120)
        assert code == 2, errors
        assert "process 1 does not train the same run as process 0: the training list changed: " in errors
        change = r"\d+ drawings in process 0, \d+ in process 1; 1 drawing is missing, number 5 in process 0"
        assert re.search(change, errors)
    assert not (tmp_path / "run/metrics.json").exists()
