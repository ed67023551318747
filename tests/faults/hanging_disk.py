"""Run a command whose loading processes hang on reading as soon as a file `hang` exists in the working folder.

python tests/faults/hanging_disk.py -m fastreid COMMAND ARGUMENTS ...
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
del sys.argv[:2]  # this file and -m
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
