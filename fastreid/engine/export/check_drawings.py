"""The drawings for the check of an exported network, for users who give no others."""

from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.engine.data import build_test_datasets
from fastreid.synthetic import Collection, write_patents

SYNTHETIC = ("Generated", "GeneratedStream")
NUM_PATENTS = 4
SIZE_PX = 320


def find_drawings(cfg: CfgNode, folder: Path, *, all_tests: bool) -> Sequence[str]:
    """Return the gallery drawings of DATASETS.TESTS, or a few synthetic ones if these tests are synthetic.

    Args:
        cfg: settings.
        folder: where the few drawings are rendered.
        all_tests: render all synthetic drawings of the tests, because their scores are computed anyway.

    Raises:
        InputError: a dataset is missing or invalid.
    """
    if all_tests or not set(cfg.DATASETS.TESTS) <= set(SYNTHETIC):
        return [drawing.path for data in build_test_datasets(cfg).values() for drawing in data.gallery]
    write_patents(folder, Collection(0, 1, NUM_PATENTS, size_px=SIZE_PX))
    return [str(path) for path in sorted(folder.glob("train_data/**/*.png"))]
