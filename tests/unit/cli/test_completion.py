"""Completion scripts: valid for their shell, with all commands and options."""

import shutil
import subprocess

import pytest

from fastreid.cli.main import COMMANDS, main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_contains_commands_and_options(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command in COMMANDS:
        assert command.name.split()[-1] in script
    assert "max-size" in script


def test_bash_completes_commands_and_options(capsys, tmp_path):
    if not shutil.which("bash"):
        pytest.skip("bash is not installed")
    main(["completion", "bash"])
    (tmp_path / "fastreid").write_text(capsys.readouterr().out)
    program = """source fastreid; complete -p fastreid >/dev/null
COMP_WORDS=(fastreid %s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _shtab_fastreid; echo "${COMPREPLY[@]}" """
    for words, expected in (("tra", "train"), ("data ch", "check"), ("train --res", "--resume")):
        done = subprocess.run(["bash", "-c", program % words], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [expected], done.stderr
