"""Follow the sources of a collection: look at their files now and then, and update it after they have changed."""

import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid.data.datasets.folder_tree import SUFFIXES, scan_folder
from fastreid.index.collection import Collection
from fastreid.index.columns import STANDARD_COLUMNS, SYSTEM_COLUMNS
from fastreid.index.ingest import IngestReport
from fastreid.index.manifest import Source
from fastreid.index.query_monitor import QueryMonitor
from fastreid.index.sources import LIST_SUFFIXES, scan_source
from fastreid.utils.errors import InputError, StorageError
from fastreid.utils.termination import StopRequest

_State = tuple[int, int]  # size in bytes and time in ns of a file
_States = dict[str, _State]  # by path


@dataclass(frozen=True)
class Poll:
    """The files of sources at a moment.

    Args:
        states: files of each source, without those that are being written.
        skip: files that are being written, and sources that cannot be read.
        faults: why a source cannot be read, one line each.
    """

    states: dict[Source, _States]
    skip: frozenset[str]
    faults: list[str]

    @functools.cached_property
    def _all_states(self) -> set[tuple[str, _State]]:
        return {item for states in self.states.values() for item in states.items()}

    def is_current(self, path: str) -> bool:
        """Return whether a file that need not be skipped is still in the state that was found."""
        try:
            status = os.stat(path)
        except OSError:  # an addition reports it, or an update finds that it was deleted
            return True
        return (path, (status.st_size, status.st_mtime_ns)) in self._all_states


class SourceTracker:
    """Compares the files of sources with those that were added.

    A file is read once it has been the same for one interval, so that no half-written file is read. At the first look,
    the time of the file decides.

    Args:
        interval_s: seconds between two looks.
    """

    def __init__(self, interval_s: float):
        self._interval_s = interval_s
        self._seen: _States | None = None
        self._added: dict[Source, _States] = {}

    def has_polled(self) -> bool:
        """Return whether it has looked at the files before."""
        return self._seen is not None

    def poll(self, sources: Sequence[Source]) -> Poll:
        """Look at the files of sources, an interval after the look before."""
        found: dict[Source, _States] = {}
        faults, skip = [], set[str]()
        for source in sources:
            try:
                found[source] = self._read_states(source)
            except (InputError, OSError) as error:
                faults.append(str(error) if isinstance(error, InputError) else f"{source.path}: {error.strerror}")
                skip.add(source.path)
        seen = {path: state for states in found.values() for path, state in states.items()}
        skip |= {path for path, state in seen.items() if not self._is_settled(path, state)}
        self._seen = {**(self._seen or {}), **seen}
        states = {}
        for source in sources:
            added = self._added.get(source, {})
            if source.path in skip or source.metadata in skip:  # an update leaves all of its drawings
                states[source] = added
                continue
            current = {path: state for path, state in found[source].items() if path not in skip}
            states[source] = current | {path: state for path, state in added.items() if path in skip}
        return Poll(states, frozenset(skip), faults)

    def has_changed(self, poll: Poll) -> bool:
        """Return whether files were added, changed or removed since `accept`."""
        return poll.states != self._added

    def accept(self, poll: Poll) -> None:
        """Note that an update has read these files."""
        self._added = poll.states

    def _is_settled(self, path: str, state: _State) -> bool:
        if self._seen is None:
            return abs(time.time() - state[1] / 1e9) > self._interval_s
        return self._seen.get(path) == state

    def _read_states(self, source: Source) -> _States:
        states = {}
        for path in _list_files(source, is_settled=self._is_settled):
            try:
                status = os.stat(path)
            except FileNotFoundError:  # deleted since it was listed
                continue
            states[path] = (status.st_size, status.st_mtime_ns)
        return states


def _list_files(source: Source, *, is_settled: Callable[[str, _State], bool]) -> Iterator[str]:
    """Yield the files that a source depends on.

    Raises:
        InputError: the source cannot be read.
    """
    path = Path(source.path)
    for name in (source.path, source.images, source.metadata):
        if name and not os.path.exists(name):
            raise InputError(f"{name}: cannot be reached; its drawings are kept, and are followed when it is back")
    if source.metadata:
        yield source.metadata
    if path.is_dir():
        tree = scan_folder(path)
        if not tree.num_files and not tree.faults:
            raise InputError(f"{path}: contains no drawing ({', '.join(SUFFIXES)}); its drawings are kept")
        yield from (str(path.joinpath(*parts, file)) for parts, files in tree.drawings.items() for file in files)
        return
    yield source.path
    status = path.stat()
    if path.suffix.lower() in LIST_SUFFIXES and is_settled(source.path, (status.st_size, status.st_mtime_ns)):
        scan = scan_source(Source(source.path, source.images), {**SYSTEM_COLUMNS, **STANDARD_COLUMNS})
        yield from {entry.path: None for entry in scan.entries}


def follow_sources(
    collection: Collection,
    tracker: SourceTracker,
    stop: StopRequest,
    *,
    interval_s: float,
    on_update: Callable[[IngestReport], None],
    on_fault: Callable[[str], None],
    monitor: QueryMonitor | None = None,
) -> None:
    """Update a collection after files of its sources have changed, until a signal arrives.

    A source that cannot be read, and an update that fails, are reported once and tried again.

    Args:
        collection: the collection.
        tracker: has the files that were added before.
        stop: ends the loop; an update that is running stores its batch first.
        interval_s: seconds between the end of an update and the next look at the files.
        on_update: called after each update.
        on_fault: called for each new fault.
        monitor: saved queries for `Collection.update`.
    """
    shown: set[str] = set()
    message, stop.message = stop.message, ""  # while it waits, there is nothing to finish
    if tracker.has_polled():
        stop.wait(interval_s)
    while not stop.is_set():
        faults = []
        try:
            poll = tracker.poll(collection.read_sources())
            faults = poll.faults
            if tracker.has_changed(poll):
                stop.message = message
                report = collection.update(
                    monitor=monitor, skip=poll.skip, is_current=poll.is_current, should_stop=stop.is_set
                )
                on_update(report)
                if not report.is_stopped:
                    tracker.accept(poll)
        except (InputError, StorageError) as error:
            faults = [*faults, str(error)]
        stop.message = ""
        for fault in faults:
            if fault not in shown:
                on_fault(fault)
        shown = set(faults)
        stop.wait(interval_s)
