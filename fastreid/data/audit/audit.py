"""Audit the drawings of a config: lists, files, splits, batches and duplicates."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from fastreid.config import CfgNode
from fastreid.data.audit.findings import (
    DrawingList,
    Finding,
    find_duplicates,
    find_file_problems,
    find_leakage,
    find_patent_problems,
    map_first_uses,
)
from fastreid.data.audit.inspection import FileInfo, inspect_files
from fastreid.data.audit.report import AuditReport
from fastreid.data.build import build_sampler, get_dataset_names
from fastreid.data.datasets.base import Dataset, InvalidListError, RetrievalData, add_list_path
from fastreid.data.loading.loader import steps_per_epoch
from fastreid.data.loading.unreadable import unreadable_reasons
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.progress import show_progress

Lists = tuple[tuple[Drawing, ...], ...]


def audit_datasets(
    cfg: CfgNode,
    build_dataset: Callable[[CfgNode, str], Dataset],
    *,
    check_test: Callable[[RetrievalData, bool], None],
    decode: bool,
) -> AuditReport:
    """Read all lists of DATASETS.NAMES and DATASETS.TESTS and inspect their files; faults become findings, not errors.

    Args:
        cfg: settings.
        build_dataset: returns a dataset by name.
        check_test: raises an InputError if training cannot use a test set; the second argument says whether it is the
            first one, which selects the best model.
        decode: decode the pages too, with DATALOADER.NUM_WORKERS processes; otherwise read headers only.

    Raises:
        InputError: a dataset is unknown or repeated.
        EnvironmentSetupError: a decoding process died.
    """
    lists, findings, faulty = _read_datasets(cfg, functools.cache(functools.partial(build_dataset, cfg)))
    paths = list(map_first_uses(lists))
    with show_progress("decoding files" if decode else "reading headers", unit="file") as update:
        files = inspect_files(
            paths,
            decode=decode,
            max_pixels=cfg.INPUT.MAX_PIXELS,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            on_progress=update,
        )
    max_unreadable = cfg.INPUT.MAX_BAD_IMAGES if cfg.INPUT.ON_BAD_IMAGE == "skip" else None
    findings += find_file_problems(lists, files, may_skip=max_unreadable is not None)
    findings += _find_skip_problems(lists, files, max_unreadable)
    findings += find_leakage(lists, files, may_overlap=cfg.DATASETS.ALLOW_OVERLAP)
    findings += _find_batch_problems(cfg, lists)
    findings += _find_test_problems(lists, faulty, check_test)
    findings += find_patent_problems(lists, num_instance=cfg.DATALOADER.NUM_INSTANCE)
    findings += find_duplicates(lists, files)
    return AuditReport(tuple(lists), files, tuple(findings), decode)


def _read_datasets(
    cfg: CfgNode, build_dataset: Callable[[str], Dataset]
) -> tuple[list[DrawingList], list[Finding], set[str]]:
    """Return the lists, their faults and the names of datasets with faults.

    Each fault is reported once; a list that is empty because of a fault has no other.
    """
    lists: list[DrawingList] = []
    findings: list[Finding] = []
    faulty: set[str] = set()
    for name in get_dataset_names(cfg, "NAMES"):
        dataset = build_dataset(name)
        [drawings] = _read(functools.partial(_read_train, dataset), 1, findings, faulty, name)
        lists.append(DrawingList(f"{name} train", drawings, is_training=True, id_space=f"{name} train"))
        if cfg.DATASETS.COMBINEALL:
            queries, gallery = _read(dataset.test, 2, findings, faulty, name)
            id_space = f"{name} test"
            drawings = tuple(drawing for drawing in (*queries, *gallery) if drawing.patent)
            lists.append(DrawingList(f"{id_space}, trained on", drawings, is_training=True, id_space=id_space))
    for name in get_dataset_names(cfg, "TESTS"):
        both = _read(build_dataset(name).test, 2, findings, faulty, name)
        for part, drawings in zip(("queries", "gallery"), both):
            lists.append(DrawingList(f"{name} {part}", drawings, is_training=False, id_space=f"{name} test"))
    empty = [one for one in lists if not one.drawings and one.id_space.rpartition(" ")[0] not in faulty]
    findings += [Finding("empty", f"{one.name}: contains no valid drawing", is_error=True) for one in empty]
    return lists, list(dict.fromkeys(findings)), faulty


def _read_train(dataset: Dataset) -> Lists:
    return (dataset.train(),)


def _read(read: Callable[[], Lists], num: int, findings: list[Finding], faulty: set[str], name: str) -> Lists:
    """Return the valid drawings of each of `num` lists; add the faults to the findings, the dataset to the faulty."""
    try:
        return read()
    except InvalidListError as error:
        faulty.add(name)
        findings += [
            Finding("list", fault if fault.startswith(where) else add_list_path(where, fault), is_error=True)
            for where, faults in error.faults.items()
            for fault in faults
        ]
        return error.valid or ((),) * num
    except InputError as error:
        faulty.add(name)
        findings.append(Finding("list", f"{name}: {error}", is_error=True))
        return ((),) * num


def _collect_training(lists: list[DrawingList]) -> list[Drawing]:
    """Return the training drawings of every list, with patent ids that differ between datasets, as in joined sets."""
    return [
        replace(drawing, patent=f"{one.id_space} {drawing.patent}")
        for one in lists
        if one.is_training
        for drawing in one.drawings
    ]


def _find_skip_problems(
    lists: list[DrawingList], files: Mapping[str, FileInfo], max_unreadable: int | None
) -> Iterator[Finding]:
    """Yield the errors that INPUT.ON_BAD_IMAGE skip cannot avoid: too many unreadable drawings, or all of a patent."""
    if max_unreadable is None:
        return
    invalid = InputError.exit_code  # others are errors in any case
    unreadable = {path: file.fault for path, file in files.items() if file.header is None and file.exit_code == invalid}
    reasons = unreadable_reasons(unreadable, training=_collect_training(lists), max_num=max_unreadable)
    for heading, faults in reasons.items():
        for fault in faults:
            yield Finding("cannot skip", f"{heading}: {fault}", is_error=True)


def _find_batch_problems(cfg: CfgNode, lists: list[DrawingList]) -> Iterator[Finding]:
    """Yield an error if the sampler cannot make batches of the training drawings."""
    training = _collect_training(lists)
    if training:
        try:
            build_sampler(cfg, training)  # first, as in training
            steps_per_epoch(len(training), cfg.SOLVER.IMS_PER_BATCH)
        except InputError as error:
            yield Finding("batches", str(error), is_error=True)


def _find_test_problems(
    lists: list[DrawingList], faulty: set[str], check_test: Callable[[RetrievalData, bool], None]
) -> Iterator[Finding]:
    """Yield an error for each test set that training cannot use; those with faults in their lists are not checked.

    It is a warning if all ids of the first test set are unknown, since it can be tested, though not select a model.
    """
    tests = [one for one in lists if not one.is_training]
    for number, (queries, gallery) in enumerate(zip(tests[::2], tests[1::2])):
        name = queries.name.removesuffix(" queries")
        if name not in faulty and queries.drawings and gallery.drawings:
            try:
                check_test(RetrievalData(name, (), queries.drawings, gallery.drawings), number == 0)
            except InputError as error:
                if all(any(one.patent for one in part.drawings) for part in (queries, gallery)):
                    yield Finding("test", str(error), is_error=True)
                else:
                    yield Finding("test", f"training would stop, `fastreid test` would not: {error}")
