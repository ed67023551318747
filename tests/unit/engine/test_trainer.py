import argparse
from pathlib import Path

import pytest

from fastreid.data.datasets.base import RetrievalData
from fastreid.engine.launch import launch
from fastreid.engine.setup import default_setup, load_config
from fastreid.engine.train_step import TrainStep
from fastreid.engine.trainer import DefaultTrainer, _check_model_selection, resolve_num_classes
from fastreid.structures import Drawing
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.logger import get_logger

TINY = Path(__file__).parents[2] / "end_to_end/tiny.yml"


def data(query="a", gallery="a"):
    return RetrievalData("Mine", (), (Drawing("q", "q", query),), (Drawing("g", "g", gallery),))


def test_a_score_that_no_test_gives_is_refused_before_the_first_step():
    cfg = load_config(TINY, ["TEST.TOP_K", "5"])
    with pytest.raises(InputError, match=r"no score 'mAP@10' to choose by. Did you mean 'mAP@5'"):
        _check_model_selection(cfg, data())


def test_a_count_does_not_choose_the_best_model():
    with pytest.raises(InputError, match="no score 'num_queries'"):
        _check_model_selection(load_config(TINY, ["TEST.SELECT_BY", "num_queries"]), data())


@pytest.mark.parametrize(("query", "gallery"), [("", ""), ("a", "b")])
def test_a_test_without_a_match_does_not_choose_the_best_model(query, gallery):
    with pytest.raises(InputError, match="cannot choose the best model"):
        _check_model_selection(load_config(TINY), data(query, gallery))


def test_classes_are_counted_or_more_than_the_patents_but_never_fewer():
    assert resolve_num_classes(load_config(TINY), 7) == 7
    assert resolve_num_classes(load_config(TINY, ["MODEL.HEADS.NUM_CLASSES", "9"]), 7) == 9
    with pytest.raises(InputError, match="NUM_CLASSES is 5 and the training list has 7"):
        resolve_num_classes(load_config(TINY, ["MODEL.HEADS.NUM_CLASSES", "5"]), 7)


def test_an_option_behind_a_setting_is_told_where_it_belongs():
    with pytest.raises(InputError, match=r"--resume stands after a setting; options come before"):
        load_config(TINY, ["SEED", "1", "--resume"])


@pytest.mark.parametrize(
    ("arguments", "fault", "words"),
    [
        ({"num_gpus": 0}, InputError, "at least 1"),
        ({"num_machines": 2}, InputError, "--dist-url"),
        ({"num_machines": 2, "machine_rank": 2, "dist_url": "tcp://a:1"}, InputError, "counted from 0 to 1"),
        ({"num_gpus": 2, "device": "cuda:1"}, InputError, "set MODEL.DEVICE cuda"),
        ({"num_gpus": 99, "device": "cuda"}, EnvironmentSetupError, "ask for fewer"),
    ],
)
def test_processes_that_cannot_be_started_are_refused(arguments, fault, words):
    with pytest.raises(fault, match=words):
        launch(print, **arguments)


@pytest.mark.parametrize("words", [["DATASETS.TESTS", str(["Patent"] * 1500)], ["TRACKER.PROJECT", "x" * 5000]])
def test_settings_that_a_resume_could_not_read_back_are_refused_at_the_start(words):
    with pytest.raises(InputError, match="command line"):
        load_config(TINY, words)


@pytest.mark.parametrize("resume", [False, True])
def test_the_settings_beside_an_earlier_run_s_metrics_stay_until_something_trains(resume, tmp_path, monkeypatch):
    monkeypatch.setattr("fastreid.engine.setup.setup_logger", lambda folder, rank: get_logger())
    (tmp_path / "config.yaml").write_text("as it was")
    default_setup(load_config(TINY, ["OUTPUT_DIR", str(tmp_path)]), argparse.Namespace(resume=resume))
    assert (tmp_path / "config.yaml").read_text() == "as it was"


def test_an_operation_without_a_deterministic_kernel_names_the_setting(tmp_path, monkeypatch):
    words = ["DATASETS.ROOT", str(tmp_path), "OUTPUT_DIR", str(tmp_path / "run"), "DETERMINISTIC", "True"]
    trainer = DefaultTrainer(load_config(TINY, words))
    trainer.resume_or_load(resume=False)

    def refuse(step, batch):
        raise RuntimeError("histc_cuda does not have a deterministic implementation, but you set more.")

    monkeypatch.setattr(TrainStep, "__call__", refuse)
    with pytest.raises(EnvironmentSetupError, match=r"DETERMINISTIC is True: histc_cuda does not.*set it to False"):
        trainer.train()


def test_a_worker_s_death_told_between_two_batches_is_a_plain_fault(tmp_path, monkeypatch):
    """torch raises it wherever the main thread happens to be."""
    trainer = DefaultTrainer(load_config(TINY, ["DATASETS.ROOT", str(tmp_path), "OUTPUT_DIR", str(tmp_path / "run")]))
    trainer.resume_or_load(resume=False)

    def die(step, batch):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr(TrainStep, "__call__", die)
    with pytest.raises(
        EnvironmentSetupError, match=r"died \(DataLoader worker \(pid 7\) .*\); lower DATALOADER\.NUM_WORKERS"
    ):
        trainer.train()
