"""Imports go down only: cli -> experiments and service -> index -> engine -> siblings -> base packages."""

import pytest
from source_tree import PACKAGE, TOOLS, imports, label, module_name

LAYERS = (
    {"utils"},
    {"structures", "layers", "config"},
    {"data", "modeling", "solver", "evaluation", "monitoring", "synthetic"},
    {"engine"},
    {"index"},
    {"experiments", "service"},
    {"cli", "__main__"},
)
LAYER_OF = {package: layer for layer, packages in enumerate(LAYERS) for package in packages}


def package_of(module: str) -> str:
    """Return the part of a module's name below `fastreid`, such as "engine"; "fastreid" for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def invalid_imports(path) -> list[str]:
    """Return the imports of a file that break the layer rules, as lines of a report."""
    here = package_of(module_name(path))
    found = []
    for line, module in imports(path):
        there = package_of(module)
        if module.startswith("."):
            found.append(f"{label(path)}:{line}: relative import {module}; write the full name")
        elif module.split(".")[0] in ("tools", "tests"):
            found.append(f"{label(path)}:{line}: {module} is outside the package")
        elif not module.startswith("fastreid.") or there in (here, "__version__"):
            continue
        elif here != "fastreid" and LAYER_OF[there] > LAYER_OF[here]:
            found.append(f"{label(path)}:{line}: {here} imports {module}")
        elif here != "fastreid" and LAYER_OF[there] == LAYER_OF[here] and here != "__main__":
            found.append(f"{label(path)}:{line}: {here} imports {module}, a sibling")
    return found


def import_graph() -> dict[str, set[str]]:
    """Return the modules of the package that each module imports."""
    modules = {module_name(path) for path in PACKAGE}
    return {
        module_name(path): {module for _, module in imports(path) if module in modules} - {module_name(path)}
        for path in PACKAGE
    }


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of one import cycle in order; empty if there is none."""
    finished: set[str] = set()

    def visit(module: str, above: list[str]) -> list[str]:
        if module in above:
            return above[above.index(module) :]
        if module in finished:
            return []
        for imported in sorted(graph.get(module, ())):
            if cycle := visit(imported, [*above, module]):
                return cycle
        finished.add(module)
        return []

    return next((cycle for module in sorted(graph) if (cycle := visit(module, []))), [])


def test_imports_go_down_and_are_absolute():
    assert [line for path in PACKAGE for line in invalid_imports(path)] == []


def test_every_package_has_a_layer():
    assert {package_of(module_name(path)) for path in PACKAGE} - {"fastreid"} <= set(LAYER_OF)


def test_no_import_cycle():
    assert cycle_in(import_graph()) == []


def test_cycle_detection():
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert cycle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("path", TOOLS, ids=label)
def test_tools_do_not_import_each_other(path):
    others = {other.stem for other in TOOLS} | {"tools"}
    assert [module for _, module in imports(path) if module.split(".")[0] in others and module != "test"] == []
