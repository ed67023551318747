import pytest
from house import PACKAGE, TOOLS, imports, label, module_name

GROUND = {"structures": {"utils"}, "layers": {"utils"}, "config": {"utils"}, "utils": set()}
SIBLINGS = {room: {*GROUND} for room in ("data", "modeling", "solver", "evaluation")}
ENGINE = {"engine": {*GROUND, *SIBLINGS}}
MAY_USE = {**GROUND, **SIBLINGS, **ENGINE, "fastreid": set()}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def wrong_ways(path) -> list[str]:
    here = room_of(module_name(path))
    allowed = MAY_USE[here] | {here}
    found = []
    for line, module in imports(path):
        if module.startswith("."):
            found.append(f"{label(path)}:{line}: relative import {module}; write it in full")
        elif module.split(".")[0] in ("tools", "fastreid_tools", "tests"):
            found.append(f"{label(path)}:{line}: {module} is above the package")
        elif module.startswith("fastreid.") and room_of(module) not in {*allowed, "__version__"}:
            found.append(f"{label(path)}:{line}: {here} imports {module}")
    return found


def test_imports_go_down_a_floor_and_are_written_in_full():
    assert [line for path in PACKAGE for line in wrong_ways(path)] == []


def test_every_room_stands_on_a_floor():
    assert {room_of(module_name(path)) for path in PACKAGE} <= set(MAY_USE)


@pytest.mark.parametrize("path", TOOLS, ids=label)
def test_a_tool_does_not_import_another(path):
    others = {other.stem for other in TOOLS} | {"tools", "fastreid_tools"}
    assert [module for _, module in imports(path) if module.split(".")[0] in others and module != "test"] == []
