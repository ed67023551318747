"""Folders of drawings: which files are drawings, and which folders are patents."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastreid.data.io.image import count_pages
from fastreid.data.io.tiff import MAX_PAGES
from fastreid.utils.errors import InputError
from fastreid.utils.page_address import join_page_address
from fastreid.utils.text import format_count

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".webp", ".jp2", ".j2k", ".pdf")
SUFFIXES_WITH_PAGES = (".tif", ".tiff", ".pdf")

# Written by operating systems, network drives and archives; thumbnails in them look like drawings. Names that start
# with a dot are ignored as well.
_SYSTEM_NAMES = frozenset(
    {"@eadir", "__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "#recycle"}
    | {"#snapshot", "@recycle", "@recently-snapshot", "lost+found", "ehthumbs.db"}
)
_MOVE = "move it into a folder of its patent"
_MAX_SUFFIXES_SHOWN = 8
_MAX_FOLDERS_SHOWN = 3

Parts = tuple[str, ...]  # of a folder's path relative to the dataset; () is the dataset itself


@dataclass
class FolderTree:
    """The files below a folder.

    Args:
        path: the folder.
        drawings: files that are drawings, by the folder that directly contains them.
        skipped: number of other files by suffix; files of the system are not counted.
        num_empty: folders without a drawing at any depth, not counting those inside another one.
        faults: folders that cannot be read, and links to missing files.
    """

    path: Path
    drawings: dict[Parts, list[str]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    num_empty: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def num_files(self) -> int:
        """Number of files that are drawings."""
        return sum(map(len, self.drawings.values()))


def scan_folder(path: Path) -> FolderTree:
    """Return the files below a folder, sorted by name; links to folders are followed, each folder is read once."""
    tree, folders, seen = FolderTree(path), set[Parts](), set[tuple[int, int]]()
    for folder, subfolders, files in os.walk(path, followlinks=True, onerror=lambda error: _add_fault(tree, error)):
        parts = Path(folder).relative_to(path).parts
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.add(parts)
        subfolders[:] = sorted(name for name in subfolders if not _is_system_name(name))
        for file in sorted(name for name in files if not _is_system_name(name)):
            suffix = os.path.splitext(file)[1].lower()
            if suffix in SUFFIXES and not os.path.exists(os.path.join(folder, file)):
                tree.faults.append(f"{'/'.join((*parts, file))} is a link to a missing file; remove the link")
            elif suffix in SUFFIXES:
                tree.drawings.setdefault(parts, []).append(file)
            else:
                tree.skipped[suffix or "no suffix"] += 1
    used = {parts[:depth] for parts in tree.drawings for depth in range(len(parts) + 1)}
    tree.num_empty = sum(parts[:-1] in used for parts in folders - used if parts)
    return tree


def find_patent_folders(tree: FolderTree, level: int) -> tuple[int, list[str]]:
    """Return the level of the folders that are patents, and the reasons why a drawing belongs to none.

    Args:
        tree: the files.
        level: 1 for the sub-folders of the dataset, 2 for theirs, and so on; 0: the level of the folders that directly
            contain drawings, not counting those inside another one.

    Returns:
        The level, and the faults; with faults the level means nothing.
    """
    faults = [*tree.faults, *(f"{name} is not in a patent's sub-folder; {_MOVE}" for name in tree.drawings.get((), ()))]
    folders = sorted(parts for parts in tree.drawings if parts)
    if not folders and not faults:
        faults.append(f"no sub-folder contains a drawing ({', '.join(SUFFIXES)}); the dataset needs one per patent")
    elif folders and level:
        faults += [
            f"{'/'.join(parts)} contains drawings, but is not inside a folder at level {level}, as set by "
            "DATASETS.FOLDER.LEVEL"
            for parts in folders
            if len(parts) < level
        ]
    elif folders:
        outer = [parts for parts in folders if all(parts[:end] not in tree.drawings for end in range(1, len(parts)))]
        level = len(outer[0])
        faults += _find_ambiguities(outer)
    return level, faults


def list_pages(tree: FolderTree, parts: Parts, file: str) -> Iterator[tuple[str, str]]:
    """Yield (path, name) of each page of a file; the name is relative to the dataset.

    A damaged file has one page, whose reading explains the damage.

    Raises:
        InputError: it has too many pages.
        StorageError: the disk cannot be read.
        EnvironmentSetupError: a PDF, and pypdfium2 is not installed.
    """
    path, name = str(tree.path.joinpath(*parts, file)), "/".join((*parts, file))
    num = 1
    if file.lower().endswith(SUFFIXES_WITH_PAGES):
        try:
            num = count_pages(path)
        except InputError:
            num = 1
    if num > MAX_PAGES:
        raise InputError(f"{name} has more than {MAX_PAGES} pages; split the file")
    for page in range(num):
        yield (join_page_address(path, page), join_page_address(name, page)) if num > 1 else (path, name)


def describe_tree(tree: FolderTree, *, level: int, num_patents: int, num_drawings: int) -> str:
    """Return one line with the numbers of files read and skipped."""
    text = (
        f"{tree.path}: {format_count(num_patents, 'patent')} (each folder at level {level} is one), "
        f"{format_count(num_drawings, 'drawing')} in {format_count(tree.num_files, 'file')}"
    )
    skipped = []
    if tree.skipped:
        most = sorted(tree.skipped.items(), key=lambda item: (-item[1], item[0]))[:_MAX_SUFFIXES_SHOWN]
        more = ", ..." if len(tree.skipped) > len(most) else ""
        counts = ", ".join(f"{suffix} {num}" for suffix, num in most)
        skipped.append(f"{format_count(tree.skipped.total(), 'file')} ({counts}{more})")
    if tree.num_empty:
        skipped.append(f"{format_count(tree.num_empty, 'folder')} without drawings")
    return f"{text}; skipped {' and '.join(skipped)}" if skipped else text


def _find_ambiguities(outer: Sequence[Parts]) -> Iterator[str]:
    """Yield why the folders that contain drawings are not all patents."""
    levels: dict[int, list[str]] = {}
    for parts in outer:
        levels.setdefault(len(parts), []).append("/".join(parts))
    if len(levels) > 1:
        shown = "; ".join(f"level {level}: {_shorten(names)}" for level, names in sorted(levels.items()))
        yield (
            f"folders with drawings are at several levels ({shown}); set DATASETS.FOLDER.LEVEL to the level of the "
            "folders that are patents"
        )
        return
    names = Counter(parts[-1] for parts in outer)
    repeated = sorted(name for name, num in names.items() if num > 1)
    if repeated:
        level = len(outer[0])
        yield (
            f"several folders have the same name ({_shorten(repeated)}); set DATASETS.FOLDER.LEVEL to {level} if they "
            f"show the same patent, or to {level - 1} if the folders that contain them are the patents"
        )


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_FOLDERS_SHOWN]) + (", ..." if len(names) > _MAX_FOLDERS_SHOWN else "")


def _is_system_name(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _add_fault(tree: FolderTree, error: OSError) -> None:
    name = os.path.relpath(error.filename, tree.path) if error.filename else str(tree.path)
    tree.faults.append(f"{name} cannot be read ({error.strerror or error}); check its permissions")
