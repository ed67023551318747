"""Count the package files that a command enters, and the calls and returns that cross from one file to another.

The counts measure how far a reader has to jump to follow a run (docs/decisions/0010-structure-by-responsibility.md).
The first number grows with the functions of the package, the second with the drawings too, the third with the
structure only. Run it in the root of any checkout:

    python tests/benchmarks/trace_calls.py tools/test.py --eval-only --config-file tests/end_to_end/resnet.yml \
        OUTPUT_DIR /tmp/out MODEL.WEIGHTS FILE
"""

import runpy
import sys
from pathlib import Path
from types import FrameType
from typing import Any


class CallTracer:
    """Profile function that counts files and crossings between them; code that runs at import is not counted.

    Args:
        package: folder of the package.
    """

    def __init__(self, package: Path):
        self.files: set[str] = set()
        self.num_crossings = 0
        self.pairs: set[tuple[str, str]] = set()
        self._prefix = f"{package}/"
        self._last_file = ""
        self._num_imports = 0  # modules of the package that are being imported

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        """Record the function that a call enters, or that a return continues."""
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(self._prefix):
            self._num_imports += {"call": 1, "return": -1}.get(event, 0)
        current = {"call": frame, "return": frame.f_back}.get(event)
        if current is None or self._num_imports > 0:
            return
        file = current.f_code.co_filename
        if not file.startswith(self._prefix):
            return
        if event == "call":
            self.files.add(file)
        if self._last_file not in ("", file):
            self.num_crossings += 1
            self.pairs.add((self._last_file, file))
        self._last_file = file


def main(script: str, *arguments: str) -> int:
    """Run a script of the working folder's package in this process, print the counts and return its exit code."""
    root = Path.cwd()
    tracer = CallTracer(root / "fastreid")
    sys.path.insert(0, str(root))
    sys.argv = [script, *arguments]
    code = 0
    sys.setprofile(tracer)
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        sys.setprofile(None)
    print(
        f"{len(tracer.files)} files, {tracer.num_crossings} calls and returns between files in "
        f"{len(tracer.pairs)} ordered pairs, exit code {code}"
    )
    return code


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} SCRIPT [ARGUMENT ...]")
    sys.exit(main(*sys.argv[1:]))
