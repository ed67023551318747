"""Train, resume and test on synthetic drawings."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from commands import TINY, metrics, run, run_here, same_bits

from fastreid.engine import Predictor
from fastreid.structures import Ranking


def test_run_writes_the_documented_files(trained):
    names = {path.name for path in trained.iterdir()}
    expected = {
        "config.yaml",
        "log.txt",
        "metrics.json",
        "metrics.csv",
        "last_checkpoint",
        "model_best.pth",
        "model_final.pth",
    }
    assert expected | {"model_0000.pth", "model_0001.pth"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)


def test_best_model_has_the_best_score(trained):
    scores = [line["mAP@10"] for line in metrics(trained) if "mAP@10" in line]
    best = torch.load(trained / "model_best.pth", weights_only=True)
    assert len(scores) == 3
    assert best["best"] == best["metric"] == max(scores)
    assert best["epoch"] == scores.index(max(scores))


def test_resuming_a_finished_run_changes_nothing(drawings, trained, tmp_path):
    before = (trained / "model_final.pth").read_bytes(), (trained / "metrics.json").read_text()
    finished = shutil.copytree(trained, tmp_path / "run")
    arguments = ["--config-file", TINY, "--resume", "DATASETS.ROOT", drawings, "OUTPUT_DIR", finished]
    code, output, _ = run("train", *arguments, folder=tmp_path)
    assert code == 0
    assert "the run is finished" in output
    assert before == ((finished / "model_final.pth").read_bytes(), (finished / "metrics.json").read_text())


def test_plain_training_rejects_several_processes(drawings, tmp_path, monkeypatch):
    monkeypatch.setattr("fastreid.utils.comm.get_world_size", lambda: 2)
    code, _, errors = run_here("plain_train_net.py", "--config-file", TINY, "DATASETS.ROOT", drawings, folder=tmp_path)
    assert code == 2
    assert "several processes" in errors


def test_plain_training_has_the_same_losses_and_weights(drawings, trained, tmp_path):
    arguments = ["--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", tmp_path]
    code, _, errors = run("plain_train_net.py", *arguments, folder=tmp_path)
    assert code == 0, errors
    plain = [json.loads(line) for line in (tmp_path / "plain_metrics.json").read_text().splitlines()]
    with_hooks = [{name: line[name] for name in plain[0]} for line in metrics(trained)]
    assert plain == with_hooks
    assert same_bits(tmp_path / "model_final.pth", trained / "model_final.pth")


@pytest.fixture(scope="module")
def tested(drawings, trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tested")
    arguments = ["--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out"]
    code, output, errors = run(
        "test", *arguments, "MODEL.WEIGHTS", trained / "model_best.pth", "TEST.AQE.ENABLED", True, folder=folder
    )
    assert code == 0, errors
    assert "mAP@10" in output
    return folder


def read_list(drawings, name):
    (path,) = drawings.glob(f"generated-*/train_data/{name}")
    return path.read_text().splitlines()


def test_result_has_the_format_of_the_challenge(drawings, tested):
    result = np.load(tested / "result.npy")
    num_queries = len(read_list(drawings, "val_query_patent.txt"))
    assert result.dtype == np.int64
    assert result.shape == (num_queries, 10)
    assert all(len(set(row)) == 10 for row in result.tolist())
    assert result.min() >= 0
    assert result.max() < len(read_list(drawings, "val_db_patent.txt"))
    with zipfile.ZipFile(tested / "out" / "result.zip") as archive:
        assert archive.namelist() == ["result.npy"]
        assert archive.read("result.npy") == (tested / "result.npy").read_bytes()


def test_ranking_image_is_written(tested):
    assert (tested / "out" / "ranks.png").read_bytes().startswith(b"\x89PNG")


def test_two_processes_give_the_ranking_of_one(drawings, trained, tested, tmp_path):
    arguments = ["--config-file", TINY, "--num-gpus", 2, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out"]
    settings = ["MODEL.WEIGHTS", trained / "model_best.pth", "TEST.AQE.ENABLED", True]
    code, _, errors = run("test", *arguments, *settings, folder=tmp_path)
    assert code == 0, errors
    assert (tmp_path / "result.npy").read_bytes() == (tested / "result.npy").read_bytes()


def test_predictor_gives_the_ranked_features(drawings, trained, tmp_path):
    options = ["DATASETS.ROOT", str(drawings), "MODEL.DEVICE", "cpu"]
    predictor = Predictor.from_config(TINY, trained / "model_best.pth", options)
    (images,) = drawings.glob("generated-*/train_data/patent_data")
    paths = [images / line.rsplit(" ", 1)[0] for line in read_list(drawings, "val_db_patent.txt")]
    queries = [images / line.rsplit(" ", 1)[0] for line in read_list(drawings, "val_query_patent.txt")]
    from fastreid.evaluation import nearest

    ranking = nearest(predictor(queries), predictor(paths), 10)
    code, _, errors = run(
        "test",
        "--config-file",
        TINY,
        *options,
        "OUTPUT_DIR",
        "out",
        "MODEL.WEIGHTS",
        trained / "model_best.pth",
        folder=tmp_path,
    )
    assert code == 0, errors
    assert isinstance(ranking, Ranking)
    assert np.array_equal(ranking.indices.numpy(), np.load(tmp_path / "result.npy"))


def test_eval_period_zero_evaluates_only_at_the_end(drawings, tmp_path):
    arguments = ["--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "run", "TEST.EVAL_PERIOD", 0]
    settings = ["SOLVER.MAX_EPOCH", 2, "TEST.PROJECTOR", 9]
    code, _, errors = run("train", *arguments, *settings, folder=tmp_path)
    assert code == 0, errors
    assert [line["iteration"] for line in metrics(tmp_path / "run") if "mAP" in line] == [14]
    assert "Generated after step 14" in (tmp_path / "run" / "projector_config.pbtxt").read_text()
