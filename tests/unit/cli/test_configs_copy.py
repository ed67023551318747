"""`fastreid configs copy`: copies work where they are."""

from fastreid.cli.main import main
from fastreid.config.locate import get_config_folder
from fastreid.engine.setup import load_config


def test_folder_is_copied_with_the_bases_of_its_configs(tmp_path, capsys):
    assert main(["configs", "copy", str(tmp_path / "mine"), "own"]) == 0
    own = {file.name for file in (get_config_folder() / "own").glob("*.yml")}
    assert {file.name for file in (tmp_path / "mine/own").iterdir()} == own
    assert len(capsys.readouterr().out.splitlines()) == len(list((tmp_path / "mine").rglob("*.yml")))
    for name in own:
        assert load_config(tmp_path / "mine/own" / name).dump() == load_config(f"own/{name}").dump()


def test_file_is_copied_with_its_base(tmp_path):
    assert main(["configs", "copy", str(tmp_path), "own/small.yml"]) == 0
    copies = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.yml")}
    assert copies == {"own/small.yml", "demo/stage1.yml"}
