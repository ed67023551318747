"""A tool whose disk hangs, in its loading processes, once a file `hang` lies in its working folder.

python tests/faults/hanging_disk.py tools/TOOL.py WORDS ...
"""

import multiprocessing
import os
import runpy
import sys
import time

from fastreid.data.io import image

read = image.read_image


def read_or_hang(path, **options):
    while os.path.exists("hang") and multiprocessing.current_process().daemon:
        time.sleep(0.1)
    return read(path, **options)


image.read_image = read_or_hang
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
