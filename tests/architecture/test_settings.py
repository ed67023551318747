from functools import cache

import pytest
from config_reads import reads_of_file
from source_tree import CONFIGS, PACKAGE, ROOT, ROWS, TOOLS, label

from fastreid.config import get_cfg
from fastreid.config.config import _defaults, _sections
from fastreid.config.document import document, entries
from fastreid.config.ranges import NOT_HERE
from fastreid.engine.setup import load_config
from fastreid.experiments.variants import read_variants


@cache
def reads():
    """Dotted name of every setting, section and method that is read below `cfg`."""
    files = [path for path in [*PACKAGE, *TOOLS] if not label(path).startswith("fastreid/config/")]
    return set().union(*(reads_of_file(path) for path in files))


def free_sections():
    return {name for name, free in _sections().items() if free}


def test_every_setting_is_explained():
    lines = list(entries())
    bare = [entry.key for entry in lines if not entry.meaning and not entry.is_section]
    assert bare == []
    assert {entry.key for entry in lines if not entry.is_section} == set(_defaults())


def test_a_line_without_its_meaning_would_be_seen():
    [entry] = entries("_C.SOLVER.LR = 1")
    assert not entry.meaning


def test_the_settings_that_are_left_out_are_those_marked_so():
    assert {entry.key for entry in entries() if entry.mark == "accepted"} == set(NOT_HERE)


def test_every_setting_is_read():
    unread = set(_defaults()) - set(NOT_HERE) - reads()
    assert sorted(unread) == []
    assert free_sections() <= reads()


def test_what_is_left_out_is_read_nowhere():
    assert set(NOT_HERE) & reads() == set()


def test_no_code_reads_a_setting_that_does_not_exist():
    known = set(_defaults()) | set(_sections())
    own = {name for section in free_sections() for name in reads() if name.startswith(f"{section}.")}
    made = {name for name in reads() if name.rpartition(".")[2].islower()}  # methods, such as cfg.dump
    assert sorted(reads() - known - own - made) == []


@pytest.mark.parametrize("path", CONFIGS, ids=label)
def test_a_config_loads_and_opens_with_its_command_cost_and_score(path):
    get_cfg().merge_from_file(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    opening = "\n".join(line for line in lines[: next(n for n, line in enumerate(lines) if not line.startswith("#"))])
    assert f"--config-file {label(path)}" in opening
    assert "cost" in opening.lower()
    assert "score" in opening.lower()


@pytest.mark.parametrize("path", CONFIGS, ids=label)
def test_the_settings_that_a_run_leaves_read_as_those_it_had(path, tmp_path):
    cfg = load_config(path)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert load_config(tmp_path / "config.yaml") == cfg


@pytest.mark.parametrize("path", ROWS, ids=label)
def test_every_row_of_an_ablation_changes_its_config(path):
    small = ROOT / "configs/ablations/small.yml"
    ground, *rows = (load_config(small, row.opts) for row in read_variants(path))
    assert all(row.changes() != ground.changes() for row in rows)


def test_the_page_of_settings_is_made_from_the_defaults():
    assert (ROOT / "docs/configs.md").read_text(encoding="utf-8") == document(), "run `make fix`"
