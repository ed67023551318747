"""Configs are found by path, then among the shipped ones."""

import pytest

from fastreid.cli.main import main
from fastreid.config import get_cfg
from fastreid.config.locate import find_config, get_config_folder, list_configs, list_variant_files
from fastreid.utils.errors import InputError


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["demo/stage1.yml", "configs/demo/stage1.yml", "./demo/stage1.yml"])
def test_shipped_config_is_found_from_any_folder(name):
    assert find_config(name) == str(get_config_folder() / "demo/stage1.yml")


def test_existing_path_comes_first(working_folder):
    (working_folder / "demo").mkdir()
    (working_folder / "demo/stage1.yml").write_text("SEED: 7\n")
    assert find_config("demo/stage1.yml") == "demo/stage1.yml"


def test_base_can_be_a_shipped_config(working_folder):
    (working_folder / "mine.yml").write_text("_BASE_: patent/sbs_R101-ibn_patent_256.yml\nSEED: 7\n")
    cfg, shipped = get_cfg(), get_cfg()
    cfg.merge_from_file("mine.yml")
    shipped.merge_from_file("patent/sbs_R101-ibn_patent_256.yml")
    shipped.SEED = 7
    assert cfg == shipped


def test_relative_base_is_searched_beside_the_file_first(working_folder):
    (working_folder / "Base-SBS.yml").write_text("SEED: 8\n")
    (working_folder / "mine.yml").write_text("_BASE_: Base-SBS.yml\n")
    cfg = get_cfg()
    cfg.merge_from_file("mine.yml")
    assert cfg.SEED == 8
    assert cfg.MODEL == get_cfg().MODEL


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("demo/stag1.yml", r"Did you mean 'demo/stage1\.yml'\? `fastreid configs list`"),
        ("configs/stage1.yml", r"it is neither in .* nor in .*configs\. Did you mean 'demo/stage1\.yml'\?"),
        ("../demo/stage1.yml", r"\.\./demo/stage1\.yml: no such file; the folder is "),
        ("demo/../../setup.py", "no such file"),
        ("x" * 5000 + ".yml", "no such file"),
        ("demo", "no such file"),
        ("stge2.yml", r"Did you mean 'demo/stage2\.yml'\?"),
    ],
)
def test_error_names_what_was_tried_and_the_nearest_name(name, message):
    with pytest.raises(InputError, match=message) as error:
        find_config(name)
    assert len(str(error.value)) < 1000


def list_written(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yml"))


def test_list_prints_every_config_with_its_description(capsys):
    assert main(["configs", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heading = lines.index("variants for `fastreid ablate --variants`:")
    assert [line.split()[0] for line in lines[: heading - 1]] == list_configs()
    assert [line.split()[0] for line in lines[heading + 1 : -2]] == list_variant_files()
    assert all(len(line.split()) > 3 for line in lines if line)
    assert not any("ablations/rows" in line for line in lines[:heading])
    assert "ablations/rows/input.yml" in list_variant_files()


def test_copy_writes_configs_and_their_bases(working_folder, capsys):
    assert main(["configs", "copy", "mine", "patent/sbs_R101-ibn_patent_256.yml", "demo/test.yml"]) == 0
    written = list_written(working_folder / "mine")
    shipped = get_config_folder()
    assert {"demo/test.yml", "patent/sbs_R101-ibn_patent_256.yml", "Base-SBS.yml"} <= set(written)
    for name in written:
        assert (working_folder / "mine" / name).read_bytes() == (shipped / name).read_bytes()
    cfg, original = get_cfg(), get_cfg()
    cfg.merge_from_file("mine/patent/sbs_R101-ibn_patent_256.yml")
    original.merge_from_file("patent/sbs_R101-ibn_patent_256.yml")
    assert cfg == original


def test_copy_writes_all_configs_and_variants(working_folder):
    main(["configs", "copy", "mine"])
    assert list_written(working_folder / "mine") == sorted([*list_configs(), *list_variant_files()])
    with pytest.raises(InputError) as error:
        main(["configs", "copy", "mine"])
    num_files = len(list_written(working_folder / "mine"))
    assert f"mine: contains {num_files} of the {num_files} files, such as mine/Base-AGW.yml, and" in str(error.value)
    assert len(str(error.value)) < 200


def test_copy_writes_one_file_of_variants(working_folder):
    main(["configs", "copy", "mine", "ablations/rows/samplers.yml"])
    assert list_written(working_folder / "mine") == ["ablations/rows/samplers.yml"]


@pytest.mark.parametrize("name", ["ablations/rows/inpt.yml", "rows/input.yml", "inptu.yml"])
def test_error_names_the_nearest_file_of_variants(name):
    with pytest.raises(InputError, match=r"Did you mean 'ablations/rows/input\.yml'\? `fastreid configs list`"):
        find_config(name, variants=True)


def test_variants_are_no_config():
    with pytest.raises(InputError, match=r"not a config; use it with `fastreid ablate --variants`"):
        find_config("ablations/rows/input.yml")


def test_copy_never_overwrites(working_folder):
    (working_folder / "mine/demo").mkdir(parents=True)
    (working_folder / "mine/demo/stage2.yml").write_text("SEED: 7\n")
    with pytest.raises(InputError, match=r"mine/demo/stage2\.yml: exists and is not overwritten"):
        main(["configs", "copy", "mine", "demo/stage1.yml", "demo/stage2.yml"])
    assert [path.name for path in (working_folder / "mine").rglob("*.yml")] == ["stage2.yml"]
