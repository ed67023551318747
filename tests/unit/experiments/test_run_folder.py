import pytest

from fastreid.experiments.run_folder import TABLE, UNFINISHED, check_settings, finish, is_done, remove_weights
from fastreid.utils.errors import InputError

DEFAULTS = "SOLVER: {MAX_EPOCH: 9, BASE_LR: 0.1}\nTEST: {TOP_K: 10}\nDATALOADER: {NUM_WORKERS: 8}\nNEW: 1\n"


@pytest.fixture
def tested(tmp_path):
    """A folder whose tests are over, on two sets."""
    (tmp_path / "Second").mkdir()
    for name in (UNFINISHED, f"Second/{UNFINISHED}", "model_final.pth", "model_0001.pth", "last_checkpoint"):
        (tmp_path / name).write_text(name)
    return tmp_path


def checkpoints(folder):
    return sorted(path.name for path in folder.glob("*.pth"))


def test_a_run_is_done_when_all_its_sets_are_tested_and_its_checkpoints_then_go(tested):
    assert not is_done(tested)
    finish(tested, ["Second"], keep_weights=False)
    assert sorted(path.name for path in tested.rglob("*") if path.is_file()) == [TABLE, TABLE]


def test_checkpoints_that_are_to_be_kept_are_kept_by_later_starts_too(tested):
    finish(tested, ["Second"], keep_weights=True)
    remove_weights(tested)
    assert checkpoints(tested) == ["model_0001.pth", "model_final.pth"]


@pytest.mark.parametrize("killed_at", ["os.replace", "pathlib.Path.unlink"])
def test_what_a_kill_at_the_end_left_is_removed_by_the_next_start_or_the_run_is_not_done(
    killed_at, tested, monkeypatch
):
    def kill(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(killed_at, kill)
        with pytest.raises(KeyboardInterrupt):
            finish(tested, ["Second"], keep_weights=False)
    remove_weights(tested)
    assert is_done(tested) == (killed_at == "pathlib.Path.unlink")
    assert checkpoints(tested) == ([] if is_done(tested) else ["model_0001.pth", "model_final.pth"])


def kept(folder, text):
    (folder / "config.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("text", ["DATALOADER: {NUM_WORKERS: 0}\nOUTPUT_DIR: elsewhere\n", "NEW: 1\n"])
def test_settings_that_change_no_result_and_those_a_run_did_not_know_may_differ(text, tmp_path):
    check_settings(kept(tmp_path, text), f"{DEFAULTS}OUTPUT_DIR: here\n", defaults=f"{DEFAULTS}OUTPUT_DIR: logs\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("SOLVER: {BASE_LR: 0.2}\n", r"other settings \(SOLVER.BASE_LR was 0.2 and is 0.1\); remove it"),
        ("SOLVER: {MAX_EPOCH: 3}\n", "SOLVER.MAX_EPOCH was 3 and is 9"),
        ("TEST: {TOP_K: 5}\n", "TEST.TOP_K was 5 and is 10"),
        ("- a\n", "config.yaml: cannot be read as settings"),
        ("a: [\n", "config.yaml: cannot be read as settings"),
    ],
)
def test_a_run_by_other_settings_is_told_by_their_names(text, told, tmp_path):
    with pytest.raises(InputError, match=told):
        check_settings(kept(tmp_path, text), DEFAULTS, defaults=DEFAULTS)


def test_a_done_run_without_its_settings_is_refused(tmp_path):
    check_settings(tmp_path, DEFAULTS, defaults=DEFAULTS)
    (tmp_path / TABLE).write_text("")
    with pytest.raises(InputError, match=r"holds queries\.csv and no config\.yaml"):
        check_settings(tmp_path, DEFAULTS, defaults=DEFAULTS)
