"""Compare the scores of an exported network with those of the network in torch."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.engine.data import build_test_datasets
from fastreid.engine.evaluate import run_test
from fastreid.engine.export.record import ExportRecord, write_record
from fastreid.evaluation.scoring.matches import check_matches
from fastreid.utils.temporary_folders import make_temporary_folder

SCORES = ("mAP", "Rank-1")


def check_tests(cfg: CfgNode) -> None:
    """Check before any work that DATASETS.TESTS can be tested.

    Raises:
        InputError: a dataset is missing or has no matches.
    """
    for data in build_test_datasets(cfg).values():
        check_matches(data.name, data.queries, data.gallery)


def add_scores(cfg: CfgNode, folder: str | Path, record: ExportRecord) -> Sequence[str]:
    """Test the network of a config and its export on DATASETS.TESTS, and add the scores to the record of the export.

    Args:
        cfg: settings of the network in torch.
        folder: of the exported network.
        record: its record.

    Returns:
        A line for each dataset.

    Raises:
        InputError: a dataset is missing or has no matches.
    """
    own: list[object] = ["TEST.RUNTIME", "onnxruntime", "MODEL.WEIGHTS", str(folder)]
    own += ["TEST.FLIP.ENABLED", False] if record.flip else []
    own += ["TEST.GEM_POWER", 0.0] if record.gem_power else []
    in_torch: list[object] = ["TEST.FLIP.ENABLED", True] if record.flip else []
    before, after = (_test(cfg, changes) for changes in (in_torch, own))
    scores = {name: {score: [before[name][score], after[name][score]] for score in SCORES} for name in before}
    write_record(Path(folder), dataclasses.replace(record, scores=scores))
    return [
        f"{name}: "
        + ", ".join(f"{score} {was:.2f} in torch, {now:.2f} exported" for score, (was, now) in values.items())
        for name, values in scores.items()
    ]


def _test(cfg: CfgNode, changes: Sequence[object]) -> dict[str, dict[str, float]]:
    with make_temporary_folder("fastreid-export-") as folder:
        copy = cfg.clone()
        copy.merge_from_list([*changes, "OUTPUT_DIR", str(folder), "TEST.NUM_VISUALIZED_QUERIES", 0])
        copy.freeze()
        results = run_test(copy)
    return {name: {score: float(result.scores[score]) for score in SCORES} for name, result in results.items()}
