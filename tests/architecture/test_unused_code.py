"""Every definition is used in the package or the tools, is public API, or is called by a framework."""

import ast

from source_tree import PACKAGE, TOOLS, label, tree

PUBLIC_API = {
    "ImageDataset": "base class of datasets written for fast-reid",
    "add_features": "collections from Python",
    "compare_drawings": "maps of two drawings from Python",
    "create_app": "the service in another server",
    "from_pretrained": "networks from Python",
    "k_reciprocal": "evaluation from Python",
    "read_image_dataset": "registers datasets written for fast-reid",
    "search_features": "collections from Python",
}
CALLED_BY_FRAMEWORK = {
    "merge_from_other_cfg": "yacs: checked like other merges",
    "defrost": "yacs: always an error",
    "load_cfg": "yacs: always an error",
    "extra_repr": "torch: prints a module",
    "redirect_request": "urllib",
    "emit": "logging",
    "get_next": "onnxruntime: images for int8",
    "readable": "io: a file for Pillow",
    "readall": "io: a file for Pillow",
    "readinto": "PDFium: a file",
    "seekable": "io: a file for Pillow",
    "handleError": "logging",
    "format_help": "argparse",
    "parse_known_args": "argparse",
    "_check_value": "argparse",
    "_format_args": "argparse",
    "_get_help_string": "argparse",
    "capture_signals": "uvicorn",
    "connection_lost": "asyncio",
    "connection_made": "asyncio",
    "data_received": "asyncio",
}
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def is_route(node) -> bool:
    """Return whether a decorator registers a function as a route."""
    return any(ast.unparse(decorator).startswith("router.") for decorator in node.decorator_list)


def find_unused(trees: dict[str, ast.Module]) -> set[tuple[str, str]]:
    """Return (file, name) of each function, class and method that is only used inside itself.

    A method counts as used if any attribute of its name is read. Dunder methods are called by Python.
    """
    reads: dict[str, list[ast.AST]] = {}
    for node in (node for top in trees.values() for node in ast.walk(top)):
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            reads.setdefault(node.id if isinstance(node, ast.Name) else node.attr, []).append(node)
    found = set()
    for file, top in trees.items():
        methods = {item for owner in ast.walk(top) if isinstance(owner, ast.ClassDef) for item in owner.body}
        for node in ast.walk(top):
            if not isinstance(node, DEFINITIONS) or node.name.startswith("__") or is_route(node):
                continue
            kinds = (ast.Attribute,) if node in methods else (ast.Attribute, ast.Name)
            inside = set(ast.walk(node))
            if not any(isinstance(read, kinds) and read not in inside for read in reads.get(node.name, ())):
                found.add((file, node.name))
    return found


def test_every_definition_is_used():
    unused = find_unused({label(path): tree(path) for path in [*PACKAGE, *TOOLS]})
    allowed = PUBLIC_API.keys() | CALLED_BY_FRAMEWORK.keys()
    assert sorted(f"{file}: {name}" for file, name in unused if name not in allowed) == []
    assert allowed - {name for _, name in unused} == set(), "these exceptions are no longer needed"


def test_unused_definitions_are_found():
    code = """
def called(): return 1
def helper(): return helper() + called()
class Part:
    def method(self): self.inner()
    def inner(self): method = 1; return method
"""
    assert find_unused({"a": ast.parse(code), "b": ast.parse("from a import helper")}) == {
        ("a", "helper"),
        ("a", "Part"),
        ("a", "method"),
    }
