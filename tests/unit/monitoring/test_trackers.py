"""Test the trackers with a fake of each library, and with the real libraries if they are installed."""

import json
import sys
import time
from types import SimpleNamespace

import pytest
from PIL import Image

from fastreid.engine.setup import load_config
from fastreid.monitoring.build import TRACKERS, build_writers
from fastreid.monitoring.trackers import MLflowWriter, WandbWriter
from fastreid.monitoring.writers import Writer
from fastreid.utils.errors import EnvironmentSetupError, InputError

WRITERS = {"wandb": WandbWriter, "mlflow": MLflowWriter}


class Library:
    """Fake of a library and its run that records all calls."""

    id = "run-7"

    def __init__(self):
        self.calls = []
        self.info = SimpleNamespace(run_id=self.id)
        self.Image = lambda image: image.size

    def __getattr__(self, name):
        def record(*args, **kwargs):
            self.calls.append((name, args, kwargs))
            return self

        return record

    def last(self, name):
        return [(args, kwargs) for called, args, kwargs in self.calls if called == name][-1]


@pytest.fixture(params=["wandb", "mlflow"])
def tracker(request, monkeypatch):
    library = Library()
    monkeypatch.setitem(sys.modules, request.param, library)
    return request.param, library


def start(name, folder, **options):
    return WRITERS[name](folder / "run", project="drawings", settings={"SOLVER.BASE_LR": 0.1}, **options)


def test_resume_continues_the_run_of_the_tracker(tracker, tmp_path):
    name, library = tracker
    id_argument, start_function = {"wandb": ("id", "init"), "mlflow": ("run_id", "start_run")}[name]
    run_ids = []
    for iteration in (0, 5, 0):
        start(name, tmp_path, iteration=iteration)
        run_ids.append(library.last(start_function)[1][id_argument])
    assert run_ids == [None, "run-7", None]
    assert json.loads((tmp_path / "run/tracker.json").read_text()) == {name: "run-7"}


def test_metrics_images_and_settings_are_sent(tracker, tmp_path):
    name, library = tracker
    writer = start(name, tmp_path)
    writer.write(3, {"mAP@10": 40.0})
    writer.add_image(3, "ranks", Image.new("RGB", (5, 4)))
    writer.close(finished=False)
    if name == "wandb":
        assert library.last("init")[1]["config"] == {"SOLVER.BASE_LR": 0.1}
        assert [args for called, args, _ in library.calls if called == "log"] == [
            ({"mAP@10": 40.0},),
            ({"ranks": (5, 4)},),
        ]
        assert library.last("finish") == ((), {"exit_code": 1})
    else:
        assert library.last("log_params") == (({"SOLVER.BASE_LR": 0.1},), {})
        assert library.last("log_metrics") == (({"mAP_at_10": 40.0},), {"step": 3})
        assert library.last("log_image")[1] == {"artifact_file": "ranks/0000003.png"}
        assert library.last("end_run") == (("KILLED",), {})


def test_failing_service_is_logged_once(tracker, tmp_path, logged_warnings):
    name, library = tracker
    writer = start(name, tmp_path)

    def fail(*args, **kwargs):
        raise RuntimeError("no answer\nfrom the server")

    library.log = library.log_metrics = library.finish = library.end_run = fail
    for step in (1, 2):
        writer.write(step, {"loss": 1.0})
    writer.close(finished=True)
    assert logged_warnings == [f"{name}: cannot be written (no answer from the server); training continues without it"]


def test_failed_start_is_a_one_line_error(tracker, tmp_path):
    name, library = tracker

    def fail(*args, **kwargs):
        raise RuntimeError("no\nkey")

    library.init = library.start_run = fail
    with pytest.raises(
        EnvironmentSetupError, match=rf"^TRACKER.NAME {name}: cannot start a run \(no key\); .*(MODE|URI)"
    ):
        start(name, tmp_path)


@pytest.mark.parametrize(("name", "package"), [("wandb", "wandb"), ("mlflow", "mlflow-skinny")])
def test_missing_library_error_names_its_package(name, package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EnvironmentSetupError, match=f"run pip install {package},") as error:
        start(name, tmp_path)
    assert error.value.exit_code == 3


def load_tracker_config(tmp_path, name):
    path = tmp_path / "a.yml"
    path.write_text(f"TRACKER: {{NAME: {name}, PROJECT: mine}}\nOUTPUT_DIR: {tmp_path / 'run'}\n")
    return load_config(path)


def test_registered_tracker_receives_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(TRACKERS, "_builders", dict(TRACKERS._builders))
    received = []

    @TRACKERS.register("notebook")
    def notebook(folder, **options):
        received.append((folder, options["project"], options["settings"]["TRACKER.NAME"], options["iteration"]))
        return Writer()

    writers = build_writers(load_tracker_config(tmp_path, "notebook"), iteration=4, iters_per_epoch=2)
    assert type(writers[-1]) is Writer
    assert received == [(str(tmp_path / "run"), "mine", "notebook", 4)]
    for writer in writers:
        writer.close(finished=False)


def test_unknown_tracker_suggests_nearest_name(tmp_path):
    with pytest.raises(InputError, match=r"TRACKER.NAME 'wand' is unknown. Did you mean 'wandb'"):
        build_writers(load_tracker_config(tmp_path, "wand"), iteration=0, iters_per_epoch=2)


def test_real_wandb_offline_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    (tmp_path / "run").mkdir()
    writer = start("wandb", tmp_path)
    write_sample(writer)
    assert not writer.has_failed
    (log_file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 30  # wandb writes in a process that it starts
    while log_file.stat().st_size < 100 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert log_file.stat().st_size >= 100


def test_real_mlflow_run_is_resumed(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    for iteration in (0, 3):
        writer = start("mlflow", tmp_path, iteration=iteration)
        write_sample(writer)
        assert not writer.has_failed
    run_id = json.loads((tmp_path / "run/tracker.json").read_text())["mlflow"]
    run = mlflow.get_run(run_id)
    assert run.data.metrics == {"mAP_at_10": 40.0, "grad_norm/heads": 1.0}
    assert run.data.params == {"SOLVER.BASE_LR": "0.1"}
    assert run.info.status == "FINISHED"
    assert len(mlflow.search_runs(experiment_names=["drawings"], output_format="list")) == 1


def write_sample(writer):
    writer.write(3, {"mAP@10": 40.0, "grad_norm/heads": 1.0})
    writer.add_image(3, "ranks", Image.new("RGB", (5, 4)))
    writer.close(finished=True)


def test_run_ids_of_all_services_are_saved(tmp_path, monkeypatch):
    for name in WRITERS:
        monkeypatch.setitem(sys.modules, name, Library())
        start(name, tmp_path)
    assert json.loads((tmp_path / "run/tracker.json").read_text()) == dict.fromkeys(WRITERS, "run-7")
    (tmp_path / "run/tracker.json").write_text('{"wandb": ')
    with pytest.raises(InputError, match=r"tracker.json: damaged; remove it"):
        start("wandb", tmp_path, iteration=5)
