"""Which settings the code reads, found in its text.

A chain such as `cfg.SOLVER.AMP.ENABLED` is followed through names (`loss = cfg.MODEL.LOSSES.CE`), through arguments
(a name whose capital attributes fit one section only is that section) and through tables of words
(`cfg.DATASETS[key]` reads every setting of DATASETS that some text in the file names).
"""

import ast
from collections.abc import Iterator

from source_tree import tree

from fastreid.config.config import _defaults, _sections

Path = tuple[str, ...]
KNOWN = {tuple(name.split(".")) for name in [*_defaults(), *_sections()]}
SECTIONS = [(), *(tuple(name.split(".")) for name in _sections())]


def reads_of_file(path) -> set[str]:
    words = {
        node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    found: set[str] = set()
    for function in ast.walk(tree(path)):
        if isinstance(function, (ast.FunctionDef, ast.Lambda)):
            found |= {".".join(read) for read in _reads(function, words)}
    return found


def _reads(function, words: set[str]) -> Iterator[Path]:
    names: dict[str, Path] = {"cfg": (), "self.cfg": (), **_sections_of_arguments(function)}
    for node in ast.walk(function):
        for target, value in _assignments(node):
            if (found := _path(value, names)) is not None:
                names[ast.unparse(target)] = found
    for node in ast.walk(function):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and (found := _path(node, names)):
            yield from _spelt(found, words)


def _path(node, names: dict[str, Path]) -> Path | None:
    if isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node) in names:
        return names[ast.unparse(node)]
    if not isinstance(node, (ast.Attribute, ast.Subscript)) or (above := _path(node.value, names)) is None:
        return None
    if isinstance(node, ast.Attribute):
        return (*above, node.attr)
    return (*above, str(node.slice.value) if isinstance(node.slice, ast.Constant) else "*")


def _spelt(path: Path, words: set[str]) -> Iterator[Path]:
    if "*" not in path:
        yield path
        return
    place = path.index("*")
    for word in words:
        if (spelt := (*path[:place], word, *path[place + 1 :])) in KNOWN:
            yield spelt


def _assignments(node) -> Iterator[tuple[ast.expr, ast.expr]]:
    for target in node.targets if isinstance(node, ast.Assign) else ():
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts)
        else:
            yield target, node.value


def _sections_of_arguments(function) -> dict[str, Path]:
    found = {}
    for argument in (*function.args.args, *function.args.kwonlyargs):
        if argument.arg in ("cfg", "self"):
            continue
        tails = {tail for node in ast.walk(function) if (tail := _path(node, {argument.arg: ()})) and tail[0].isupper()}
        fitting = [section for section in SECTIONS if all((*section, *tail) in KNOWN for tail in tails)]
        if tails and len(fitting) == 1:
            found[argument.arg] = fitting[0]
    return found
