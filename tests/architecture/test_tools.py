import importlib.util
import inspect
import re

import pytest
from source_tree import ROOT, TOOLS, label

SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")


def load(path):
    spec = importlib.util.spec_from_file_location(f"tool_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", TOOLS, ids=label)
def test_a_tool_has_a_main_for_python_and_a_cli_for_the_shell(path):
    tool = load(path)
    [argv] = inspect.signature(tool.main).parameters.values()
    assert argv.default is None
    assert not inspect.signature(tool.cli).parameters
    assert path.read_text(encoding="utf-8").endswith('if __name__ == "__main__":\n    sys.exit(cli())\n')


@pytest.mark.parametrize("path", TOOLS, ids=label)
def test_a_tool_explains_itself(path, capsys):
    with pytest.raises(SystemExit) as end:
        load(path).main(["--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert "usage:" in told
    assert "--quiet" in told
    assert "--debug" in told
    assert "    return run_tool(main)\n" in path.read_text(encoding="utf-8"), "what gives those two their meaning"


def test_the_installed_commands_are_tools_of_ours():
    commands = dict(re.findall(r'"(fastreid-[a-z-]+) = fastreid_tools\.(\w+):cli"', SETUP))
    words = (
        "train",
        "test",
        "extract",
        "tune-postprocessing",
        "ablate",
        "check-data",
        "prepare",
        "find-batch-size",
        "make-drawings",
        "show-augmentations",
        "compare-runs",
        "measure-drawings",
    )
    assert set(commands) == {f"fastreid-{word}" for word in words}
    assert set(commands.values()) <= {path.stem for path in TOOLS}
