"""Files that the architecture tests read, as paths and syntax trees."""

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
    """Return the path relative to the repository, with slashes."""
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=label(path))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, module) of every import, those inside functions included; a relative import keeps its dots."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if module == "fastreid":  # `from fastreid import data`: the package is the imported name
                yield from ((node.lineno, f"fastreid.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module


def with_parents(path: Path) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
    """Yield each node with the nodes that contain it, outermost first."""

    def walk(node: ast.AST, above: tuple[ast.AST, ...]) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
        yield node, above
        for child in ast.iter_child_nodes(node):
            yield from walk(child, (*above, node))

    return walk(tree(path), ())


def called(node: ast.AST) -> str:
    """Return the dotted name that a call calls, such as "torch.save"; "" if the node is not a call."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""
