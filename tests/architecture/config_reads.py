"""Find the settings that the code reads, by static analysis.

Chains such as `cfg.SOLVER.AMP.ENABLED` are followed through variables (`loss = cfg.MODEL.LOSSES.CE`), parameters (a
parameter whose uppercase attributes match exactly one section is that section) and string keys (`cfg.DATASETS[key]`
reads every setting of DATASETS whose name is a string in the file).
"""

import ast
from collections.abc import Iterator

from source_tree import tree

from fastreid.config.config import flat_defaults, section_names

Path = tuple[str, ...]
KNOWN = {tuple(name.split(".")) for name in [*flat_defaults(), *section_names()]}
SECTIONS = [(), *(tuple(name.split(".")) for name in section_names())]


def find_settings_read(path) -> set[str]:
    """Return the full names of the settings and sections that a file reads."""
    strings = {
        node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    found: set[str] = set()
    for function in ast.walk(tree(path)):
        if isinstance(function, (ast.FunctionDef, ast.Lambda)):
            found |= {".".join(read) for read in _iter_reads(function, strings)}
    return found


def _iter_reads(function, strings: set[str]) -> Iterator[Path]:
    names: dict[str, Path] = {"cfg": (), "self.cfg": (), **_sections_of_parameters(function)}
    for node in ast.walk(function):
        for target, value in _assignments(node):
            if (found := _path(value, names)) is not None:
                names[ast.unparse(target)] = found
    for node in ast.walk(function):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and (found := _path(node, names)):
            yield from _expand_keys(found, strings)


def _path(node, names: dict[str, Path]) -> Path | None:
    if isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node) in names:
        return names[ast.unparse(node)]
    if not isinstance(node, (ast.Attribute, ast.Subscript)) or (parent := _path(node.value, names)) is None:
        return None
    if isinstance(node, ast.Attribute):
        return (*parent, node.attr)
    return (*parent, str(node.slice.value) if isinstance(node.slice, ast.Constant) else "*")


def _expand_keys(path: Path, strings: set[str]) -> Iterator[Path]:
    if "*" not in path:
        yield path
        return
    position = path.index("*")
    for string in strings:
        if (expanded := (*path[:position], string, *path[position + 1 :])) in KNOWN:
            yield expanded


def _assignments(node) -> Iterator[tuple[ast.expr, ast.expr]]:
    for target in node.targets if isinstance(node, ast.Assign) else ():
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts)
        else:
            yield target, node.value


def _sections_of_parameters(function) -> dict[str, Path]:
    found = {}
    for argument in (*function.args.args, *function.args.kwonlyargs):
        if argument.arg in ("cfg", "self"):
            continue
        tails = {tail for node in ast.walk(function) if (tail := _path(node, {argument.arg: ()})) and tail[0].isupper()}
        matching = [section for section in SECTIONS if all((*section, *tail) in KNOWN for tail in tails)]
        if tails and len(matching) == 1:
            found[argument.arg] = matching[0]
    return found
