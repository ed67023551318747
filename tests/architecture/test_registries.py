import importlib
import pkgutil

import pytest
from source_tree import BUILDS, module_name

import fastreid
from fastreid.utils.errors import InputError
from fastreid.utils.registry import Registry


def tables():
    for module in pkgutil.walk_packages(fastreid.__path__, "fastreid."):
        if module.name.endswith("rank_cy"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Registry):
                yield f"{module.name}.{name}", value


def test_every_room_of_floor_two_has_its_door():
    assert {module_name(path) for path in BUILDS} >= {
        f"fastreid.{room}.build" for room in ("data", "modeling", "solver", "evaluation", "engine")
    }


def test_there_are_tables():
    assert len({id(table) for _, table in tables()}) >= 6


def test_every_table_holds_makers_and_refuses_an_unknown_name_with_a_hint():
    for name, table in tables():
        assert table.names(), name
        for entry in table.names():
            assert callable(table.get(entry)), f"{name}[{entry}]"
            with pytest.raises(InputError, match="Did you mean") as caught:
                table.get(f"{entry}x")
            assert entry in str(caught.value)
            assert table.what in str(caught.value)
