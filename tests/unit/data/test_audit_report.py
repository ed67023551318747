"""The report of `fastreid data check` as text, JSON and contact sheet."""

import json

import numpy as np
import pytest
from PIL import Image

from fastreid.config import get_cfg
from fastreid.data.audit.audit import audit_datasets
from fastreid.data.audit.findings import DrawingList, Finding
from fastreid.data.audit.inspection import inspect_files
from fastreid.data.audit.report import AuditReport
from fastreid.engine.data import build_dataset
from fastreid.structures import Drawing

MAX_PIXELS = 10**6
FRAME_LEVEL = 200


@pytest.fixture
def build_report(tmp_path):
    """Return a function that saves images by name and reports on them."""

    def build(images):
        for name, image in images.items():
            image.save(tmp_path / name)
        paths = [str(tmp_path / name) for name in images]
        drawings = tuple(Drawing(path, name, "D1") for path, name in zip(paths, images))
        files = inspect_files(paths, decode=False, max_pixels=MAX_PIXELS)
        return AuditReport((DrawingList("train", drawings, True, ""),), files, (), was_decoded=False)

    return build


def test_json_has_all_findings_and_text_the_first_twenty():
    findings = tuple(Finding("unusual", f"number {number}") for number in range(25))
    report = AuditReport((), {}, findings, was_decoded=False)
    lines = list(report.format_lines())
    assert lines[-1].strip() == "... and 5 more"
    assert len(json.loads(report.to_json())["findings"]) == 25


def test_formats_are_in_plain_words(build_report):
    deep = Image.fromarray(np.full((80, 80), 40000, np.uint16))
    pages = {"a.tif": deep, "b.png": Image.new("P", (80, 80)), "c.png": Image.new("1", (80, 80))}
    report = build_report({**pages, "d.jpg": Image.new("CMYK", (80, 80)), "e.pdf": Image.new("L", (80, 80))})
    names = ["JPEG (CMYK)", "PDF", "PNG (black and white)", "PNG (palette)", "TIFF (16-bit gray)"]
    assert sorted(json.loads(report.to_json())["files"]["formats"]) == names
    assert any(all(f"1 {name}" in line for name in names) for line in report.format_lines())


def test_blank_page_of_the_contact_sheet_has_a_frame_below_the_title(build_report):
    report = build_report({"blank.png": Image.new("L", (90, 90), 255)})
    sheet = np.asarray(report.plot(max_pixels=MAX_PIXELS))
    top, bottom = np.flatnonzero((sheet[:, :150] == FRAME_LEVEL).all(axis=1))
    assert bottom - top == 149
    assert (sheet[top : bottom + 1, [0, 149]] == FRAME_LEVEL).all()
    assert (sheet[top + 1 : bottom, 1:149] == 255).all()
    assert (sheet[:top] < 128).any()
    assert (sheet[top - 3 : top] == 255).all()  # the title does not touch the drawing


def test_fault_of_a_line_names_the_path_of_its_list_once(tmp_path):
    path, cfg = tmp_path / "a.csv", get_cfg()
    path.write_text("path,id\nnothing.png,1\n")
    lists = [text for key in ("TRAIN", "QUERY", "GALLERY") for text in (f"DATASETS.LIST.{key}", str(path))]
    cfg.merge_from_list([*lists, "DATASETS.LIST.IMAGES", str(tmp_path), "DATASETS.NAMES", "List"])
    cfg.merge_from_list(["DATASETS.TESTS", "List"])
    report = audit_datasets(cfg, build_dataset, check_test=lambda data, is_first: None, decode=False)
    messages = [one.message for one in report.findings if "nothing.png" in one.message]
    assert messages
    assert all(text.startswith(f"{path}:2: ") and text.count("a.csv") == 1 for text in messages)
