import argparse
from pathlib import Path

import pytest
import tiny_backbone

from fastreid.data.datasets.base import RetrievalData
from fastreid.engine.model.network import resolve_num_classes
from fastreid.engine.processes.launch import launch
from fastreid.engine.run_checks import check_model_selection
from fastreid.engine.setup import default_setup, load_config
from fastreid.engine.step.train_step import TrainStep
from fastreid.engine.trainer import DefaultTrainer
from fastreid.structures import Drawing
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.logger import get_logger

TINY = Path(tiny_backbone.__file__).with_name("tiny.yml")
FEW_DRAWINGS = ["DATASETS.GENERATED.NUM_TRAIN_PATENTS", 4, "DATASETS.GENERATED.NUM_TEST_PATENTS", 1]


def build_dataset(query="a", gallery="a"):
    return RetrievalData("Mine", (), (Drawing("q", "q", query),), (Drawing("g", "g", gallery),))


def test_unknown_selection_score_is_an_error():
    cfg = load_config(TINY, ["TEST.TOP_K", "5"])
    with pytest.raises(InputError, match=r"TEST.SELECT_BY 'mAP@10' is unknown. Did you mean 'mAP@5'"):
        check_model_selection(cfg, build_dataset())


def test_count_cannot_select_the_best_model():
    with pytest.raises(InputError, match=r"TEST\.SELECT_BY 'num_queries' is unknown"):
        check_model_selection(load_config(TINY, ["TEST.SELECT_BY", "num_queries"]), build_dataset())


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [("", "", "cannot choose the best model"), ("a", "b", r"no id is in both lists \(queries: a; gallery: b\)")],
)
def test_dataset_without_matches_cannot_select_the_best_model(query, gallery, message):
    with pytest.raises(InputError, match=message):
        check_model_selection(load_config(TINY), build_dataset(query, gallery))


def test_num_classes_is_at_least_the_number_of_patents():
    assert resolve_num_classes(load_config(TINY), 7) == 7
    assert resolve_num_classes(load_config(TINY, ["MODEL.HEADS.NUM_CLASSES", "9"]), 7) == 9
    with pytest.raises(InputError, match="NUM_CLASSES is 5 and the training list has 7"):
        resolve_num_classes(load_config(TINY, ["MODEL.HEADS.NUM_CLASSES", "5"]), 7)


@pytest.mark.parametrize("option", ["--resume", "-resume"])
def test_option_after_a_setting_is_an_error(option):
    with pytest.raises(InputError, match=rf"command line: {option} follows a setting; options come before"):
        load_config(TINY, ["SEED", "1", option])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_gpus": 0}, InputError, "both must be 1 or more"),
        ({"num_machines": 2}, InputError, "--dist-url"),
        ({"num_machines": 2, "machine_rank": 2, "dist_url": "tcp://a:1"}, InputError, "must be an integer from 0 to 1"),
        ({"num_gpus": 2, "device": "cuda:1"}, InputError, "set MODEL.DEVICE cuda"),
        ({"num_gpus": 99, "device": "cuda"}, EnvironmentSetupError, "use a lower number"),
    ],
)
def test_invalid_process_arguments_are_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        launch(print, **arguments)


@pytest.mark.parametrize("settings", [["DATASETS.TESTS", str(["Patent"] * 1500)], ["TRACKER.PROJECT", "x" * 5000]])
def test_settings_that_resume_cannot_read_are_rejected(settings):
    with pytest.raises(InputError, match="command line"):
        load_config(TINY, settings)


@pytest.mark.parametrize("resume", [False, True])
def test_setup_keeps_the_config_of_the_previous_run(resume, tmp_path, monkeypatch):
    monkeypatch.setattr("fastreid.engine.setup.setup_logger", lambda folder, rank: get_logger())
    (tmp_path / "config.yaml").write_text("as it was")
    default_setup(load_config(TINY, ["OUTPUT_DIR", str(tmp_path)]), argparse.Namespace(resume=resume))
    assert (tmp_path / "config.yaml").read_text() == "as it was"


def test_folder_on_the_disk_of_another_machine_is_created(tmp_path, monkeypatch):
    monkeypatch.setattr("fastreid.engine.setup.setup_logger", lambda folder, rank: get_logger())
    monkeypatch.setattr("fastreid.utils.comm.is_main_process", lambda: False)
    default_setup(load_config(TINY, ["OUTPUT_DIR", str(tmp_path / "a/b")]), argparse.Namespace(resume=False))
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a/b"]
    (tmp_path / "file").touch()
    cfg = load_config(TINY, ["OUTPUT_DIR", str(tmp_path / "file")])
    with pytest.raises(EnvironmentSetupError, match=r"OUTPUT_DIR .*file cannot be written \(File exists\)"):
        default_setup(cfg, argparse.Namespace(resume=False))


def test_nondeterministic_operation_error_names_the_setting(tmp_path, monkeypatch):
    settings = ["DATASETS.ROOT", str(tmp_path), "OUTPUT_DIR", str(tmp_path / "run"), "DETERMINISTIC", "True"]
    trainer = DefaultTrainer(load_config(TINY, [*settings, *FEW_DRAWINGS]))
    trainer.resume_or_load(resume=False)

    def raise_nondeterministic(step, batch):
        raise RuntimeError("histc_cuda does not have a deterministic implementation, but you set more.")

    monkeypatch.setattr(TrainStep, "__call__", raise_nondeterministic)
    with pytest.raises(EnvironmentSetupError, match=r"DETERMINISTIC is True: histc_cuda does not.*set it to False"):
        trainer.train()


def test_worker_death_between_batches_is_a_clear_error(tmp_path, monkeypatch):
    """torch raises the error at any point of the main thread."""
    settings = ["DATASETS.ROOT", str(tmp_path), "OUTPUT_DIR", str(tmp_path / "run")]
    trainer = DefaultTrainer(load_config(TINY, [*settings, *FEW_DRAWINGS]))
    trainer.resume_or_load(resume=False)

    def raise_worker_death(step, batch):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr(TrainStep, "__call__", raise_worker_death)
    with pytest.raises(
        EnvironmentSetupError, match=r"died \(DataLoader worker \(pid 7\) .*\); lower DATALOADER\.NUM_WORKERS"
    ):
        trainer.train()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.LOSSES.NAME", "TripletLos"),
        ("MODEL.BACKBONE.NAME", "build_resnet_backbon"),
        ("MODEL.HEADS.POOL_LAYER", "GlobalAvgPol"),
        ("MODEL.HEADS.NAME", "EmbedingHead"),
        ("MODEL.HEADS.CLS_LAYER", "Circlesoftmax"),
        ("MODEL.META_ARCHITECTURE", "Base"),
        ("SOLVER.OPT", "Adm"),
        ("SOLVER.SCHED", "CosineLR"),
        ("DATALOADER.SAMPLER_TRAIN", "TrainSampler"),
        ("DATASETS.NAMES", "Generate"),
        ("DATASETS.TESTS", "Patnt"),
        ("TEST.METRIC", "cosin"),
        ("TEST.ENGINE", "fais"),
        ("TEST.STEPS", "RERNK"),
    ],
)
def test_misspelled_part_is_reported_before_data_is_read(key, value, tmp_path, monkeypatch):
    monkeypatch.setattr("fastreid.engine.trainer.build_datasets", lambda cfg: pytest.fail("read the data"))
    cfg = load_config(TINY, [key, value, "OUTPUT_DIR", str(tmp_path)])
    with pytest.raises(InputError, match=rf"^{key} '{value}' is unknown\. Did you mean '\w+'\? Available: "):
        DefaultTrainer(cfg)
