import os
import re
import subprocess
import sys

import pytest
from source_tree import PAGES, ROOT, TOOLS, label

BLOCK = re.compile(r"(<!-- not run: .+? -->\n+)?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def code_of(path) -> tuple[str, list[str]]:
    """The blocks that run, one after the other, and those that only have to be Python."""
    blocks = BLOCK.findall(path.read_text(encoding="utf-8"))
    shown = path.name == "README.md"  # it shows the way from a trained network on
    return "\n".join(code for note, code in blocks if not (note or shown)), [code for _, code in blocks]


@pytest.mark.parametrize("path", [path for path in PAGES if code_of(path)[1]], ids=label)
def test_the_code_of_a_page_runs(path):
    """Blocks of a page follow each other; one that needs a trained network or data says `<!-- not run: why -->`."""
    runs, all_blocks = code_of(path)
    for code in all_blocks:
        compile(code, label(path), "exec")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if runs:
        done = subprocess.run([sys.executable, "-c", runs], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    assert [link for link in LINK.findall(text) if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_the_tools_and_configs_a_page_names_exist(path):
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"python (tools/\w+\.py)|--config-file (configs/[\w./-]+\.yml)", text)
    assert [name for pair in named for name in pair if name and not (ROOT / name).is_file()] == []


def test_every_tool_is_told_of_in_some_page():
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    assert [path.name for path in TOOLS if path.name not in text] == []


def test_the_tests_a_page_names_exist():
    text = "".join(path.read_text(encoding="utf-8") for path in [*PAGES, *(ROOT / "docs/decisions").glob("*.md")])
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in re.findall(r"`(test_\w+)`", text) if f"def {name}(" not in tests] == []
