import errno
import json
import os
import re
import shutil

import pytest
from commands import TINY, run, run_here

from fastreid.utils.files import open_regular_file


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


@pytest.mark.parametrize("on_bad_image", ["stop", "skip"])
def test_check_data_tells_read_errors_from_invalid_data(on_bad_image, drawings, tmp_path, monkeypatch):
    broken = next(drawings.rglob("train_patent_trn.txt")).read_text().split()[0]

    def fail(path, flags):
        if os.fspath(path).endswith(broken):
            raise OSError(errno.EIO, "Input/output error")
        return open_regular_file(path, flags)

    monkeypatch.setattr("fastreid.data.io.image.open_regular_file", fail)
    options = ("--config-file", TINY, "--headers", "--output", tmp_path, "DATASETS.ROOT", drawings)
    code, output, errors = run_here("data check", *options, "INPUT.ON_BAD_IMAGE", on_bad_image, folder=tmp_path)
    assert (code, errors) == (
        5,
        "1 file could not be read because of the machine, not of the data, so the check is not complete; see "
        f"{tmp_path}/data.json\n",
    )
    assert "errors:\n  read error (1)\n" in output
    assert f"{broken}: cannot be read: Input/output error; check the disk or the network drive" in output


def test_test_set_without_known_ids_is_a_warning(drawings, trained, tmp_path):
    root = shutil.copytree(drawings, tmp_path / "data")
    for name in ("val_query_patent.txt", "val_db_patent.txt"):
        path = next(root.rglob(name))
        path.write_text("".join(f"{line.rpartition(' ')[0]} -1\n" for line in path.read_text().splitlines()))
    options = ("--config-file", TINY, "DATASETS.ROOT", root, "OUTPUT_DIR", "out")
    code, output, errors = run_here("data check", *options, folder=tmp_path)
    assert (code, errors) == (0, "")
    assert "errors:" not in output
    assert re.search(
        r"\n  test \(1\)\n    training would stop, `fastreid test` would not: \w+, the first of DATASETS.TESTS, has no",
        output,
    )
    code, _, errors = run_here("train", *options, folder=tmp_path)
    assert (code, "so it cannot choose the best model" in errors) == (2, True)
    assert run_here("test", *options, "MODEL.WEIGHTS", trained / "model_best.pth", folder=tmp_path)[0] == 0
