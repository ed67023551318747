import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastreid.engine.monitors import build_runs
from fastreid.experiments.comparison import different_settings, outcomes, told_metrics
from fastreid.experiments.curves import COLOURS, draw_curves, ticks
from fastreid.utils.errors import InputError
from fastreid.utils.files import write_text

TOOL = Path(__file__).parents[3] / "tools/compare_runs.py"
LINES = [
    {"iteration": 2, "total_loss": 3.0, "time": 0.5},
    {"iteration": 4, "total_loss": 2.0, "time": 1.0, "patent/mAP": 50.0, "mAP": 40.0},
    {"iteration": 6, "total_loss": 2.5, "time": 2.0, "patent/mAP": 60.0, "mAP": 30.0},
]
OLDER = [{"iteration": 3, "total_loss": 9.0, "accuracy": 0.5}]


@pytest.fixture
def folders(tmp_path):
    """A run, and one of an older version that told less and knew fewer settings."""
    for name, lines, config in (("new", LINES, "SOLVER: {BASE_LR: 0.1}\nSEED: 1"), ("old", OLDER, "SEED: 1")):
        write_text(tmp_path / name / "metrics.json", "".join(f"{json.dumps(line)}\n" for line in lines))
        write_text(tmp_path / name / "config.yaml", config)
    return [str(tmp_path / name) for name in ("new", "old")]


def test_settings_that_differ_are_told_with_the_default_of_a_run_that_did_not_know_one(folders):
    assert different_settings(build_runs(folders)) == [["SOLVER.BASE_LR", "0.1", "0.0003"]]


def test_a_run_without_settings_has_none_to_tell(folders):
    (Path(folders[1]) / "config.yaml").unlink()
    assert ["SOLVER.BASE_LR", "0.1", "-"] in different_settings(build_runs(folders))


def test_outcomes_are_last_and_best_and_a_loss_is_best_when_low(folders):
    runs = build_runs(folders)
    assert outcomes(runs, ["total_loss", "mAP", "patent/mAP"]) == [
        ["steps", "6", "3"],
        ["seconds in steps", "7", "-"],
        ["total_loss", "2.5 (best 2)", "9"],
        ["mAP", "30 (best 40)", "-"],
        ["patent/mAP", "60", "-"],
    ]


def test_what_is_compared_are_losses_and_scores_each_once(folders):
    assert told_metrics(build_runs(folders)) == ["total_loss", "mAP", "patent/mAP"]


def test_runs_are_called_by_what_tells_them_apart(tmp_path):
    places = [tmp_path / "a/seed0", tmp_path / "b/seed0", tmp_path / "b/seed1"]
    for place in places:
        write_text(place / "metrics.json", '{"iteration": 1}\n')
    assert [run.name for run in build_runs([str(place) for place in places])] == ["a/seed0", "b/seed0", "b/seed1"]
    assert [run.name for run in build_runs([str(place) for place in places[:2]])] == ["a", "b"]
    assert [run.name for run in build_runs([str(places[0])])] == ["seed0"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "metrics.json").unlink(), "no line of metrics.json"),
        (lambda folder: write_text(folder / "config.yaml", "a: [1"), "not the settings of a run"),
        (lambda folder: write_text(folder / "config.yaml", "a word"), "not the settings of a run"),
    ],
)
def test_a_folder_that_holds_no_run_is_refused(change, words, folders):
    change(Path(folders[1]))
    with pytest.raises(InputError, match=words):
        build_runs(folders)


def test_a_run_named_twice_is_refused(folders):
    with pytest.raises(InputError, match="twice"):
        build_runs([folders[0], f"{folders[0]}/../new"])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 18, [0, 5, 10, 15, 20]), (9.7, 12.7, [9, 10, 11, 12, 13]), (0, 0, [0, 0.2, 0.4, 0.6, 0.8, 1])],
)
def test_ticks_are_round_and_hold_all_values(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("value", [-3.0, 1e-9, 2.5e7])
def test_a_value_that_never_changes_has_ticks_around_it(value):
    found = ticks(value, value)
    assert found[0] < value < found[-1]


def test_a_curve_has_the_colour_of_its_run_and_lies_where_its_values_are():
    image = draw_curves({"mAP": {"b": [(0, 10), (100, 10)]}, "loss": {"a": [(1, 0.0)]}}, ["a", "b"])
    pixels = np.array(image)
    colour = np.array([int(COLOURS[1][place : place + 2], 16) for place in (1, 3, 5)])
    rows = np.flatnonzero((pixels[60:, :450] == colour).all(axis=2).any(axis=1)) + 60
    assert rows.tolist() == [197]  # a legend of 56 px and a title of 26, and half of 230


def tool():
    spec = importlib.util.spec_from_file_location("compare_runs", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_prints_tables_and_leaves_a_picture(folders, tmp_path, capsys):
    assert tool().main([*folders, "--output", str(tmp_path / "x.png")]) == 0
    output = capsys.readouterr().out
    assert "SOLVER.BASE_LR" in output
    assert "30 (best 40)" in output
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.width > 900


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--metrics", "mAPP"], "no run tells 'mAPP'. Did you mean 'mAP'"), (["--output", "x.jpg"], "in .png")],
)
def test_a_wrong_word_is_refused(options, words, folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        tool().main([*folders, *options])
