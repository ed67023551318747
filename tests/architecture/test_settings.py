import importlib.util
from functools import cache

import pytest
from config_reads import find_settings_read
from source_tree import CONFIGS, PACKAGE, ROOT, ROWS, TOOLS, label

from fastreid.config import get_cfg
from fastreid.config.config import flat_defaults, section_names
from fastreid.config.legacy import LEGACY_KEYS
from fastreid.engine.setup import load_config
from fastreid.experiments.variants import read_variants


@cache
def generate():
    """Return the module docs/generate.py."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def settings_read():
    """Return the full name of every setting, section and method that the code reads from `cfg`."""
    files = [path for path in [*PACKAGE, *TOOLS] if not label(path).startswith("fastreid/config/")]
    return set().union(*(find_settings_read(path) for path in files))


def free_sections():
    """Return the sections that accept new keys."""
    return {name for name, free in section_names().items() if free}


def test_every_setting_has_a_comment():
    settings = [setting for setting in generate().iter_settings() if not setting.is_section]
    assert [setting.key for setting in settings if not setting.meaning] == []
    assert {setting.key for setting in settings} == set(flat_defaults())


def test_missing_comment_is_found():
    [setting] = generate().iter_settings("_C.SOLVER.LR = 1")
    assert not setting.meaning


def test_legacy_keys_are_no_settings():
    assert set(LEGACY_KEYS) & set(flat_defaults()) == set()


def test_every_setting_is_read():
    unread = set(flat_defaults()) - settings_read()
    assert sorted(unread) == []
    assert free_sections() <= settings_read()


def test_no_code_reads_a_legacy_key():
    assert set(LEGACY_KEYS) & settings_read() == set()


def test_no_code_reads_a_setting_that_does_not_exist():
    known = set(flat_defaults()) | set(section_names())
    new_keys = {name for section in free_sections() for name in settings_read() if name.startswith(f"{section}.")}
    methods = {name for name in settings_read() if name.rpartition(".")[2].islower()}  # methods, such as cfg.dump
    assert sorted(settings_read() - known - new_keys - methods) == []


@pytest.mark.parametrize("path", CONFIGS, ids=label)
def test_config_starts_with_command_cost_and_score(path):
    get_cfg().merge_from_file(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    header = "\n".join(line for line in lines[: next(n for n, line in enumerate(lines) if not line.startswith("#"))])
    assert f"--config-file {label(path)}" in header
    assert "cost" in header.lower()
    assert "score" in header.lower()


@pytest.mark.parametrize("path", CONFIGS, ids=label)
def test_dumped_config_loads_unchanged(path, tmp_path):
    cfg = load_config(path)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert load_config(tmp_path / "config.yaml") == cfg


@pytest.mark.parametrize("path", ROWS, ids=label)
def test_every_variant_changes_its_config(path):
    small = ROOT / "configs/ablations/small.yml"
    baseline, *variants = (load_config(small, variant.opts) for variant in read_variants(path))
    assert all(variant.changes() != baseline.changes() for variant in variants)


@pytest.mark.parametrize("page", ["configs", "commands"])
def test_generated_page_is_current(page):
    text = getattr(generate(), f"render_{page}")()
    assert (ROOT / f"docs/{page}.md").read_text(encoding="utf-8") == text, "run `make fix`"
