"""Result files, score tables and ranking figures."""

from fastreid.evaluation.reporting.ranking_plot import plot_rankings
from fastreid.evaluation.reporting.results import (
    check_table_path,
    format_scores,
    read_per_query_table,
    write_per_query_table,
    write_results,
)

__all__ = [
    "check_table_path",
    "format_scores",
    "plot_rankings",
    "read_per_query_table",
    "write_per_query_table",
    "write_results",
]
