import json

from commands import TINY, run


def test_a_data_set_is_checked_from_the_shell_and_what_must_be_mended_is_an_exit_code(drawings, tmp_path):
    words = ("--config-file", TINY, "--output", tmp_path, "DATASETS.ROOT", drawings)
    code, output, errors = run("check_data.py", *words, folder=tmp_path)
    assert (code, errors) == (0, "")
    assert "Generated train: " in output
    assert json.loads((tmp_path / "data.json").read_text())["was_decoded"]
    assert (tmp_path / "data.png").read_bytes()[1:4] == b"PNG"
    code, output, errors = run("check_data.py", *words, "DATASETS.TESTS", "Patent", folder=tmp_path)
    assert code == 2
    assert "to be mended:\n  list (1)" in output
    assert errors == f"3 to be mended; all stand in {tmp_path}/data.json\n"
