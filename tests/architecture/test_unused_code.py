"""What the package or the tools define they also use, or it is there for users or called by a framework."""

import ast

from source_tree import PACKAGE, TOOLS, label, tree

FOR_USERS = {
    "score": "a fixed name: evaluation from Python",
    "k_reciprocal": "a fixed name: evaluation from Python",
    "from_config": "a fixed name: Predictor.from_config",
    "register": "docs/extending.md: a part from outside joins a table",
}
FOR_FRAMEWORKS = {
    "merge_from_other_cfg": "a method of yacs, held to our rules",
    "defrost": "a method of yacs, refused",
    "load_cfg": "a method of yacs, refused",
    "extra_repr": "torch calls it to print a module",
    "redirect_request": "urllib calls it",
    "emit": "logging calls it",
    "handleError": "logging calls it",
}
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def unused(trees: dict[str, ast.Module]) -> set[tuple[str, str]]:
    """(file, name) of each function, class and method that is read nowhere but inside itself.

    A method counts as read where an attribute of its name is, whosever it is; dunder methods are Python's.
    """
    reads: dict[str, list[ast.AST]] = {}
    for node in (node for top in trees.values() for node in ast.walk(top)):
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            reads.setdefault(node.id if isinstance(node, ast.Name) else node.attr, []).append(node)
    found = set()
    for file, top in trees.items():
        methods = {item for owner in ast.walk(top) if isinstance(owner, ast.ClassDef) for item in owner.body}
        for node in ast.walk(top):
            if not isinstance(node, DEFINITIONS) or node.name.startswith("__"):
                continue
            ways = (ast.Attribute,) if node in methods else (ast.Attribute, ast.Name)
            inside = set(ast.walk(node))
            if not any(isinstance(read, ways) and read not in inside for read in reads.get(node.name, ())):
                found.add((file, node.name))
    return found


def test_what_is_defined_is_used_or_is_there_for_a_reason():
    found = unused({label(path): tree(path) for path in [*PACKAGE, *TOOLS]})
    allowed = FOR_USERS.keys() | FOR_FRAMEWORKS.keys()
    assert sorted(f"{file}: {name}" for file, name in found if name not in allowed) == []
    assert allowed - {name for _, name in found} == set(), "used now, or gone: no reason is needed"


def test_a_definition_that_nobody_uses_would_be_seen():
    code = """
def called(): return 1
def helper(): return helper() + called()
class Part:
    def method(self): self.inner()
    def inner(self): method = 1; return method
"""
    assert unused({"a": ast.parse(code), "b": ast.parse("from a import helper")}) == {
        ("a", "helper"),
        ("a", "Part"),
        ("a", "method"),
    }
