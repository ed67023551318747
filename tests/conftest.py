"""Set one thread per process for torch and numpy before they are imported.

pytest-xdist starts a process for each core. Small networks took several times as long with two threads per process,
because threads that wait for each other occupy the cores of other processes. A value in the environment has priority.
"""

import os
import sys

if not any("benchmark" in argument for argument in sys.argv):  # these measure what users have
    os.environ.setdefault("OMP_NUM_THREADS", "1")
