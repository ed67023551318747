"""Examples of the docs run, links resolve, and files, commands and tests that a page names exist."""

import importlib
import inspect
import re

import pytest
from fork_server import get_server
from source_tree import PAGES, ROOT, ROWS, TOOLS, label

from fastreid.experiments import read_variants

BLOCK = re.compile(r"(<!-- not run: .+? -->\n+)?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
ANCHOR = re.compile(r"\]\((?!https?:)([^)#]*)#([^)]+)\)")


def code_blocks(path) -> tuple[str, list[str]]:
    """Return the code of a page that can be run, as one script, and all its code blocks."""
    blocks = BLOCK.findall(path.read_text(encoding="utf-8"))
    needs_weights = path.name == "README.md"  # its example starts with a trained network
    return "\n".join(code for note, code in blocks if not (note or needs_weights)), [code for _, code in blocks]


@pytest.mark.parametrize("path", [path for path in PAGES if code_blocks(path)[1]], ids=label)
def test_code_of_page_runs(path, tmp_path):
    """The blocks of a page form one script. Those that need weights or data are marked `<!-- not run: why -->`."""
    script, blocks = code_blocks(path)
    for code in blocks:
        compile(code, label(path), "exec")
    if script:
        (tmp_path / "page.py").write_text(script, encoding="utf-8")
        process = get_server().start("fork_server:run_script", "page.py", folder=tmp_path)
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_links_resolve(path):
    text = path.read_text(encoding="utf-8")
    assert [link for link in LINK.findall(text) if not (path.parent / link).exists()] == []


def list_anchors(path):
    """Return the anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_anchors_of_links_are_headings(path):
    links = ANCHOR.findall(path.read_text(encoding="utf-8"))
    assert [link for link in links if link[1] not in list_anchors(path.parent / link[0] if link[0] else path)] == []


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_named_tools_and_configs_exist(path):
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"python (tools/\w+\.py)|--config-file (configs/[\w./-]+\.yml)", text)
    assert [name for pair in named for name in pair if name and not (ROOT / name).is_file()] == []


def test_every_tool_is_documented():
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    assert [path.name for path in TOOLS if path.name not in text] == []


def test_named_tests_exist():
    text = "".join(path.read_text(encoding="utf-8") for path in [*PAGES, *(ROOT / "docs/decisions").glob("*.md")])
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in re.findall(r"`(test_\w+)`", text) if f"def {name}(" not in tests] == []


def test_variants_in_the_lab_notebook_exist():
    text = (ROOT / "docs/lab-notebook.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| variant \|.*\n\| ---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    named = {row.split("|")[1].strip() for table in tables for row in table.splitlines()}
    variants = {variant.name for path in ROWS for variant in read_variants(path)}
    assert named - variants == {"rotate-and-shear", "scale"}  # the page states that warp replaces them


def test_api_reference_lists_all_public_names():
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    packages = [path.parent.name for path in (ROOT / "fastreid").glob("*/__init__.py")]
    modules = [importlib.import_module(f"fastreid.{name}") for name in [*packages, "structures", "engine.hooks"]]
    expected = {
        f"{module.__name__}.{name}"
        for module in modules
        for name in module.__all__
        if not inspect.ismodule(getattr(module, name))
    }
    listed = re.findall(r"^::: (\S+)$", page, re.MULTILINE)
    assert sorted(listed) == sorted(expected)
