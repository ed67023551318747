"""Run functions in processes forked from a server that has imported torch and fastreid: saves seconds per process.

As a program, it reads a request per line (JSON): {"start": {...}} forks a child and answers with its process id,
{"reap": id} answers with the exit code of a child that has ended. `ForkServer` is the client.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("end_to_end", "faults", "bad_input", "unit/engine")
PYTHON_PATH = [str(REPOSITORY), *(str(REPOSITORY / "tests" / name) for name in FOLDERS)]
PRELOADED = (
    *("torch._dynamo", "torch.utils.tensorboard", "torch.distributed.run", "torchvision.transforms.v2", "pytest"),
    *("tiny_backbone", "fastreid.engine.trainer", "fastreid.engine.predictor"),
    *("fastreid.experiments.ablation", "fastreid.experiments.tuning"),
)


class ForkServer:
    """Start and stop the server with the `with` statement; `start` may be called from several threads."""

    def __enter__(self):
        self._lock = threading.Lock()
        self._logs = tempfile.TemporaryDirectory()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(PYTHON_PATH), "OMP_NUM_THREADS": "1"}
        environment["OMP_WAIT_POLICY"] = "PASSIVE"  # as `import fastreid` before torch
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([sys.executable, __file__], env=environment, **pipes)
        return self

    def __exit__(self, *error):
        self._process.communicate()
        self._logs.cleanup()

    def start(self, function, *arguments, folder, new_session=False, **environment):
        """Call a function in a child process; its return value is the exit code.

        Args:
            function: "module:function"; the module is in the repository or one of the folders of PYTHON_PATH.
            arguments: its arguments, passed on as JSON.
            folder: working folder of the child.
            new_session: whether the child gets its own session, as with `subprocess.Popen`.
            environment: additional environment variables.
        """
        with tempfile.NamedTemporaryFile(dir=self._logs.name, delete=False) as file:
            logs = [file.name, f"{file.name}-errors"]
        request = {
            "function": function,
            "arguments": arguments,
            "folder": folder,
            "logs": logs,
            "new_session": new_session,
            "environment": environment,
        }
        return ForkedProcess(self, self.request({"start": request}), logs)

    def request(self, request):
        with self._lock:
            self._process.stdin.write(json.dumps(request, default=str) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())


@functools.cache
def get_server():
    """Return the server of this process, which is started by the first call."""
    server = ForkServer().__enter__()
    atexit.register(server.__exit__)
    return server


class ForkedProcess:
    """A child of the server, with the interface of `subprocess.Popen`."""

    def __init__(self, server, pid, logs):
        self.pid, self.returncode = pid, None
        self._server, self._logs, self._handle = server, logs, os.pidfd_open(pid)

    def poll(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0)
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            if not select.select([self._handle], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            self.returncode = self._server.request({"reap": self.pid})
            os.close(self._handle)
        return self.returncode

    def communicate(self, timeout=None):
        """Wait for the end and return stdout and stderr."""
        self.wait(timeout)
        return tuple(self._read(name) for name in self._logs)

    def read_output(self):
        """Return what the process has written to stdout so far."""
        return self._read(self._logs[0])

    def read_errors(self):
        """Return what the process has written to stderr so far."""
        return self._read(self._logs[1])

    def _read(self, name):
        return Path(name).read_text(encoding="utf-8") if Path(name).exists() else ""

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)
        return self.wait()

    def wait_for(self, path, *, limit_s=120):
        """Wait until a file exists and is not empty, while the process is running."""
        deadline = time.monotonic() + limit_s
        while not (path.exists() and path.stat().st_size):
            assert self.poll() is None, (str(path), self.returncode, self.communicate())
            assert time.monotonic() < deadline, str(path)
            time.sleep(0.001)


def serve():
    """Answer requests until stdin is closed."""
    gc.disable()  # it would visit the imported objects several times
    import torch

    for name in PRELOADED:
        importlib.import_module(name)
    torch.set_num_threads(1)
    gc.freeze()  # so that garbage collection in a child does not copy the memory of the imports
    gc.enable()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        if "reap" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["reap"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                answers.close()
                run_child(**request["start"])
        answers.write(f"{answer}\n")
        answers.flush()


def run_child(*, function, arguments, folder, logs, new_session, environment):
    """Call the function in this forked process and exit."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores Ctrl-C
        if new_session:
            os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor, name in enumerate(logs, 1):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
        os.environ.update(environment)
        os.chdir(folder)
        module, _, name = function.partition(":")
        code = getattr(importlib.import_module(module), name)(*arguments) or 0
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # what an interpreter does at its exit, except for freeing memory
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_script(path, *arguments):
    """Run a Python file like `python FILE ARGUMENTS`."""
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")


def fork_processes_of_runs():
    """Make `launch` fork the processes of a run instead of spawning them."""
    from torch.multiprocessing import start_processes

    launch = importlib.import_module("fastreid.engine.processes.launch")
    launch.spawn = lambda *args, **options: start_processes(*args, **{**options, "start_method": "fork"})


def run_elastic(command, arguments, max_restarts):
    """Run a `fastreid` command like torchrun in two processes, which are forked, and restarted if one of them dies."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=max_restarts, start_method="fork"
    )
    elastic_launch(config, _run_process)(command, arguments)


def _run_process(command, arguments):
    code = run_command(command, arguments)
    if code:
        sys.exit(code)


def run_command(command, arguments):
    """Run a `fastreid` command or a script of tools/; its processes (`--num-gpus`) are forked instead of spawned."""
    from fastreid.cli.main import main
    from fastreid.utils.cli import run_tool

    fork_processes_of_runs()
    if command.endswith(".py"):
        path = str(REPOSITORY / "tools" / command)
        sys.argv = [path, *arguments]
        runpy.run_path(path, run_name="__main__")
        return 0
    sys.argv = ["fastreid", *command.split(), *arguments]
    return run_tool(main)


if __name__ == "__main__":
    serve()
