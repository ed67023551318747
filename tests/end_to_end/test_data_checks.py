import json

from commands import TINY, run


def test_check_data_reports_errors_by_exit_code(drawings, tmp_path):
    options = ("--config-file", TINY, "--output", tmp_path, "DATASETS.ROOT", drawings)
    code, output, errors = run("data check", *options, folder=tmp_path)
    assert (code, errors) == (0, "")
    assert "Generated train: " in output
    assert json.loads((tmp_path / "data.json").read_text())["was_decoded"]
    assert (tmp_path / "data.png").read_bytes()[1:4] == b"PNG"
    code, output, errors = run("data check", *options, "DATASETS.TESTS", "Patent", folder=tmp_path)
    assert code == 2
    assert "errors:\n  list (1)" in output
    assert errors == f"the data has 1 error; see {tmp_path}/data.json\n"
