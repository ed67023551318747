"""The outcome of an addition to a collection, for the console."""

from typing import TYPE_CHECKING

from fastreid.utils.text import MAX_FAULTS_SHOWN, escape_unprintable, format_count, print_message

if TYPE_CHECKING:
    from fastreid.index import Collection, IngestReport


def print_report(collection: "Collection", report: "IngestReport") -> None:
    """Log what was skipped, and print the counts."""
    from fastreid.utils.logger import get_logger

    for note in report.notes:
        get_logger().warning(escape_unprintable(note))
    for fault in report.faults[:MAX_FAULTS_SHOWN]:
        get_logger().warning(f"skipped: {escape_unprintable(fault)}")
    if len(report.faults) > MAX_FAULTS_SHOWN:
        get_logger().warning(f"skipped: {len(report.faults)} in all, of which {MAX_FAULTS_SHOWN} are listed")
    num = format_count(collection.count(), "drawing")
    print_message(f"{collection.uri}: {report.describe()}; {num} in the collection")
