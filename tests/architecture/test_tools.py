"""The `fastreid` command and the scripts in tools/."""

import importlib.util
import inspect
import itertools
import re
import subprocess
import sys

import pytest
from source_tree import ROOT, TOOLS, label, tree

from fastreid.cli.main import COMMANDS
from fastreid.cli.predict import CONFIG_KEY
from fastreid.config import get_cfg
from fastreid.config.locate import find_config

CHALLENGE_OPTIONS = (
    "--config-file --eval-only --resume --num-gpus --num-machines --machine-rank --dist-url "
    "--rendezvous-timeout --quiet --debug --help"
)


def load(path):
    spec = importlib.util.spec_from_file_location(f"tool_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tools_are_those_of_the_challenge():
    assert {path.name for path in TOOLS} == {"train_net.py", "test.py", "plain_train_net.py"}


@pytest.mark.parametrize("path", TOOLS, ids=label)
def test_tool_is_a_short_script_with_a_main_function(path):
    [argv] = inspect.signature(load(path).main).parameters.values()
    assert argv.default is None
    text = path.read_text(encoding="utf-8")
    assert text.endswith('if __name__ == "__main__":\n    sys.exit(run_tool(main))\n')
    assert len(text.splitlines()) < 100


@pytest.mark.parametrize("name", ["train_net.py", "test.py", "plain_train_net.py"])
def test_tool_has_exactly_the_options_of_the_challenge(name, capsys):
    with pytest.raises(SystemExit) as end:
        load(ROOT / "tools" / name).main(["--help"])
    assert end.value.code == 0
    assert set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) == set(CHALLENGE_OPTIONS.split())


def test_one_module_per_command():
    modules = {path.stem for path in (ROOT / "fastreid/cli").glob("*.py") if "COMMAND = Command(" in path.read_text()}
    assert modules == {command.name.replace(" ", "_").replace("-", "_") for command in COMMANDS}


def test_examples_of_commands_name_existing_configs_and_settings():
    for command in COMMANDS:
        words = command.example.split()
        for before, word in itertools.pairwise(words):
            if before in ("--config-file", "--variants"):
                assert find_config(word, variants=before == "--variants")
            assert not CONFIG_KEY.fullmatch(word) or word in flat_keys(), command.example


def flat_keys(section=None, prefix=""):
    section = get_cfg() if section is None else section
    names = set()
    for name, value in section.items():
        names |= flat_keys(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}"}
    return names


def test_module_runs_as_command():
    done = subprocess.run([sys.executable, "-m", "fastreid", "configs"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_commands_import_heavy_packages_only_when_they_run():
    heavy = ("fastreid.engine", "fastreid.evaluation", "fastreid.experiments", "fastreid.data", "fastreid.synthetic")
    for path in (ROOT / "fastreid/cli").glob("*.py"):
        found = [node for node in tree(path).body if type(node).__name__ == "ImportFrom"]
        assert [node.module for node in found if node.module.startswith((*heavy, "torch", "numpy"))] == [], path
