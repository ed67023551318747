"""What the architecture tests read: the source as trees, the settings, the pages."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = sorted((ROOT / "fastreid").rglob("*.py"))
TOOLS = sorted(path for path in (ROOT / "tools").glob("*.py") if path.name != "__init__.py")
ROWS = sorted((ROOT / "configs/ablations/rows").glob("*.yml"))
CONFIGS = sorted(set((ROOT / "configs").rglob("*.yml")) - set(ROWS))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BUILDS = [path for path in PACKAGE if path.name == "build.py"]


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=label(path))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, those inside functions too; a relative one gives its dots."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if module == "fastreid":  # `from fastreid import data` names the room in its second half
                yield from ((node.lineno, f"fastreid.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module


def with_parents(path: Path) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
    """Every node with those around it, outermost first."""

    def walk(node: ast.AST, above: tuple[ast.AST, ...]) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
        yield node, above
        for child in ast.iter_child_nodes(node):
            yield from walk(child, (*above, node))

    return walk(tree(path), ())


def called(node: ast.AST) -> str:
    """Dotted name of what a call calls, such as "torch.save"; "" for anything else."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""
