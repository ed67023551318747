"""Run a command whose loading workers hang when they read, while a file `hang` exists in the working folder.

python tests/faults/hanging_disk.py SCRIPT ARGUMENTS ...
"""

import multiprocessing
import os
import runpy
import sys
import time

from fastreid.data.io import image

original_read_image = image.read_image


def read_or_hang(path, **options):
    while os.path.exists("hang") and multiprocessing.current_process().daemon:
        time.sleep(0.1)
    return original_read_image(path, **options)


image.read_image = read_or_hang
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
