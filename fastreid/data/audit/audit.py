"""From a config to a survey of its drawings."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from tqdm import tqdm

from fastreid.config import CfgNode
from fastreid.data.audit.findings import Finding, Part, first_uses, of_copies, of_files, of_patents, of_splits
from fastreid.data.audit.inspection import Facts, look_at_all
from fastreid.data.audit.report import Survey
from fastreid.data.build import build_dataset, build_sampler, set_names
from fastreid.data.datasets.base import Dataset, ListFaults
from fastreid.data.loading.loader import steps_an_epoch
from fastreid.data.loading.unreadable import too_bad
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
        InputError: a data set that is not known, or stands twice.
        EnvironmentSetupError: a decoding process died.
    """
    parts: list[Part] = []
    findings: list[Finding] = []
    for name in set_names(cfg, "NAMES"):
        dataset = build_dataset(cfg, name)
        [drawings] = _read(functools.partial(_train, dataset), 1, findings, name)
        parts.append(Part(f"{name} train", drawings, is_training=True, numbering=f"{name} train"))
        if cfg.DATASETS.COMBINEALL:
            queries, gallery = _read(dataset.test, 2, findings, name)
            kind = f"{name} test"
            parts.append(Part(f"{kind}, trained on", (*queries, *gallery), is_training=True, numbering=kind))
    for name in set_names(cfg, "TESTS"):
        for part, drawings in zip(("queries", "database"), _read(build_dataset(cfg, name).test, 2, findings, name)):
            parts.append(Part(f"{name} {part}", drawings, is_training=False, numbering=f"{name} test"))
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
    max_bad = cfg.INPUT.MAX_BAD_IMAGES if cfg.INPUT.ON_BAD_IMAGE == "skip" else None
    findings += of_files(parts, facts, may_skip=max_bad is not None)
    findings += _too_bad(parts, facts, max_bad)
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


def _trained(parts: list[Part]) -> list[Drawing]:
    """The training drawings of all lists, their patents told apart as those of joined sets are."""
    return [
        replace(drawing, patent=f"{part.numbering} {drawing.patent}")
        for part in parts
        if part.is_training
        for drawing in part.drawings
    ]


def _too_bad(parts: list[Part], facts: Mapping[str, Facts], max_bad: int | None) -> Iterator[Finding]:
    """What no passing over helps: too many bad training drawings, or a patent of which none can be read."""
    if max_bad is not None:
        faults = {path: one.fault for path, one in facts.items() if one.header is None}
        for words in too_bad(faults, training=_trained(parts), max_num=max_bad):
            yield Finding("too bad", words, must_mend=True)


def _batches(cfg: CfgNode, parts: list[Part]) -> Iterator[Finding]:
    """Whether batches can be made of the training drawings."""
    trained = _trained(parts)
    if trained:
        try:
            steps_an_epoch(len(trained), cfg.SOLVER.IMS_PER_BATCH)
            build_sampler(cfg, trained)
        except InputError as error:
            yield Finding("batches", str(error), must_mend=True)
