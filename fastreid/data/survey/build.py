"""From a config to a survey of its drawings."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace

from tqdm import tqdm

from fastreid.config import CfgNode
from fastreid.data.build import build_dataset, build_sampler
from fastreid.data.datasets.base import Dataset, ListFaults
from fastreid.data.loading import steps_an_epoch
from fastreid.data.survey.files import look_at_all
from fastreid.data.survey.findings import Finding, Part, first_uses, of_copies, of_files, of_patents, of_splits
from fastreid.data.survey.report import Survey
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError

Lists = tuple[tuple[Drawing, ...], ...]


def survey(cfg: CfgNode, *, decode: bool) -> Survey:
    """Read all lists of DATASETS.NAMES and DATASETS.TESTS and look at their files; faults are findings, not errors.

    Args:
        cfg: settings.
        decode: look at the pages of the files too, with DATALOADER.NUM_WORKERS processes and a bar where somebody looks
            on; without, at their headers.

    Raises:
        InputError: a data set that is not known.
        EnvironmentFault: a decoding process died.
    """
    parts: list[Part] = []
    findings: list[Finding] = []
    for name in cfg.DATASETS.NAMES:
        [drawings] = _read(functools.partial(_train, build_dataset(cfg, name)), 1, findings, name)
        parts.append(Part(f"{name} train", drawings, is_training=True))
    for name in cfg.DATASETS.TESTS:
        queries, gallery = _read(build_dataset(cfg, name).test, 2, findings, name)
        parts += [
            Part(f"{name} queries", queries, is_training=False),
            Part(f"{name} database", gallery, is_training=False),
        ]
    findings += _empty(parts)
    paths = list(first_uses(parts))
    with tqdm(total=len(paths), disable=None, unit="file", leave=False) as bar:
        facts = look_at_all(
            paths,
            decode=decode,
            max_pixels=cfg.INPUT.MAX_PIXELS,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            on_file=bar.update,
        )
    findings += of_files(parts, facts, may_skip=cfg.INPUT.ON_BAD_IMAGE == "skip")
    findings += of_splits(parts, facts, may_overlap=cfg.DATASETS.ALLOW_OVERLAP)
    findings += _batches(cfg, parts)
    findings += of_patents(parts, num_instance=cfg.DATALOADER.NUM_INSTANCE)
    findings += of_copies(parts, facts)
    return Survey(tuple(parts), facts, tuple(findings), decode)


def _train(dataset: Dataset) -> Lists:
    return (dataset.train(),)


def _read(read: Callable[[], Lists], num: int, findings: list[Finding], name: str) -> Lists:
    """The sound drawings of each of `num` lists; what is wrong with the others joins the findings."""
    try:
        return read()
    except ListFaults as error:
        findings += [
            Finding("list", fault if fault.startswith(where) else f"{where}: {fault}", must_mend=True)
            for where, faults in error.faults.items()
            for fault in faults
        ]
        return error.sound or ((),) * num
    except InputError as error:
        findings.append(Finding("list", f"{name}: {error}", must_mend=True))
        return ((),) * num


def _empty(parts: list[Part]) -> Iterator[Finding]:
    for part in parts:
        if not part.drawings:
            yield Finding("empty", f"{part.name}: holds no drawing that can be used", must_mend=True)


def _batches(cfg: CfgNode, parts: list[Part]) -> Iterator[Finding]:
    """Whether batches can be made of the training drawings."""
    trained = [
        replace(drawing, patent=f"{part.name} {drawing.patent}")
        for part in parts
        if part.is_training
        for drawing in part.drawings
    ]
    if trained:
        try:
            steps_an_epoch(len(trained), cfg.SOLVER.IMS_PER_BATCH)
            build_sampler(cfg, trained)
        except InputError as error:
            yield Finding("batches", str(error), must_mend=True)
