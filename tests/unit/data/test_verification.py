import os

import pytest
from PIL import Image

from fastreid.data.io.verification import compute_files_digest, find_unreadable
from fastreid.structures import SYNTHETIC_PREFIX, Drawing


@pytest.fixture
def files(tmp_path):
    """Return 70 drawings; number 10 is cut off after its header, and number 60 is no image."""
    for number in range(70):
        Image.new("L", (40, 40), number).save(tmp_path / f"{number}.png")
    content = (tmp_path / "10.png").read_bytes()
    (tmp_path / "10.png").write_bytes(content[:-30])
    (tmp_path / "60.png").write_bytes(b"no image")
    return [Drawing(str(tmp_path / f"{n}.png"), f"{n}.png", "1", source=f"list.txt:{n + 1}") for n in range(70)]


@pytest.mark.parametrize(("decode", "expected"), [(True, [10, 60]), (False, [60])])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_files_are_found(files, decode, expected, num_workers):
    progress = []
    synthetic = Drawing(f"{SYNTHETIC_PREFIX}1/2", "s", "1")
    faults = find_unreadable(
        [*files, *files, synthetic],
        decode=decode,
        max_pixels=10_000,
        num_workers=num_workers,
        on_progress=lambda *counts: progress.append(counts),
    )
    assert list(faults) == [files[number].path for number in expected]
    assert all(faults[files[n].path].startswith(f"list.txt:{n + 1}: {files[n].path}: ") for n in expected)
    assert progress == [(32, 70), (64, 70), (70, 70)]


def test_digest_changes_with_the_files(files):
    digest = compute_files_digest(files, max_pixels=100)
    assert digest == compute_files_digest([*files, *files], max_pixels=100)
    assert digest != compute_files_digest(files, max_pixels=101)
    assert digest != compute_files_digest(files[1:], max_pixels=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastreid.data.io.verification.get_pdf_version", lambda: "another")
        assert digest != compute_files_digest(files, max_pixels=100)
    os.utime(files[3].path, ns=(1, 1))
    assert digest != compute_files_digest(files, max_pixels=100)
    os.unlink(files[3].path)
    assert compute_files_digest(files, max_pixels=100) == ""
