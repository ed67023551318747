import os
import subprocess
import sys

import pytest

from fastreid.utils.allocator import USER_VARIABLES, keep_freed_memory

CODE = """
import resource, sys
import numpy
from fastreid.utils.allocator import keep_freed_memory
assert sys.argv[1] == "default" or keep_freed_memory()
numpy.ones(64 << 20, numpy.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    numpy.ones(64 << 20, numpy.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
IS_GLIBC = sys.platform.startswith("linux") and "glibc" in os.confstr("CS_GNU_LIBC_VERSION")


def count_page_faults(mode):
    environment = {name: value for name, value in os.environ.items() if name not in USER_VARIABLES}
    return int(subprocess.check_output([sys.executable, "-c", CODE, mode], env=environment, text=True))


@pytest.mark.skipif(not IS_GLIBC, reason="needs glibc")
def test_large_blocks_are_reused():
    assert count_page_faults("keep") < 100
    assert count_page_faults("default") > 300  # 32 for each of ten blocks with huge pages, otherwise 16,384


@pytest.mark.parametrize("name", USER_VARIABLES)
def test_settings_of_the_user_stay(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert not keep_freed_memory()
