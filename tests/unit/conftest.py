import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

Answer = TypeVar("Answer")


@pytest.fixture
def measured() -> Callable[[Callable[[], Answer]], tuple[Answer, float]]:
    """Runs a function; gives its answer and the MiB this process held at its peak above what it held before.

    The kernel's own mark is set back first (proc(5), clear_refs 5), so what ran before in the process does not hide it.
    """

    def run(function: Callable[[], Answer]) -> tuple[Answer, float]:
        Path("/proc/self/clear_refs").write_text("5")
        before = _peak_mib()
        answer = function()
        return answer, _peak_mib() - before

    return run


def _peak_mib() -> float:
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
