"""The cache of pages: the pixels of the files, whatever happens to either."""

import multiprocessing
import os
import re
import shutil
import sqlite3
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from fastreid.data.io.cache.store import PageCache
from fastreid.data.io.image import read_drawing
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError, StorageError

LONGEST = 40


def write(path, seed, size=(50, 70)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)).save(path)
    return Drawing(str(path), path.name, "1", source=f"list.txt:{seed + 1}")


@pytest.fixture
def drawings(tmp_path):
    return [write(tmp_path / f"data/{seed}.png", seed) for seed in range(40)]


def cache_in(folder, **options):
    return PageCache(folder, **{"longest_px": LONGEST} | options)


def pages(read, drawings):
    return [read(drawing) for drawing in drawings]


def from_files(drawings, longest_px=LONGEST):
    return [read_drawing(drawing, longest_px=longest_px) for drawing in drawings]


def same(some, others):
    return len(some) == len(others) and all(np.array_equal(one, other) for one, other in zip(some, others))


@pytest.mark.parametrize("longest_px", [0, LONGEST, 10_000])
def test_pages_are_those_of_the_files_bit_for_bit(tmp_path, drawings, longest_px):
    cache = cache_in(tmp_path / "cache", longest_px=longest_px)
    cache.fill(drawings)
    expected = from_files(drawings, longest_px)
    for drawing in drawings:
        os.unlink(drawing.path)  # so that only the cache can give them
    assert same(pages(cache.read, drawings), expected)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_filling_tells_what_it_did_and_how_far_it_is(tmp_path, drawings, num_workers):
    told = []
    cache = cache_in(tmp_path / "cache")
    filled = cache.fill(drawings[:30], num_workers=num_workers, on_page=lambda done, num: told.append((done, num)))
    assert (filled.num_made, filled.num_kept) == (30, 0)
    assert told == [(done, 30) for done in range(1, 31)]
    filled = cache.fill(drawings)
    assert (filled.num_made, filled.num_kept) == (10, 30)
    assert cache.size()[0] == 40


def test_a_file_that_changed_was_added_or_came_back_is_noticed(tmp_path, drawings):
    cache = cache_in(tmp_path / "cache")
    cache.fill(drawings)
    before = os.stat(drawings[3].path)
    write(tmp_path / "data/3.png", 103)
    os.utime(drawings[3].path, ns=(before.st_atime_ns, before.st_mtime_ns))  # only st_ctime gives it away
    new = write(tmp_path / "data/new.png", 200)
    assert cache.fill([*drawings, new]).num_made == 2
    assert same(pages(cache.read, [*drawings, new]), from_files([*drawings, new]))


def test_a_file_that_was_only_touched_is_read_but_not_decoded(tmp_path, drawings, monkeypatch):
    cache = cache_in(tmp_path / "cache")
    cache.fill(drawings)
    os.utime(drawings[3].path)
    monkeypatch.delattr("fastreid.data.io.cache.entries.page_of")
    assert cache.fill(drawings).num_made == 1
    assert cache.fill(drawings).num_made == 0


def test_equal_files_share_a_page(tmp_path, drawings):
    cache = cache_in(tmp_path / "cache")
    twins = [write(tmp_path / f"data/twin{number}.png", 3) for number in range(5)]
    cache.fill([*drawings, *twins])
    assert cache.size()[0] == 40


def test_a_folder_that_moves_with_its_data_needs_nothing_decoded(tmp_path, monkeypatch):
    drawings = [write(tmp_path / f"root/data/{seed}.png", seed) for seed in range(5)]
    cache_in(tmp_path / "root/cache").fill(drawings)
    (tmp_path / "root").rename(tmp_path / "moved")
    moved = [Drawing(drawing.path.replace("/root/", "/moved/"), drawing.name, "1") for drawing in drawings]
    monkeypatch.delattr("fastreid.data.io.cache.entries.page_of")
    cache = cache_in(tmp_path / "moved/cache")
    cache.fill(moved)
    monkeypatch.delattr("fastreid.data.io.cache.store.read_drawing")
    assert len(pages(cache.read, moved)) == 5


def test_other_settings_are_another_file(tmp_path, drawings, monkeypatch):
    names = {cache_in(tmp_path, longest_px=longest_px).path.name for longest_px in (0, 40, 41)}
    monkeypatch.setattr("PIL.__version__", "0.0")
    names.add(cache_in(tmp_path).path.name)
    assert len(names) == 4


def test_all_bad_images_are_told_at_once_and_the_others_are_kept(tmp_path, drawings):
    for row in (4, 9):
        (tmp_path / f"data/{row}.png").write_bytes(b"no image")
    cache = cache_in(tmp_path / "cache")
    filled = cache.fill(drawings)
    assert (filled.num_made, filled.num_kept, cache.size()[0]) == (38, 0, 38)
    assert list(filled.faults) == [drawings[4].path, drawings[9].path]
    for row, fault in zip((4, 9), filled.faults.values()):
        with pytest.raises(InputError, match=f"^{re.escape(fault)}$"):
            read_drawing(drawings[row])
    again = cache.fill(drawings)
    assert (again.num_made, again.num_kept, again.faults) == (0, 38, filled.faults)


def test_a_file_that_is_gone_is_told_and_forgotten_when_asked(tmp_path, drawings):
    cache = cache_in(tmp_path / "cache")
    cache.fill(drawings)
    os.unlink(drawings[0].path)
    [fault] = cache.fill(drawings).faults.values()
    assert re.match(r"list.txt:1: .*0.png: cannot be read \(No such file", fault)
    assert cache.mend() == 1
    assert cache.size()[0] == 39
    assert cache.fill(drawings[1:]).num_made == 0


def test_a_damaged_page_is_read_from_its_file_and_told_once(tmp_path, drawings, monkeypatch):
    cache = cache_in(tmp_path / "cache")
    cache.fill(drawings)
    connection = sqlite3.connect(cache.path)
    entries = connection.execute("SELECT digest, page FROM pages").fetchall()
    for number, (digest, page) in enumerate(entries):
        place = number * len(page) // len(entries)
        bad = page[:place] + bytes([page[place] ^ 1 << number % 8]) + page[place + 1 :]
        connection.execute("UPDATE pages SET page = ? WHERE digest = ?", (bad, digest))
    connection.commit()
    connection.close()
    told = mock.Mock()
    monkeypatch.setattr("fastreid.data.io.cache.store.get_logger", lambda: told)
    for _ in range(2):
        assert same(pages(cache.read, drawings), from_files(drawings))
    assert told.warning.call_count == 40
    assert "is damaged, so its file is read; tools/prepare.py --mend" in told.warning.call_args.args[0]
    assert cache.mend() == 40
    assert cache.fill(drawings).num_made == 40


def test_no_flipped_bit_of_the_file_gives_other_pixels(tmp_path, drawings):
    whole = cache_in(tmp_path / "cache")
    whole.fill(drawings)
    content, expected = whole.path.read_bytes(), from_files(drawings)
    rng = np.random.default_rng(0)
    for trial in range(300):
        place = (
            int(rng.integers(len(content))) if trial % 2 else int(rng.integers(2 * 8192))
        )  # half of them in the tables
        cache = cache_in(tmp_path / f"c{trial}")
        cache.path.parent.mkdir()
        cache.path.write_bytes(
            content[:place] + bytes([content[place] ^ 1 << int(rng.integers(8))]) + content[place + 1 :]
        )
        try:
            found = pages(cache.read, drawings)
        except StorageError:
            found = expected
        finally:
            cache.close()
        assert same(found, expected)


@pytest.mark.parametrize("cut", [0, 1, 100, 8192, 20_000])
def test_a_file_cut_short_is_refused(tmp_path, drawings, cut):
    cache = cache_in(tmp_path / "cache")
    cache.fill(drawings)
    cache.close()
    os.truncate(cache.path, cut)
    with pytest.raises(StorageError, match=r"damaged \(.*\); remove it, and its pages are made anew"):
        pages(cache.read, drawings)


def test_another_programs_file_is_refused(tmp_path, drawings):
    cache = cache_in(tmp_path / "cache")
    cache.path.parent.mkdir()
    cache.path.write_bytes(b"something else that is long enough to be read as a header" * 20)
    with pytest.raises(StorageError, match=r"damaged \(file is not a database\); remove it"):
        cache.fill(drawings)


def test_a_full_cache_in_a_folder_that_cannot_be_written_serves(tmp_path, drawings, monkeypatch):
    bad = Drawing(str(tmp_path / "bad.png"), "bad.png", "1")
    (tmp_path / "bad.png").write_bytes(b"no image")
    cache_in(tmp_path / "cache").fill([*drawings, bad])
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for a user who is not root
    monkeypatch.setattr(os, "open", _refusing(os.open))
    cache = cache_in(tmp_path / "cache")
    filled = cache.fill([*drawings, bad])
    assert (filled.num_made, filled.num_kept, list(filled.faults)) == (0, 40, [bad.path])
    monkeypatch.delattr("fastreid.data.io.cache.store.read_drawing")
    assert len(pages(cache.read, drawings)) == 40


def _refusing(really):
    def opened(path, flags, *rest, **options):
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return really(path, flags, *rest, **options)

    return opened


def test_names_of_any_script_and_bytes_that_are_no_text_are_kept(tmp_path):
    drawings = [write(tmp_path / "dätä ü/図 1.png", 0)]
    odd = os.fsdecode(os.fsencode(tmp_path / "dätä ü") + b"/\xff\xfe.png")
    shutil.copy(drawings[0].path, odd)
    drawings.append(Drawing(odd, "odd.png", "1"))
    cache = cache_in(tmp_path / "cäche")
    cache.fill(drawings)
    assert cache.fill(drawings).num_made == 0
    assert same(pages(cache.read, drawings), from_files(drawings))


def test_what_it_does_not_hold_is_read_from_its_file(tmp_path, drawings):
    cache = cache_in(tmp_path / "cache")
    cache.fill(drawings[:5])
    assert same(pages(cache.read, drawings), from_files(drawings))


def test_a_cache_that_another_run_holds_is_told_so_and_files_are_read(tmp_path, drawings, monkeypatch):
    cache = cache_in(tmp_path / "cache")
    cache.fill(drawings)
    really = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *words, timeout, **options: really(*words, timeout=0.1, **options))
    cache = cache_in(tmp_path / "cache")
    other = really(cache.path)
    other.execute("BEGIN EXCLUSIVE")
    try:
        assert same(pages(cache.read, drawings[:2]), from_files(drawings[:2]))
        with pytest.raises(StorageError, match=r"database is locked; wait for the other run"):
            cache.fill(drawings)
    finally:
        other.close()
    assert same(pages(cache.read, drawings), from_files(drawings))


def test_a_filling_run_lets_others_read(tmp_path, drawings, monkeypatch):
    noise = [write(tmp_path / f"data/large{seed}.png", seed, size=(800, 900)) for seed in range(12)]
    reader = cache_in(tmp_path / "cache", longest_px=0)
    reader.fill(drawings)
    really, read = sqlite3.connect, []
    monkeypatch.setattr(sqlite3, "connect", lambda *words, timeout, **options: really(*words, timeout=0, **options))
    filler = cache_in(tmp_path / "cache", longest_px=0)  # 8 MiB of pages, four times what SQLite keeps in memory
    filler.fill(noise, on_page=lambda done, num: read.append(reader.read(drawings[0])))
    assert same(read, 12 * from_files(drawings[:1], longest_px=0))
    assert not reader._told


def test_a_process_that_was_forked_opens_the_cache_for_itself(tmp_path, drawings):
    cache = cache_in(tmp_path / "cache")
    cache.fill(drawings)
    cache.read(drawings[0])
    [mine] = cache._connections

    def child(answers):
        cache.read(drawings[0])
        answers.put(sorted(place[0] for place in cache._connections))

    answers = multiprocessing.get_context("fork").SimpleQueue()
    forked = multiprocessing.get_context("fork").Process(target=child, args=(answers,))
    forked.start()
    forked.join(timeout=30)
    assert answers.get() == sorted([mine[0], forked.pid])


def test_a_smaller_limit_of_pixels_holds_for_what_was_cached_under_a_larger_one(tmp_path, drawings):
    cache_in(tmp_path / "cache").fill(drawings)
    faults = cache_in(tmp_path / "cache", max_pixels=1000).fill(drawings).faults
    assert all("is more than the 1000 allowed" in fault for fault in faults.values())
    assert len(faults) == 40
