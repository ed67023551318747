import csv
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.projector import projector_plugin
from tensorboard.summary.writer import event_file_writer

from fastreid.config import get_cfg
from fastreid.engine.hooks.lr import learning_rate_per_part
from fastreid.monitoring.build import changed_settings
from fastreid.monitoring.projector import SPRITE_PX, build_projector_data, select_rows, write_projector_data
from fastreid.monitoring.tensorboard import TensorboardWriter
from fastreid.monitoring.writers import CSVWriter, JSONWriter, Writer, read_metrics
from fastreid.structures import Drawing, Embeddings
from fastreid.utils.files import write_text

DRAWINGS = [Drawing(str(30 * row), f"{row}.png", f"p{row // 2}") for row in range(8)]


def projector_data(max_points=8):
    features = torch.arange(24, dtype=torch.float32).reshape(8, 3) + 1
    return build_projector_data(
        Embeddings.from_drawings(features, DRAWINGS), DRAWINGS, read=read_page, max_points=max_points
    )


def read_page(path):
    return np.full((9, 20), int(path), np.uint8)


def write_lines(folder, lines, *, iteration=0):
    writers = [JSONWriter(folder, iteration=iteration), CSVWriter(folder)]
    for line in lines:
        for writer in writers:
            writer.write(line[0], line[1])
            if "mAP" in line[1]:
                writer.on_evaluation()
    for writer in writers:
        writer.close(finished=True)
    return (folder / "metrics.csv").read_bytes()


LINES = [(1, {"loss": 0.1}), (2, {"loss": 1e-9, "mAP": 40.0}), (3, {"loss": 3.0, "grad_norm": 2.0})]


def test_csv_has_all_lines_and_columns(tmp_path):
    write_lines(tmp_path, LINES)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["iteration", "grad_norm", "loss", "mAP"],
            ["1", "", "0.1", ""],
            ["2", "", "1e-09", "40.0"],
            ["3", "2.0", "3.0", ""],
        ]


def test_resumed_run_writes_the_same_csv(tmp_path):
    whole = write_lines(tmp_path / "whole", LINES)
    write_lines(tmp_path / "parts", LINES[:2])
    with (tmp_path / "parts" / "metrics.json").open("a") as file:
        file.write('{"iteration": 3, "lo')
    assert write_lines(tmp_path / "parts", LINES[2:], iteration=2) == whole


def test_read_metrics_skips_incomplete_lines(tmp_path):
    assert read_metrics(tmp_path) == []
    write_text(tmp_path / "metrics.json", '{"iteration": 2, "a": 1}\n[1]\n{"iteration": 4}\n{"iter')
    assert read_metrics(tmp_path) == [{"iteration": 2, "a": 1}, {"iteration": 4}]


def test_csv_write_error_is_logged_once(tmp_path, logged_warnings):
    JSONWriter(tmp_path).write(1, {"loss": 1.0})
    (tmp_path / "metrics.csv").mkdir()
    writer = CSVWriter(tmp_path)
    writer.on_evaluation()
    writer.on_evaluation()
    assert len(logged_warnings) == 1
    assert "metrics.csv" in logged_warnings[0]
    assert "training continues" in logged_warnings[0]


def read_events(folder):
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    return events.Reload()


def test_tensorboard_scalars_images_and_hparams(tmp_path):
    writer = TensorboardWriter(tmp_path, settings={"SOLVER.BASE_LR": 0.1, "A": "b"}, score="mAP", best=45.0)
    for step, score in enumerate((40.0, 60.0, 50.0), start=1):
        writer.on_scores({"mAP": score})
        writer.write(step, {"mAP": score, "lr/heads": 0.5, "time": 2.0})
    writer.on_scores({})
    writer.write(4, {"lr/heads": 0.5, "time": 2.0})
    writer.add_image(1, "ranks", Image.new("RGB", (4, 4)))
    writer.close(finished=True)
    events = read_events(tmp_path)
    assert set(events.Tags()["scalars"]) == {"eval/mAP", "eval/best mAP", "train/lr/heads", "system/time"}
    assert [event.value for event in events.Scalars("train/lr/heads")] == [0.5] * 4
    assert [event.value for event in events.Scalars("eval/best mAP")] == [45.0, 60.0, 60.0]
    content = events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    [metric] = plugin_data_pb2.HParamsPluginData.FromString(content).experiment.metric_infos
    assert metric.name.tag == "eval/best mAP"
    assert "custom_scalars__config__" in events.summary_metadata
    assert events.Tags()["images"] == ["ranks"]
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["SOLVER.BASE_LR"].number_value == 0.1
    assert settings["A"].string_value == "b"
    assert "_hparams_/session_end_info" in events.summary_metadata


@pytest.mark.parametrize("starts", [(0, 2), (0, 0), (0, 3, 0, 1), (0, 4)])
def test_tensorboard_steps_never_go_back(starts, tmp_path, monkeypatch):
    """Also if a run is killed before its first checkpoint, or a new run starts in a used folder."""
    # TensorBoard sorts the files of one second by a counter of the process as text: 10 comes before 9.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))
    for start in starts:
        writer = TensorboardWriter(tmp_path, iteration=start)
        for step in range(start + 1, start + 5):
            writer.write(step, {"loss": start})
            writer.add_image(step, "ranks", Image.new("RGB", (4, 4)))
        writer.close(finished=False)
    events = read_events(tmp_path)
    steps = [event.step for event in events.Scalars("train/loss")]
    assert steps == list(range(1, starts[-1] + 5))
    assert [event.step for event in events.Images("ranks")] == steps
    assert [event.value for event in events.Scalars("train/loss")][-4:] == [starts[-1]] * 4


def test_tensorboard_shows_the_settings_of_the_new_run(tmp_path):
    for value in (1, 2):
        TensorboardWriter(tmp_path, settings={"SEED": value}).close(finished=True)
    content = read_events(tmp_path).SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["SEED"].number_value == 2
    assert len(list((tmp_path / "previous_run").glob("events.out.tfevents*"))) == 1


def test_tensorboard_hides_events_of_repeated_steps(tmp_path):
    for start in (0, 2):
        writer = TensorboardWriter(tmp_path, iteration=start)
        for step in range(start + 1, 5):
            writer.write(step, {"loss": start + step})
        writer.close(finished=False)
    events = read_events(tmp_path)
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 1), (2, 2), (3, 5), (4, 6)]
    assert "_hparams_/session_end_info" not in events.summary_metadata


def test_tensorboard_write_is_flushed(tmp_path):
    writer = TensorboardWriter(tmp_path)
    writer.write(1, {"loss": 1.0})
    assert [event.value for event in read_events(tmp_path).Scalars("train/loss")] == [1.0]
    writer.close(finished=False)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_tensorboard_full_disk_is_logged_once(tmp_path, logged_warnings):
    before = set(threading.enumerate())
    writer = TensorboardWriter(tmp_path)
    writer.write(0, {})  # flushes, so that TensorBoard's thread does not create the file again
    (events,) = tmp_path.glob("events.out.tfevents*")
    events.unlink()
    events.symlink_to("/dev/full")
    for step in range(1, 6):
        writer.write(step, {"loss": 1.0})
        writer.add_image(step, "inputs", Image.new("RGB", (4, 4)))
    writer.close(finished=True)
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)  # TensorBoard's thread fails and prints its error within this test
    assert len(logged_warnings) == 1
    assert "No space left on device" in logged_warnings[0]


def test_tensorboard_unwritable_folder_is_logged_once(tmp_path, logged_warnings):
    write_text(tmp_path / "file", "")
    writer = TensorboardWriter(tmp_path / "file" / "run")
    writer.write(1, {"loss": 1.0})
    writer.close(finished=True)
    assert len(logged_warnings) == 1


def test_tensorboard_releases_its_folder_if_the_events_cannot_be_closed(tmp_path, monkeypatch, logged_warnings):
    writer = TensorboardWriter(tmp_path)

    close = writer._events.close

    def fail():
        close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer._events, "close", fail)
    writer.close(finished=False)
    assert len(logged_warnings) == 1
    assert writer._pinned._handle == -1


def test_select_rows_takes_whole_patents_evenly():
    patents = [f"p{row // 2}" for row in range(8)]
    assert select_rows(patents, 8) == list(range(8))
    assert select_rows(patents, 100) == list(range(8))
    assert select_rows(patents, 4) == [0, 1, 4, 5]
    assert select_rows(patents, 3) == [0, 1, 6]


def test_projector_reads_the_newest_features(tmp_path):
    (tmp_path / "events.out.tfevents.1").touch()
    for step in (5, 9):
        write_projector_data(tmp_path, step, "Generated", projector_data())
    context = TBContext(logdir=str(tmp_path), multiplexer=SimpleNamespace(RunPaths=lambda: {".": str(tmp_path)}))
    configs, _ = projector_plugin.ProjectorPlugin(context)._read_latest_config_files([(".", str(tmp_path))])
    (shown,) = configs["."].embeddings
    assert shown.tensor_name == "Generated after step 9"
    assert list(shown.tensor_shape) == [8, 3]
    stored = np.fromfile(tmp_path / shown.tensor_path, np.float32).reshape(8, 3)
    assert np.array_equal(stored, projector_data().features)
    assert (tmp_path / shown.metadata_path).read_text().splitlines()[:2] == ["patent\tdrawing", "p0\t0.png"]
    sprite = np.array(Image.open(tmp_path / shown.sprite.image_path))
    assert sprite.shape == (3 * SPRITE_PX, 3 * SPRITE_PX)
    middle = sprite[SPRITE_PX // 2 :: SPRITE_PX, SPRITE_PX // 2 :: SPRITE_PX]
    assert middle.flatten().tolist() == [*range(0, 240, 30), 255]


def test_learning_rates_per_model_part():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    names = ["backbone.w", "backbone.bias", "heads.w"]
    groups = [{"params": [w], "names": [n], "lr": lr} for w, n, lr in zip(weights, names, (0.1, 0.2, 0.5))]
    assert learning_rate_per_part(torch.optim.SGD(groups)) == {"lr/backbone": 0.2, "lr/heads": 0.5}


def test_changed_settings_are_numbers_or_text():
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.BASE_LR", "0.5", "SOLVER.AMP.ENABLED", "True", "DATASETS.NAMES", "Patent"])
    assert changed_settings(cfg) == {
        "SOLVER.BASE_LR": 0.5,
        "SOLVER.AMP.ENABLED": "True",
        "DATASETS.NAMES": "['Patent']",
    }


def test_base_writer_methods_do_nothing():
    writer = Writer()
    writer.write(1, {})
    writer.add_image(1, "a", Image.new("L", (1, 1)))
    writer.add_embedding(1, "a", projector_data())
    writer.on_evaluation()
    writer.close(finished=True)


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe{", b'{"iteration": "x"}', b'{"iteration": null}', b'{"iteration": true}', b"[1]"]
)
def test_damaged_metrics_line_is_removed_on_resume(damage, tmp_path, caplog):
    write_lines(tmp_path, LINES[:2])
    path = tmp_path / "metrics.json"
    whole = path.read_bytes()
    path.write_bytes(damage + b"\n" + whole)
    write_lines(tmp_path, [], iteration=2)
    assert path.read_bytes() == whole
    assert "removed 1 damaged lines, first 1" in caplog.text


def test_read_metrics_ignores_values_that_are_no_numbers(tmp_path):
    write_text(tmp_path / "metrics.json", '{"iteration": 1, "loss": "abc", "time": [1], "mAP": true, "lr": 0.5}\n')
    assert read_metrics(tmp_path) == [{"iteration": 1, "lr": 0.5}]
