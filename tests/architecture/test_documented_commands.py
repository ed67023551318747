"""Every command line of README, docs, configs and help texts is accepted, with its config and its settings."""

import re
import shlex

import pytest
from source_tree import CONFIGS, PAGES, ROOT, ROWS, label

from fastreid.cli.main import COMMANDS, build_parser
from fastreid.cli.predict import split_settings
from fastreid.engine.setup import load_config

IN_FENCE = re.compile(r"```(?:bash|sh|console)\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`((?:fastreid|python tools/\S+) [^`]*--config-file [^`]+)`")
NOT_A_COMMAND = re.compile(r"[$\[]|SETTING")  # shell variables of the lab notebook, and syntax such as [--resume]
SCRIPTS = {"tools/train_net.py": "train", "tools/plain_train_net.py": "train", "tools/test.py": "test"}


def join_continued_lines(text):
    return re.sub(r"\\\n\s*(#\s*)?", " ", text)


def list_commands():
    lines = [(f"{command.name} --help", command.example) for command in COMMANDS]
    for page in (*PAGES, ROOT / "CONTRIBUTING.md"):
        text = page.read_text(encoding="utf-8")
        shell = [line for block in IN_FENCE.findall(text) for line in join_continued_lines(block).splitlines()]
        lines += [(label(page), line.strip()) for line in (*shell, *INLINE.findall(text))]
    for config in (*CONFIGS, *ROWS):
        head = join_continued_lines(config.read_text(encoding="utf-8").split("\n\n")[0])
        lines += [(label(config), line[2:]) for line in head.splitlines() if line[:2] == "# "]
    starts = ("fastreid ", *(f"python {script}" for script in SCRIPTS))
    return sorted({(name, line) for name, line in lines if line.startswith(starts) and not NOT_A_COMMAND.search(line)})


def split(line):
    words = shlex.split(line.partition(" > ")[0].replace(" FILE", " demo/stage1.yml"), comments=True)
    if words[0] == "python":
        command, words = SCRIPTS[words[1]], words[2:]
        return [command, *(word for word in words if word != "--eval-only")]
    return words[1:]


@pytest.mark.parametrize(("source", "line"), list_commands())
def test_documented_command_is_accepted(source, line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = split(line)
    if words[-1] == "--help":
        with pytest.raises(SystemExit, match=r"^0$"):
            build_parser().parse_args(words)
        return
    args = vars(build_parser().parse_args(words))
    if args.get("config_file"):
        settings = args.get("opts") or []
        load_config(args["config_file"], split_settings(settings)[1] if words[0] == "predict" else settings)
