import pytest

from fastreid.experiments.run_folder import (
    TABLE_FILE,
    UNFINISHED_TABLE_FILE,
    check_settings,
    finish_run,
    is_finished,
    remove_weights,
)
from fastreid.utils.errors import InputError

DEFAULTS = "SOLVER: {MAX_EPOCH: 9, BASE_LR: 0.1}\nTEST: {TOP_K: 10}\nDATALOADER: {NUM_WORKERS: 8}\nNEW: 1\n"


@pytest.fixture
def tested_folder(tmp_path):
    """Return the folder of a run that was tested on two datasets."""
    (tmp_path / "Second").mkdir()
    for name in (
        UNFINISHED_TABLE_FILE,
        f"Second/{UNFINISHED_TABLE_FILE}",
        "model_final.pth",
        "model_0001.pth",
        "last_checkpoint",
    ):
        (tmp_path / name).write_text(name)
    return tmp_path


def checkpoints(folder):
    return sorted(path.name for path in folder.glob("*.pth"))


def test_finish_run_removes_checkpoints(tested_folder):
    assert not is_finished(tested_folder)
    finish_run(tested_folder, ["Second"], keep_weights=False)
    assert sorted(path.name for path in tested_folder.rglob("*") if path.is_file()) == [TABLE_FILE, TABLE_FILE]


def test_kept_checkpoints_survive_later_starts(tested_folder):
    finish_run(tested_folder, ["Second"], keep_weights=True)
    remove_weights(tested_folder)
    assert checkpoints(tested_folder) == ["model_0001.pth", "model_final.pth"]


@pytest.mark.parametrize("killed_at", ["os.replace", "pathlib.Path.unlink"])
def test_kill_during_finish_is_completed_by_next_start(killed_at, tested_folder, monkeypatch):
    def kill(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(killed_at, kill)
        with pytest.raises(KeyboardInterrupt):
            finish_run(tested_folder, ["Second"], keep_weights=False)
    remove_weights(tested_folder)
    assert is_finished(tested_folder) == (killed_at == "pathlib.Path.unlink")
    assert checkpoints(tested_folder) == ([] if is_finished(tested_folder) else ["model_0001.pth", "model_final.pth"])


def write_config(folder, text):
    (folder / "config.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("text", ["DATALOADER: {NUM_WORKERS: 0}\nOUTPUT_DIR: elsewhere\n", "NEW: 1\n"])
def test_settings_without_effect_on_results_may_differ(text, tmp_path):
    check_settings(
        write_config(tmp_path, text), f"{DEFAULTS}OUTPUT_DIR: here\n", defaults=f"{DEFAULTS}OUTPUT_DIR: logs\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SOLVER: {BASE_LR: 0.2}\n", r"other settings \(SOLVER.BASE_LR was 0.2 and is 0.1\); remove it"),
        ("SOLVER: {MAX_EPOCH: 3}\n", "SOLVER.MAX_EPOCH was 3 and is 9"),
        ("TEST: {TOP_K: 5}\n", "TEST.TOP_K was 5 and is 10"),
        ("- a\n", "config.yaml: cannot be read as settings"),
        ("a: [\n", "config.yaml: cannot be read as settings"),
    ],
)
def test_run_with_other_settings_is_rejected(text, message, tmp_path):
    with pytest.raises(InputError, match=message):
        check_settings(write_config(tmp_path, text), DEFAULTS, defaults=DEFAULTS)


def test_finished_run_without_config_is_rejected(tmp_path):
    check_settings(tmp_path, DEFAULTS, defaults=DEFAULTS)
    (tmp_path / TABLE_FILE).write_text("")
    with pytest.raises(InputError, match=r"contains queries\.csv but no config\.yaml"):
        check_settings(tmp_path, DEFAULTS, defaults=DEFAULTS)
