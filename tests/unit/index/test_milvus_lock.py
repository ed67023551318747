"""The lock of a collection on a Milvus server: one holder, processes that end, and a holder that is interrupted."""

import json
from concurrent import futures

import pytest

from fastreid.index import milvus_lock
from fastreid.index.backends.milvus_client import connect, parse_address
from fastreid.index.backends.milvus_records import MilvusRecords
from fastreid.index.milvus_lock import MilvusLock
from fastreid.utils.errors import StorageError


@pytest.fixture
def records(milvus_server):
    address = parse_address(f"{milvus_server}/locks")
    records = MilvusRecords(connect(address), address)
    if not records.table.exists():
        records.create()
    return records


def test_only_one_process_holds_the_lock(records, monkeypatch):
    first, second = MilvusLock(records, where="c"), MilvusLock(records, where="c")
    with pytest.raises(StorageError, match="c: the lock was lost"):
        first.check()
    with futures.ThreadPoolExecutor(1) as executor:
        with first.hold():
            first.check()
            waiting = executor.submit(second._acquire)
            with pytest.raises(futures.TimeoutError):
                waiting.result(0.5)
        records.delete("claim", [waiting.result(60)])
    this = json.loads(milvus_lock._describe_process(0))
    for content in (this | {"start": "1"}, this | {"pid": 2**22 + 1}):  # ended, and its number may be used again
        records.write("claim", {"other": json.dumps(content)})
        with first.hold():
            assert set(records.read_all("claim")) == {first._name}
    records.write("claim", {"other": json.dumps(this | {"machine": "another"})})
    assert first._list_others("") == {"other"}
    monkeypatch.setattr(milvus_lock, "_STALE_S", -1.0)  # the claim did not change for longer than this
    assert first._list_others("") == set()


def test_claims_at_the_same_time_exclude_each_other(records):
    lock, other = MilvusLock(records, where="c"), json.dumps({"machine": "another", "pid": 1, "start": "1"})
    list_others, calls = lock._list_others, []

    def claim_after_the_first_look(name):
        found = list_others(name)
        if not calls:
            records.write("claim", {"other": other})
        calls.append(name)
        return found

    lock._list_others = claim_after_the_first_look
    with futures.ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(lock._acquire)
        with pytest.raises(futures.TimeoutError):
            waiting.result(0.5)
        records.delete("claim", ["other"])
        records.delete("claim", [waiting.result(60)])
    assert calls[1] != ""


def test_lost_lock_stops_changes(records, monkeypatch):
    lock = MilvusLock(records, where="c")
    monkeypatch.setattr(milvus_lock, "_RENEW_S", 0.01)
    with lock.hold():
        name = lock._name
        while json.loads(records.read("claim", name) or "{}").get("number", 0) < 2:
            lock.check()
        records.delete("claim", [name])
        while not lock._is_lost:
            records.delete("claim", [name])  # a renewal can be under way
        with pytest.raises(StorageError, match="run the command again"):
            lock.check()
