"""Errors in and around evaluations: found before the first step, or saved as a checkpoint; lost output folders."""

import json
import os
import shutil
import signal
import time

import pytest
from commands import TINY, is_short_error, metrics, run, run_here, same_bits, start, wait_for
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


@pytest.fixture
def root(drawings, tmp_path):
    """Return a copy of the data, which a test can damage."""
    return shutil.copytree(drawings, tmp_path / "data")


def find_list(root, name):
    return next(root.rglob(name))


def find_page(root, name, row=0):
    """Return the file of a row of a list."""
    page = find_list(root, name).read_text().splitlines()[row].split()[0]
    return next(path for path in root.rglob("*.png") if str(path).endswith(page))


def train(root, *options, code=0, folder=None):
    """Train the tiny config in `run`; return the error, or the output of a successful run."""
    arguments = ("--config-file", TINY, *options, "DATASETS.ROOT", root, "OUTPUT_DIR", "run")
    exit_code, output, errors = run("train", *arguments, folder=folder or root.parent)
    assert exit_code == code, output + errors
    assert code == 0 or is_short_error(errors)
    return errors if code else output


@pytest.mark.parametrize("options", [(), ("INPUT.ON_BAD_IMAGE", "skip"), ("DATALOADER.NUM_WORKERS", 2)])
def test_corrupt_test_drawings_are_reported_before_training(root, options):
    """Headers are intact, so only decoding finds the damage."""
    pages = [find_page(root, "val_query_patent.txt"), find_page(root, "val_db_patent.txt", 3)]
    for page in pages:
        page.write_bytes(page.read_bytes()[:-40])
    errors = train(root, *options, code=2)
    assert all(page.name in errors for page in pages)
    assert not (root.parent / "run/metrics.json").exists()
    if "skip" in options:
        assert "tests and saved features have a row for every drawing" in errors


def test_test_drawings_are_decoded_once(root):
    train(root, "SOLVER.MAX_EPOCH", 1)
    page = find_page(root, "val_query_patent.txt")
    status, content = page.stat(), page.read_bytes()
    page.write_bytes(content[:-40] + bytes(40))
    os.utime(page, ns=(status.st_atime_ns, status.st_mtime_ns))
    # Its size and time are those of the decoded file, so the damage is found by the evaluation, after a checkpoint.
    errors = train(root, "SOLVER.MAX_EPOCH", 1, code=2)
    assert page.name in errors
    assert "run/model_before_evaluation.pth contains iteration 7; continue with --resume" in errors
    os.utime(page)
    assert "continue with --resume" not in train(root, "SOLVER.MAX_EPOCH", 1, code=2)


def test_failed_evaluation_is_repeated_with_the_same_scores(root, trained):
    train(root, "SOLVER.MAX_EPOCH", 1)
    shutil.rmtree(root.parent / "run", ignore_errors=False)
    page = find_page(root, "val_query_patent.txt")
    content = page.read_bytes()
    arguments = ("--config-file", TINY, "--resume", "DATASETS.ROOT", root, "OUTPUT_DIR", "run")
    process = start("train", *arguments, folder=root.parent)
    wait_for(root.parent / "run/metrics.json", process)
    page.write_bytes(b"no image")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "continue with --resume" in errors
    page.write_bytes(content)
    train(root, "--resume")
    assert metrics(root.parent / "run") == metrics(trained)
    for name in ("model_best.pth", "model_final.pth"):
        assert same_bits(root.parent / "run" / name, trained / name)


def replace_ids(path, change):
    lines = [line.rsplit(None, 1) for line in path.read_text().splitlines()]
    path.write_text("".join(f"{page} {change(int(patent))}\n" for page, patent in lines))


@pytest.mark.parametrize("command", ["train", "test", "extract"])
def test_missing_matches_are_reported_before_any_work(command, root, trained):
    replace_ids(find_list(root, "val_query_patent.txt"), lambda patent: patent + 100_000)
    arguments = ("--config-file", TINY, "MODEL.WEIGHTS", trained / "model_best.pth", "DATASETS.ROOT", root)
    code, output, errors = run(command, *arguments, "OUTPUT_DIR", "run", folder=root.parent)
    assert code == 2, output + errors
    assert "no id is in both lists" in errors
    assert not {"metrics.json", "features", "features.unfinished"} & set(os.listdir(root.parent / "run"))


def to_csv(root, name, camera):
    """Write a list of the data as CSV with a constant camera; return its path."""
    lines = find_list(root, name).read_text().splitlines()
    path = root / f"{name}.csv"
    path.write_text("path,id,camera\n" + "".join(f"{line.split()[0]},{line.split()[1]},{camera}\n" for line in lines))
    return path


def test_equal_cameras_are_reported_before_training(root):
    images = next(root.rglob("patent_data"))
    lists = {
        part: to_csv(root, name, 0)
        for part, name in (("QUERY", "val_query_patent.txt"), ("GALLERY", "val_db_patent.txt"))
    }
    options = [word for part, path in lists.items() for word in (f"DATASETS.LIST.{part}", path)]
    errors = train(root, "DATASETS.TESTS", "List", "DATASETS.LIST.IMAGES", images, *options, code=2)
    assert "every gallery drawing of a query's patent has the camera of the query" in errors
    assert not (root.parent / "run/metrics.json").exists()


@pytest.mark.parametrize("change", ["delete", "rename", "replace"])
def test_lost_output_folder_ends_the_run(change, drawings, tmp_path):
    folder = tmp_path / "run"
    arguments = ("--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "run", "SOLVER.MAX_EPOCH", 500)
    process = start("train", *arguments, folder=tmp_path)
    wait_for(folder / "metrics.json", process)
    folder.rename(tmp_path / "other")
    while change == "delete" and (tmp_path / "other").exists():  # again if the run has just created a file
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
    if change == "replace":
        folder.mkdir()
        (folder / ".lock").touch()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 5, errors
    assert len(errors.splitlines()) == 1
    assert "OUTPUT_DIR run was deleted, renamed or replaced while this run was using it" in errors
    assert not folder.exists() or [path.name for path in folder.iterdir()] == [".lock"]


def test_lost_best_model_is_not_called_done(drawings, tmp_path):
    arguments = ("--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "run", "TEST.SELECT_BY", "Rank-10")
    process = start("train", *arguments, "SOLVER.MAX_EPOCH", 6, folder=tmp_path)
    wait_for(tmp_path / "run/model_0000.pth", process)
    while process.poll() is None:
        (tmp_path / "run/model_best.pth").unlink(missing_ok=True)
        time.sleep(0.0005)  # leaves the processor to the run
    output, errors = process.communicate()
    assert process.returncode == 5, errors
    assert "model_best.pth: saved by this run, but it no longer exists" in errors
    assert "done: best" not in output


def test_curves_do_not_go_back_after_a_kill_or_a_new_run(drawings, tmp_path):
    arguments = ("--config-file", TINY, "--resume", "DATASETS.ROOT", drawings, "OUTPUT_DIR", "run")
    process = start("train", *arguments, folder=tmp_path)
    wait_for(tmp_path / "run/metrics.json", process)
    process.send_signal(signal.SIGKILL)  # perhaps before the first checkpoint
    process.wait()
    for options in (("SOLVER.MAX_EPOCH", 2), ()):
        code, _, errors = run("train", *arguments, *options, folder=tmp_path)
        assert code == 0, errors
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"scalars": 0}).Reload()
    for tag in events.Tags()["scalars"]:
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps)), tag
    assert len(events.Scalars("train/total_loss")) == 21
    assert len(events.Scalars("eval/mAP")) == 3
    assert {tag.partition("/")[0] for tag in events.Tags()["scalars"]} == {"train", "eval", "system"}


def test_final_scores_are_written(trained):
    scores = json.loads((trained / "scores.json").read_text())
    assert scores["scores"]["mAP"] == metrics(trained)[-1]["mAP"]
    assert (scores["weights"], scores["epoch"], scores["dataset"]) == ("model_final.pth", 3, "Generated")


def test_config_of_a_run_tests_its_best_weights(drawings, trained, tmp_path):
    """Also if its MODEL.WEIGHTS are the weights from which the run started."""
    folder = shutil.copytree(trained, tmp_path / "run")
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("WEIGHTS: ''", "WEIGHTS: first.pth"))
    arguments = ("test", "--config-file", "run/config.yaml", "OUTPUT_DIR", "out")
    code, output, errors = run_here(*arguments, folder=tmp_path)
    assert code == 0, errors
    line = "using run/model_best.pth, the best weights of this run; MODEL.WEIGHTS first.pth in run/config.yaml are the"
    assert [one for one in output.splitlines() if one.startswith(line)]
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert scores["weights"] == str(folder / "model_best.pth")
    assert scores["counts"]["num_queries"] == 16
    assert scores["intervals_95"]["mAP"][0] <= scores["scores"]["mAP"] <= scores["intervals_95"]["mAP"][1]
    assert run_here(*arguments, "MODEL.WEIGHTS", "other.pth", folder=tmp_path)[0] == 2
