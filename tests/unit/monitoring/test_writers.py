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

from fastreid.config import get_cfg
from fastreid.engine.hooks.basic import learning_rates
from fastreid.engine.monitors import changed_settings
from fastreid.monitoring.projector import SPRITE_PX, chosen_rows, points_of, write_points
from fastreid.monitoring.tensorboard import TensorboardWriter
from fastreid.monitoring.writers import CSVWriter, JSONWriter, Writer, read_metrics
from fastreid.structures import Drawing, Embeddings
from fastreid.utils.files import write_text

DRAWINGS = [Drawing(str(30 * row), f"{row}.png", f"p{row // 2}") for row in range(8)]


def points(num=8):
    features = torch.arange(24, dtype=torch.float32).reshape(8, 3) + 1
    return points_of(Embeddings.of(features, DRAWINGS), DRAWINGS, read=page, num=num)


def page(path):
    return np.full((9, 20), int(path), np.uint8)


def fill(folder, lines, *, iteration=0):
    writers = [JSONWriter(folder, iteration=iteration), CSVWriter(folder)]
    for line in lines:
        for writer in writers:
            writer.write(line[0], line[1])
            if "mAP" in line[1]:
                writer.evaluated()
    for writer in writers:
        writer.close(finished=True)
    return (folder / "metrics.csv").read_bytes()


LINES = [(1, {"loss": 0.1}), (2, {"loss": 1e-9, "mAP": 40.0}), (3, {"loss": 3.0, "grad_norm": 2.0})]


def test_the_table_has_all_lines_and_a_column_for_all_that_ever_came(tmp_path):
    fill(tmp_path, LINES)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["iteration", "grad_norm", "loss", "mAP"],
            ["1", "", "0.1", ""],
            ["2", "", "1e-09", "40.0"],
            ["3", "2.0", "3.0", ""],
        ]


def test_a_run_that_went_on_leaves_the_table_of_one_that_was_never_stopped(tmp_path):
    whole = fill(tmp_path / "whole", LINES)
    fill(tmp_path / "parts", LINES[:2])
    with (tmp_path / "parts" / "metrics.json").open("a") as file:
        file.write('{"iteration": 3, "lo')
    assert fill(tmp_path / "parts", LINES[2:], iteration=2) == whole


def test_the_lines_are_read_in_their_order_without_a_torn_one(tmp_path):
    assert read_metrics(tmp_path) == []
    write_text(tmp_path / "metrics.json", '{"iteration": 2, "a": 1}\n[1]\n{"iteration": 4}\n{"iter')
    assert read_metrics(tmp_path) == [{"iteration": 2, "a": 1}, {"iteration": 4}]


def test_a_table_that_cannot_be_written_is_told_once(tmp_path, warnings_of):
    JSONWriter(tmp_path).write(1, {"loss": 1.0})
    (tmp_path / "metrics.csv").mkdir()
    writer = CSVWriter(tmp_path)
    writer.evaluated()
    writer.evaluated()
    assert len(warnings_of) == 1
    assert "metrics.csv" in warnings_of[0]
    assert "training goes on" in warnings_of[0]


def read_events(folder):
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    return events.Reload()


def test_tensorboard_has_numbers_pictures_and_the_settings_that_runs_are_compared_by(tmp_path):
    writer = TensorboardWriter(tmp_path, settings={"SOLVER.BASE_LR": 0.1, "A": "b"}, scores=["mAP"])
    writer.write(1, {"mAP": 40.0, "lr/heads": 0.5})
    writer.picture(1, "ranks", Image.new("RGB", (4, 4)))
    writer.close(finished=True)
    events = read_events(tmp_path)
    assert [event.value for event in events.Scalars("lr/heads")] == [0.5]
    assert events.Tags()["images"] == ["ranks"]
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["SOLVER.BASE_LR"].number_value == 0.1
    assert settings["A"].string_value == "b"
    assert "_hparams_/session_end_info" in events.summary_metadata


def test_what_was_written_of_steps_that_are_done_again_is_hidden(tmp_path):
    for start in (0, 2):
        writer = TensorboardWriter(tmp_path, iteration=start)
        for step in range(start + 1, 5):
            writer.write(step, {"loss": start + step})
        writer.close(finished=False)
    events = read_events(tmp_path)
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1), (2, 2), (3, 5), (4, 6)]
    assert "_hparams_/session_end_info" not in events.summary_metadata


def test_a_line_is_on_the_disk_once_it_is_written(tmp_path):
    writer = TensorboardWriter(tmp_path)
    writer.write(1, {"loss": 1.0})
    assert [event.value for event in read_events(tmp_path).Scalars("loss")] == [1.0]
    writer.close(finished=False)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_under_tensorboard_is_told_once_and_training_goes_on(tmp_path, warnings_of):
    before = set(threading.enumerate())
    writer = TensorboardWriter(tmp_path)
    (events,) = tmp_path.glob("events.out.tfevents*")
    events.unlink()
    events.symlink_to("/dev/full")
    for step in range(1, 6):
        writer.write(step, {"loss": 1.0})
        writer.picture(step, "inputs", Image.new("RGB", (4, 4)))
    writer.close(finished=True)
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)  # TensorBoard's own, which dies of it; what it says belongs to this test
    assert len(warnings_of) == 1
    assert "No space left on device" in warnings_of[0]


def test_a_folder_that_tensorboard_cannot_write_is_told_once(tmp_path, warnings_of):
    write_text(tmp_path / "file", "")
    writer = TensorboardWriter(tmp_path / "file" / "run")
    writer.write(1, {"loss": 1.0})
    writer.close(finished=True)
    assert len(warnings_of) == 1


def test_points_are_whole_patents_spread_over_the_list():
    patents = [f"p{row // 2}" for row in range(8)]
    assert chosen_rows(patents, 8) == list(range(8))
    assert chosen_rows(patents, 100) == list(range(8))
    assert chosen_rows(patents, 4) == [0, 1, 4, 5]
    assert chosen_rows(patents, 3) == [0, 1, 6]


def test_the_projector_finds_the_newest_features_with_their_drawings(tmp_path):
    (tmp_path / "events.out.tfevents.1").touch()
    for step in (5, 9):
        write_points(tmp_path, step, "Generated", points())
    context = TBContext(logdir=str(tmp_path), multiplexer=SimpleNamespace(RunPaths=lambda: {".": str(tmp_path)}))
    configs, _ = projector_plugin.ProjectorPlugin(context)._read_latest_config_files([(".", str(tmp_path))])
    (shown,) = configs["."].embeddings
    assert shown.tensor_name == "Generated after step 9"
    assert list(shown.tensor_shape) == [8, 3]
    stored = np.fromfile(tmp_path / shown.tensor_path, np.float32).reshape(8, 3)
    assert np.array_equal(stored, points().features)
    assert (tmp_path / shown.metadata_path).read_text().splitlines()[:2] == ["patent\tdrawing", "p0\t0.png"]
    sprite = np.array(Image.open(tmp_path / shown.sprite.image_path))
    assert sprite.shape == (3 * SPRITE_PX, 3 * SPRITE_PX)
    middle = sprite[SPRITE_PX // 2 :: SPRITE_PX, SPRITE_PX // 2 :: SPRITE_PX]
    assert middle.flatten().tolist() == [*range(0, 240, 30), 255]


def test_a_rate_is_told_for_each_part_of_the_model():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    names = ["backbone.w", "backbone.bias", "heads.w"]
    groups = [{"params": [w], "names": [n], "lr": lr} for w, n, lr in zip(weights, names, (0.1, 0.2, 0.5))]
    assert learning_rates(torch.optim.SGD(groups)) == {"lr/backbone": 0.2, "lr/heads": 0.5}


def test_settings_are_told_as_numbers_or_words_and_only_where_they_were_changed():
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.BASE_LR", "0.5", "SOLVER.AMP.ENABLED", "True", "DATASETS.NAMES", "Patent"])
    assert changed_settings(cfg) == {
        "SOLVER.BASE_LR": 0.5,
        "SOLVER.AMP.ENABLED": "True",
        "DATASETS.NAMES": "['Patent']",
    }


def test_a_writer_of_one_s_own_overrides_what_it_needs():
    writer = Writer()
    writer.write(1, {})
    writer.picture(1, "a", Image.new("L", (1, 1)))
    writer.points(1, "a", points())
    writer.evaluated()
    writer.close(finished=True)


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe{", b'{"iteration": "x"}', b'{"iteration": null}', b'{"iteration": true}', b"[1]"]
)
def test_a_run_goes_on_over_a_damaged_line_of_its_metrics_and_tells_it(damage, tmp_path, caplog):
    fill(tmp_path, LINES[:2])
    path = tmp_path / "metrics.json"
    whole = path.read_bytes()
    path.write_bytes(damage + b"\n" + whole)
    fill(tmp_path, [], iteration=2)
    assert path.read_bytes() == whole
    assert "1 damaged lines are left out, first 1" in caplog.text


def test_what_is_no_number_is_no_metric(tmp_path):
    write_text(tmp_path / "metrics.json", '{"iteration": 1, "loss": "abc", "time": [1], "mAP": true, "lr": 0.5}\n')
    assert read_metrics(tmp_path) == [{"iteration": 1, "lr": 0.5}]
