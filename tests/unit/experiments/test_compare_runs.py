import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastreid.cli.main import main
from fastreid.experiments.comparison import different_settings, logged_metrics, read_runs, summarize_outcomes
from fastreid.experiments.curves import COLORS, PANEL_PX, choose_ticks, plot_curves
from fastreid.utils.errors import InputError
from fastreid.utils.files import write_text

LINES = [
    {"iteration": 2, "total_loss": 3.0, "time": 0.5},
    {"iteration": 4, "total_loss": 2.0, "time": 1.0, "patent/mAP": 50.0, "mAP": 40.0},
    {"iteration": 6, "total_loss": 2.5, "time": 2.0, "patent/mAP": 60.0, "mAP": 30.0},
]
OLDER = [{"iteration": 3, "total_loss": 9.0, "accuracy": 0.5}]


@pytest.fixture
def folders(tmp_path):
    """Return the folders of a run and of a run of an older version with fewer metrics and settings."""
    for name, lines, config in (("new", LINES, "SOLVER: {BASE_LR: 0.1}\nSEED: 1"), ("old", OLDER, "SEED: 1")):
        write_text(tmp_path / name / "metrics.json", "".join(f"{json.dumps(line)}\n" for line in lines))
        write_text(tmp_path / name / "config.yaml", config)
    return [str(tmp_path / name) for name in ("new", "old")]


def test_different_settings_use_defaults_for_missing_ones(folders):
    assert different_settings(read_runs(folders)) == [["SOLVER.BASE_LR", "0.1", "0.0003"]]


def test_run_without_config_has_unknown_settings(folders):
    (Path(folders[1]) / "config.yaml").unlink()
    assert ["SOLVER.BASE_LR", "0.1", "-"] in different_settings(read_runs(folders))


def test_outcomes_are_last_and_best_values(folders):
    runs = read_runs(folders)
    assert summarize_outcomes(runs, ["total_loss", "mAP", "patent/mAP"]) == [
        ["steps", "6", "3"],
        ["seconds in steps", "7", "-"],
        ["total_loss", "2.5 (best 2)", "9"],
        ["mAP", "30 (best 40)", "-"],
        ["patent/mAP", "60", "-"],
    ]


def test_logged_metrics_are_losses_and_scores(folders):
    assert logged_metrics(read_runs(folders)) == ["total_loss", "mAP", "patent/mAP"]


def test_runs_are_named_by_distinct_path_parts(tmp_path):
    run_folders = [tmp_path / "a/seed0", tmp_path / "b/seed0", tmp_path / "b/seed1"]
    for folder in run_folders:
        write_text(folder / "metrics.json", '{"iteration": 1}\n')
    assert [run.name for run in read_runs([str(folder) for folder in run_folders])] == ["a/seed0", "b/seed0", "b/seed1"]
    assert [run.name for run in read_runs([str(folder) for folder in run_folders[:2]])] == ["a", "b"]
    assert [run.name for run in read_runs([str(run_folders[0])])] == ["seed0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "metrics.json").unlink(), "contains no line of metrics.json"),
        (lambda folder: write_text(folder / "config.yaml", "a: [1"), "not the settings of a run"),
        (lambda folder: write_text(folder / "config.yaml", "a word"), "not the settings of a run"),
    ],
)
def test_folder_without_run_is_rejected(change, message, folders):
    change(Path(folders[1]))
    with pytest.raises(InputError, match=message):
        read_runs(folders)


def test_duplicate_run_is_rejected(folders):
    with pytest.raises(InputError, match="twice"):
        read_runs([folders[0], f"{folders[0]}/../new"])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 18, [0, 5, 10, 15, 20]), (9.7, 12.7, [9, 10, 11, 12, 13]), (0, 0, [0, 0.2, 0.4, 0.6, 0.8, 1])],
)
def test_ticks_are_round_and_enclose_the_values(low, high, expected):
    assert choose_ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("value", [-3.0, 1e-9, 2.5e7])
def test_ticks_around_a_constant_value(value):
    found = choose_ticks(value, value)
    assert found[0] < value < found[-1]


@pytest.mark.parametrize(("low", "high"), [(80, 80), (70, 70), (100, 100), (33.3, 100), (95, 100), (0, 0), (99.9, 100)])
def test_ticks_of_percentages_end_at_100(low, high):
    found = choose_ticks(low, high, limit=100)
    assert len(found) > 2
    assert found[0] <= low <= high <= found[-1] <= 100


def test_axis_of_a_score_ends_at_100(folders, tmp_path, monkeypatch):
    ends = []
    monkeypatch.setattr(
        "fastreid.experiments.curves.choose_ticks",
        lambda low, high, **options: ends.append(choose_ticks(low, high, **options)[-1]) or choose_ticks(low, high),
    )
    for folder in folders:
        write_text(Path(folder) / "metrics.json", '{"iteration": 2, "average/mAP": 80.0, "total_loss": 80.0}\n')
    main(["compare", *folders, "--output", str(tmp_path / "x.png"), "--metrics", "average/mAP,total_loss"])
    assert ends[1::2] == [100, 120]


def test_one_run_has_no_comparison_of_settings(folders, tmp_path, capsys):
    main(["compare", folders[0], "--output", str(tmp_path / "x.png")])
    output = capsys.readouterr().out
    assert "one run was given" in output
    assert "settings are equal" not in output


def test_curve_has_the_color_and_position_of_its_values():
    image = plot_curves({"mAP": {"b": [(0, 10), (100, 10)]}, "loss": {"a": [(1, 0.0)]}}, ["a", "b"])
    pixels = np.array(image)
    color = np.array([int(COLORS[1][place : place + 2], 16) for place in (1, 3, 5)])
    rows = np.flatnonzero((pixels[60:, :450] == color).all(axis=2).any(axis=1)) + 60
    assert rows.tolist() == [197]  # a legend of 56 px and a title of 26, and half of 230


def test_axes_have_names():
    """The name below the curves is dark text there, and that to their left is higher than wide."""
    image = np.array(plot_curves({"total_loss": {"a": [(0, 1.0), (50, 2.0)]}}, ["a"]).convert("L")) < 128
    legend, bottom = 32, 32 + PANEL_PX[1]
    rows, columns = np.nonzero(image[bottom - 18 : bottom])
    assert len(rows) > 20
    assert 230 < columns.mean() < 320  # centered below the curves
    rows, columns = np.nonzero(image[legend:bottom, :18])
    assert np.ptp(rows) > 3 * np.ptp(columns) > 0


def test_command_prints_tables_and_writes_curves(folders, tmp_path, capsys):
    assert main(["compare", *folders, "--output", str(tmp_path / "x.png")]) == 0
    output = capsys.readouterr().out
    assert "SOLVER.BASE_LR" in output
    assert "30 (best 40)" in output
    with Image.open(tmp_path / "x.png") as image:
        assert image.width > 900


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--metrics", "mAPP"], "no run has the metric 'mAPP'. Did you mean 'mAP'"), (["--output", "x.jpg"], "in .png")],
)
def test_invalid_options_are_rejected(options, message, folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        main(["compare", *folders, *options])
