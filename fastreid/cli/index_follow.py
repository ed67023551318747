"""What `fastreid index add` and `index update` share: stopping, saved queries, and following the sources."""

import argparse
import os
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from fastreid.cli.index_report import print_report
from fastreid.utils.cli import UserFacingError
from fastreid.utils.errors import InputError
from fastreid.utils.option_values import NumberParser, parse_path
from fastreid.utils.termination import StopRequest, describe_signal
from fastreid.utils.text import escape_unprintable, format_count, print_message

if TYPE_CHECKING:
    from fastreid.index import Collection, IngestReport
    from fastreid.index.manifest import Source
    from fastreid.index.query_monitor import NewHit, QueryMonitor

INTERVAL_S = 60.0
STOPPING = "finishing the batch; send the signal again to stop at once"


def add_follow_options(parser: argparse.ArgumentParser) -> None:
    """Add --watch and the options of saved queries."""
    parser.add_argument(
        "--watch",
        nargs="?",
        const=INTERVAL_S,
        type=NumberParser(float, 0.1, 86_400, example="60"),
        metavar="SECONDS",
        help="then follow the sources: look at their files after each interval, and update the collection after they "
        f"have changed, until Ctrl-C or SIGTERM (without a number: {INTERVAL_S:g})",
    )
    parser.add_argument(
        "--watch-queries",
        type=parse_path,
        metavar="FILE",
        help="JSON or YAML list of saved queries, which are searched in the drawings that are new",
    )
    parser.add_argument("--hits", type=parse_path, metavar="FILE", help="JSON file to which their hits are added")
    parser.add_argument(
        "--hits-html", type=parse_path, metavar="DIR", help="folder for a report of each query with hits"
    )


class Follower:
    """The options of an addition, and what is printed about it.

    Args:
        args: the parsed options.
        stop: set by a signal.

    Raises:
        InputError: a saved query or an option is invalid.
    """

    def __init__(self, args: argparse.Namespace, stop: StopRequest):
        from fastreid.index.hit_file import HitFile
        from fastreid.index.query_monitor import QueryMonitor
        from fastreid.index.saved_queries import read_queries
        from fastreid.index.watching import SourceTracker
        from fastreid.utils.files import check_writable

        for name in ("hits", "hits_html"):
            if getattr(args, name) and not args.watch_queries:
                raise InputError(f"--{name.replace('_', '-')} is for the hits of --watch-queries; add it")
        if args.hits_html and args.hits_html.exists() and not args.hits_html.is_dir():
            raise InputError(f"--hits-html {args.hits_html}: is no folder; give another name")
        if args.hits_html:
            check_writable(args.hits_html / "report.html")
        self.args, self.stop = args, stop
        self.monitor: QueryMonitor | None = None
        self.tracker: SourceTracker | None = SourceTracker(args.watch) if args.watch else None
        self._file: HitFile | None = None
        if args.watch_queries:
            self.monitor = QueryMonitor(read_queries(args.watch_queries), os.path.abspath(args.watch_queries))
            self._file = HitFile(args.hits) if args.hits else None
        self._shown: set[str] = set()
        self._is_current: Callable[[str], bool] = lambda path: True

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `Collection.add` and `update`."""
        return {"monitor": self.monitor, "is_current": self._is_current, "should_stop": self.stop.is_set}

    def find_unfinished(self, sources: Sequence["Source"]) -> frozenset[str]:
        """Return the files of sources that were changed less than an interval ago, which --watch reads later."""
        if self.tracker is None:
            return frozenset()
        poll = self.tracker.poll(sources)
        self._is_current = poll.is_current
        num = len(poll.skip) - len(poll.faults)  # without the sources that cannot be read, such as an empty folder
        if num:
            files = format_count(num, "file")
            print_message(f"{files} changed less than {self.args.watch:g} s ago; read when they no longer change")
        return poll.skip

    def show_report(self, collection: "Collection", report: "IngestReport") -> None:
        """Print an addition and the hits of the saved queries.

        Raises:
            UserFacingError: a signal has stopped the addition, and the sources are not followed.
        """
        print_report(collection, report)
        if report.is_stopped:
            if self.tracker is None:
                self._raise_stop()
            return
        if self.monitor is not None:
            num = collection.report_hits(self.monitor, lambda hits: self._write_hits(collection, hits))
            if not num:
                print_message("no new hit of the saved queries")

    def follow(self, collection: "Collection") -> None:
        """Update the collection after its files have changed, until a signal arrives."""
        from fastreid.index.watching import follow_sources
        from fastreid.utils.logger import get_logger

        if self.tracker is None:
            return
        print_message(f"{collection.uri}: following its sources every {self.args.watch:g} s; Ctrl-C or SIGTERM ends it")

        def show_update(report: "IngestReport") -> None:
            new = {*report.faults, *report.notes} - self._shown
            self._shown = {*report.faults, *report.notes}
            report.faults = [fault for fault in report.faults if fault in new]
            report.notes = [note for note in report.notes if note in new]
            if report.has_changes or new:
                print_report(collection, report)
            if self.monitor is not None and not report.is_stopped:
                collection.report_hits(self.monitor, lambda hits: self._write_hits(collection, hits))

        follow_sources(
            collection,
            self.tracker,
            self.stop,
            interval_s=self.args.watch,
            on_update=show_update,
            on_fault=lambda fault: get_logger().warning(escape_unprintable(fault)),
            monitor=self.monitor,
        )
        print_message(f"{collection.uri}: stopped by {describe_signal(self.stop.number or 0)}; all batches are stored")

    def _write_hits(self, collection: "Collection", hits: Sequence["NewHit"]) -> None:
        if self.args.hits_html and self.monitor is not None:
            self._write_reports(collection, self.monitor, hits)
        if self._file is not None:
            self._file.add(hits)
        print_message(format_hits(hits))

    def _write_reports(self, collection: "Collection", monitor: "QueryMonitor", hits: Sequence["NewHit"]) -> None:
        """Write an HTML file for each query that has hits."""
        from fastreid.index.report import format_monitor_report
        from fastreid.utils.files import write_text

        time = datetime.now(timezone.utc)
        for number, query in enumerate(monitor.queries, 1):  # different names can become equal names of files
            found = [one.hit for one in hits if one.query == query.name]
            if found:
                name = re.sub(r"[^0-9A-Za-z]+", "-", query.name).strip("-")[:60] or "query"
                path = self.args.hits_html / f"{time:%Y%m%dT%H%M%S%fZ}-{number}-{name}.html"
                write_text(path, format_monitor_report(collection, query, found, time=time))

    def _raise_stop(self) -> None:
        number = self.stop.number or 0
        message = f"stopped by {describe_signal(number)}; run the same command again to continue"
        raise UserFacingError(message, 128 + number)


def format_hits(hits: Sequence["NewHit"]) -> str:
    """Return new hits in columns, under their number."""
    from tabulate import tabulate

    columns = ("query", "score", "probability", "id", "patent", "path", "page")
    rows = [
        (
            escape_unprintable(one.query),
            f"{one.hit.score:.4f}",
            "" if one.hit.probability is None else f"{one.hit.probability:.3f}",
            one.hit.id,
            escape_unprintable(one.hit.patent or ""),
            escape_unprintable(one.hit.path),
            one.hit.page,
        )
        for one in hits
    ]
    heading = f"{format_count(len(hits), 'new hit')} of the saved queries"
    return f"{heading}\n{tabulate(rows, columns, tablefmt='plain', disable_numparse=True)}"
