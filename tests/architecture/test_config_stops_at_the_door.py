import ast
import re

from house import PACKAGE, label, tree

DOORS = {"fastreid/engine/setup.py"}
NAMES = {"cfg", "CfgNode", "get_cfg"}


def is_door(path) -> bool:
    return path.name == "build.py" or label(path) in DOORS or label(path).startswith("fastreid/config/")


def names_in(path):
    for node in ast.walk(tree(path)):
        words = {
            ast.Name: ("id",),
            ast.Attribute: ("attr",),
            ast.arg: ("arg",),
            ast.alias: ("name", "asname"),
            ast.keyword: ("arg",),
        }.get(type(node), ())
        yield from ((getattr(node, "lineno", 0), getattr(node, word)) for word in words)


def test_the_settings_are_named_only_where_parts_are_built():
    found = [
        f"{label(path)}:{line}: {name}"
        for path in PACKAGE
        if not is_door(path)
        for line, name in names_in(path)
        if name in NAMES
    ]
    assert found == []


def test_the_settings_are_frozen_in_one_place_and_thawed_in_none():
    calls = [
        (label(path), node.attr)
        for path in PACKAGE
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and re.search(r"\bcfg\.(freeze|defrost)$", ast.unparse(node))
    ]
    assert calls == [("fastreid/engine/setup.py", "freeze")]
