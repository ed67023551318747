"""Importing the package needs no module, function or constant that Windows lacks; what uses one does so when called."""

from fork_server import get_server
from source_tree import PACKAGE, module_name

POSIX_MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty")
# What the standard library of Windows lacks, removed after the dependencies have been imported.
WITHOUT_POSIX = """
import importlib, mmap, multiprocessing, os, signal, sys
import fastapi.testclient, prometheus_client, python_multipart, uvicorn.protocols.http.h11_impl
import numpy, PIL.Image, safetensors.torch, torch, torch.utils.tensorboard, torchvision, yacs.config
for name in {modules!r}:
    sys.modules[name] = None
lacking = {{
    os: ("O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_SYNC", "O_DSYNC", "fchmod", "fork", "getloadavg",
         "getuid", "geteuid", "killpg", "mkfifo", "nice", "pread", "register_at_fork", "sched_getaffinity",
         "sched_setaffinity", "setsid", "statvfs", "sysconf", "uname", "wait"),
    signal: ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGSTOP", "SIGUSR1", "SIGUSR2", "alarm",
             "pthread_sigmask", "setitimer", "sigwaitinfo"),
    mmap: ("MADV_DONTNEED", "MADV_SEQUENTIAL", "PROT_READ"),
}}
for module, names in lacking.items():
    for name in names:
        delattr(module, name)
multiprocessing.get_all_start_methods = lambda: ["spawn"]
def get_context(method=None):
    raise AssertionError(f"start method {{method}} chosen at import")
multiprocessing.get_context = get_context
for name in [name for name in sys.modules if name.split(".")[0] == "fastreid"]:
    del sys.modules[name]
for name in {package!r}:
    importlib.import_module(name)
"""


def test_modules_import_without_posix(tmp_path):
    """In a forked process, which has imported most of the dependencies."""
    package = [name for name in map(module_name, PACKAGE) if name != "fastreid.__main__"]  # it runs the command
    (tmp_path / "imports.py").write_text(WITHOUT_POSIX.format(modules=POSIX_MODULES, package=package))
    process = get_server().start("fork_server:run_script", "imports.py", folder=tmp_path)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
