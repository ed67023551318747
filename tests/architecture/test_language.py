"""Docs, docstrings, comments and messages use the plain technical English of the field.

Counts words and phrases that projects such as detectron2, timm or scikit-learn do not use, per 1,000 words, and the
length of sentences in the docs.
"""

import ast
import re
from pathlib import Path

import pytest
from source_tree import CONFIGS, PACKAGE, PAGES, ROOT, TOOLS, label, tree

MAX_UNUSUAL = 1.0  # per 1,000 words; comparable projects have 0.3 to 0.7
MAX_SENTENCE_WORDS = 40
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PATTERNS = (Path(__file__).parent / "unusual_words.txt").read_text(encoding="utf-8").split("\n")[:-1]
UNUSUAL = re.compile(rf"\b(?:{'|'.join(PATTERNS)})\b", re.IGNORECASE)


def words_in(text: str) -> int:
    return len(re.findall(r"[A-Za-z]+", text))


def prose_of_page(path) -> str:
    """Return a page without its code blocks and code spans."""
    text = re.sub(r"```.*?```", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"`[^`]*`", "code", text)


def prose_of_module(path) -> str:
    """Return docstrings, messages of four words or more, and comments."""
    strings = [
        node.value
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value.split()) > 3
    ]
    comments = re.findall(r"(?:^|\s)# (.*)", path.read_text(encoding="utf-8"))
    return "\n".join([*strings, *comments])


def prose_of_config(path) -> str:
    return "\n".join(re.findall(r"# (.*)", path.read_text(encoding="utf-8")))


def sentences(page: str) -> list[str]:
    """Split a page's prose at full stops, list items, table cells and headings."""
    blocks = re.split(r"\n\s*\n|\n\s*(?:[-*]|\d+\.) |\n#+ |\||\n(?=\|)", page)
    return [s for block in blocks for s in re.split(r"(?<=[.!?:;])\s+", " ".join(block.split())) if s]


def unusual_words(texts: dict[str, str]) -> list[str]:
    """Return every unusual word with its file and context."""
    found = []
    for name, text in texts.items():
        line = " ".join(text.split())
        for match in UNUSUAL.finditer(line):
            found.append(f"{name}: ...{line[max(0, match.start() - 30) : match.end() + 30]}...")
    return found


def test_prose_uses_standard_words():
    texts = {label(path): prose_of_page(path) for path in PAGES}
    texts |= {label(path): prose_of_config(path) for path in CONFIGS}
    texts |= {
        label(path): prose_of_module(path) for path in [*PACKAGE, *TOOLS, *TESTS] if path.name != "test_language.py"
    }
    found = unusual_words(texts)
    rate = 1000 * len(found) / sum(map(words_in, texts.values()))
    assert rate <= MAX_UNUSUAL, "\n".join([f"{rate:.1f} unusual words per 1,000", *found[:40]])


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_sentences_are_short(path):
    long = [s for s in sentences(prose_of_page(path)) if words_in(s) > MAX_SENTENCE_WORDS]
    assert long == []


def test_unusual_words_are_found():
    assert len(unusual_words({"page": " ".join(("told", "anew", "and", "beside", "it"))})) == 3
    assert unusual_words({"page": "An error names the line, and training continues."}) == []


def test_long_sentences_are_found():
    assert [words_in(s) for s in sentences("One two. " + "word " * 41 + "end.\n\n| a | b c |\n- item\n")][1] == 42
