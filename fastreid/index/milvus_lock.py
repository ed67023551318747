"""The lock of a collection on a server, for processes of several machines.

A process writes a claim and then reads all claims. If there is another one, it deletes its own and tries later: of two
processes that write claims, the one that reads last sees both, so at most one finds no other. The holder renews its
claim, and others delete one that does not change for a minute, or whose process ended on this machine.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from fastreid.index.backends.milvus_records import MilvusRecords
from fastreid.utils.errors import FastreidError, StorageError
from fastreid.utils.logger import get_logger

_KIND = "claim"
_RENEW_S, _STALE_S = 10.0, 60.0
_RETRY_S = 0.1


class MilvusLock:
    """The lock of a collection.

    Args:
        records: the records of the collection.
        where: name of the collection, for messages.
    """

    def __init__(self, records: MilvusRecords, *, where: str):
        self._records, self._where = records, where
        self._name = ""  # of the claim that this process holds
        self._renewed, self._is_lost = 0.0, False
        self._seen: dict[str, tuple[str, float]] = {}  # claims of others, with the time when they changed

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock; wait while another process has it.

        Raises:
            StorageError: the server is not reachable.
        """
        name = self._acquire()
        self._name, self._renewed, self._is_lost = name, time.monotonic(), False
        stop = threading.Event()
        thread = threading.Thread(target=self._renew, args=(name, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._name = ""
            with contextlib.suppress(FastreidError):  # others delete it after a minute
                self._records.delete(_KIND, [name])

    def check(self) -> None:
        """Check that this process still holds the lock.

        Raises:
            StorageError: it was interrupted for so long that another process took the lock.
        """
        if not self._name or self._is_lost or time.monotonic() - self._renewed > _STALE_S:
            raise StorageError(
                f"{self._where}: the lock was lost, because the server was not reachable for a minute or the process "
                "was suspended; run the command again"
            )

    def _acquire(self) -> str:
        has_waited = False
        while True:
            if not self._list_others(""):
                name = uuid.uuid4().hex
                self._records.write(_KIND, {name: _describe_process(0)})
                if not self._list_others(name):
                    return name
                self._records.delete(_KIND, [name])
            if not has_waited:
                get_logger().info(f"another process is changing the collection {self._where}; waiting for it")
                has_waited = True
            time.sleep(_RETRY_S + _RETRY_S * os.urandom(1)[0] / 64)  # others wait for another time

    def _list_others(self, name: str) -> set[str]:
        """Return the claims of other processes, and delete those of processes that ended."""
        now = time.monotonic()
        claims = self._records.read_all(_KIND)
        claims.pop(name, None)
        self._seen = {
            other: self._seen[other] if self._seen.get(other, ("", 0))[0] == content else (content, now)
            for other, content in claims.items()
        }
        ended = {
            other for other, (content, changed) in self._seen.items() if now - changed > _STALE_S or _has_ended(content)
        }
        self._records.delete(_KIND, ended)
        return claims.keys() - ended

    def _renew(self, name: str, stop: threading.Event) -> None:
        number = 0
        while not stop.wait(_RENEW_S):
            started, number = time.monotonic(), number + 1
            with contextlib.suppress(FastreidError):  # `check` fails if this lasts too long
                if started - self._renewed > _STALE_S or self._records.read(_KIND, name) is None:
                    self._is_lost = True
                    return
                self._records.write(_KIND, {name: _describe_process(number)})
                self._renewed = started


def _describe_process(number: int) -> str:
    """Return a text that identifies this process; it differs for each number."""
    content = {"machine": _identify_machine(), "pid": os.getpid(), "start": _read_start(os.getpid()), "number": number}
    return json.dumps(content)


def _has_ended(content: str) -> bool:
    """Return whether a process of this machine has ended; False for those of other machines."""
    try:
        claim: Mapping[str, object] = json.loads(content)
        machine, pid, start = claim["machine"], int(str(claim["pid"])), claim["start"]
    except (ValueError, KeyError, TypeError):
        return False
    return bool(machine) and machine == _identify_machine() and _read_start(pid) != start


def _identify_machine() -> str:
    """Return a text that processes have in common which see each other's numbers; "" if that is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _read_start(pid: int) -> str:
    """Return the time at which a process started, in ticks since the machine did; "" if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a zombie has ended
