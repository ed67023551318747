import re

import pytest
from house import PAGES, ROOT, TOOLS, label

BLOCK = re.compile(r"(<!-- not run: .+? -->\n+)?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_the_code_of_a_page_runs(path, monkeypatch, capsys):
    """Blocks of a page follow each other; one that needs a trained network or data says `<!-- not run: why -->`."""
    monkeypatch.chdir(ROOT)
    names = {"__name__": "docs"}
    for not_run, code in BLOCK.findall(path.read_text(encoding="utf-8")):
        compiled = compile(code, label(path), "exec")
        if not not_run and path.name != "README.md":  # the README shows the way from a trained network on
            exec(compiled, names)


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
