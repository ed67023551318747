import multiprocessing
import os
import re
import shutil
import sqlite3
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from fastreid.data.io.cache import entries
from fastreid.data.io.cache.entries import decode_files, get_file_state
from fastreid.data.io.cache.store import PageCache
from fastreid.data.io.image import MAX_PIXELS, read_drawing
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError, StorageError

LONGEST_PX = 40


def write_image(path, seed, size=(50, 70)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)).save(path)
    return Drawing(str(path), path.name, "1", source=f"list.txt:{seed + 1}")


@pytest.fixture
def drawings(tmp_path):
    return [write_image(tmp_path / f"data/{seed}.png", seed) for seed in range(40)]


def make_cache(folder, **options):
    return PageCache(folder, **{"longest_px": LONGEST_PX} | options)


def read_all(read, drawings):
    return [read(drawing) for drawing in drawings]


def read_files(drawings, longest_px=LONGEST_PX):
    return [read_drawing(drawing, longest_px=longest_px) for drawing in drawings]


def all_equal(first, second):
    return len(first) == len(second) and all(np.array_equal(*pair) for pair in zip(first, second))


@pytest.mark.parametrize("longest_px", [0, LONGEST_PX, 10_000])
def test_cached_pages_equal_those_of_the_files(tmp_path, drawings, longest_px):
    cache = make_cache(tmp_path / "cache", longest_px=longest_px)
    cache.fill(drawings)
    expected = read_files(drawings, longest_px)
    for drawing in drawings:
        os.unlink(drawing.path)  # so that only the cache can give them
    assert all_equal(read_all(cache.read, drawings), expected)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_fill_reports_counts_and_progress(tmp_path, drawings, num_workers):
    progress = []
    cache = make_cache(tmp_path / "cache")
    report = cache.fill(
        drawings[:30], num_workers=num_workers, on_progress=lambda done, num: progress.append((done, num))
    )
    assert (report.num_decoded, report.num_reused) == (30, 0)
    assert progress == [(done, 30) for done in range(1, 31)]
    report = cache.fill(drawings)
    assert (report.num_decoded, report.num_reused) == (10, 30)
    assert cache.size()[0] == 40


def test_changed_and_new_files_are_decoded(tmp_path, drawings):
    cache = make_cache(tmp_path / "cache")
    cache.fill(drawings)
    before = os.stat(drawings[3].path)
    write_image(tmp_path / "data/3.png", 103)
    os.utime(drawings[3].path, ns=(before.st_atime_ns, before.st_mtime_ns))  # only st_ctime differs
    new = write_image(tmp_path / "data/new.png", 200)
    assert cache.fill([*drawings, new]).num_decoded == 2
    assert all_equal(read_all(cache.read, [*drawings, new]), read_files([*drawings, new]))


def test_touched_file_is_read_but_not_decoded(tmp_path, drawings, monkeypatch):
    cache = make_cache(tmp_path / "cache")
    cache.fill(drawings)
    os.utime(drawings[3].path)
    monkeypatch.delattr("fastreid.data.io.cache.entries.decode_page")
    assert cache.fill(drawings).num_decoded == 1
    assert cache.fill(drawings).num_decoded == 0


def test_equal_files_share_a_page(tmp_path, drawings):
    cache = make_cache(tmp_path / "cache")
    twins = [write_image(tmp_path / f"data/twin{number}.png", 3) for number in range(5)]
    cache.fill([*drawings, *twins])
    assert cache.size()[0] == 40


def test_file_is_hashed_once_for_its_pages(tmp_path, monkeypatch):
    images = [Image.fromarray(np.full((9, 9), level, np.uint8)) for level in range(10)]
    images[0].save(tmp_path / "a.tif", save_all=True, append_images=images[1:])
    drawings = [Drawing(f"{tmp_path}/a.tif#page={page + 1}", f"a.tif#page={page + 1}", "1") for page in range(10)]
    hashed, hash_file = [], entries._hash_file
    monkeypatch.setattr(entries, "_hash_file", lambda file: hashed.append(file.name) or hash_file(file))
    cache = make_cache(tmp_path / "cache")
    cache.fill([*drawings, write_image(tmp_path / "b.png", 1)])
    assert sorted(hashed) == [str(tmp_path / "a.tif"), str(tmp_path / "b.png")]
    assert [int(cache.read(drawing).max()) for drawing in drawings] == list(range(10))


def test_cache_that_moves_with_its_data_is_still_valid(tmp_path, monkeypatch):
    drawings = [write_image(tmp_path / f"root/data/{seed}.png", seed) for seed in range(5)]
    make_cache(tmp_path / "root/cache").fill(drawings)
    (tmp_path / "root").rename(tmp_path / "moved")
    moved = [Drawing(drawing.path.replace("/root/", "/moved/"), drawing.name, "1") for drawing in drawings]
    monkeypatch.delattr("fastreid.data.io.cache.entries.decode_page")
    cache = make_cache(tmp_path / "moved/cache")
    cache.fill(moved)
    monkeypatch.delattr("fastreid.data.io.cache.store.read_drawing")
    assert len(read_all(cache.read, moved)) == 5


def test_other_settings_use_another_file(tmp_path, drawings, monkeypatch):
    names = {make_cache(tmp_path, longest_px=longest_px).path.name for longest_px in (0, 40, 41)}
    monkeypatch.setattr("PIL.__version__", "0.0")
    names.add(make_cache(tmp_path).path.name)
    assert len(names) == 4


def test_fill_reports_all_unreadable_images_and_stores_the_others(tmp_path, drawings):
    for row in (4, 9):
        (tmp_path / f"data/{row}.png").write_bytes(b"no image")
    cache = make_cache(tmp_path / "cache")
    report = cache.fill(drawings)
    assert (report.num_decoded, report.num_reused, cache.size()[0]) == (38, 0, 38)
    assert list(report.faults) == [drawings[4].path, drawings[9].path]
    for row, fault in zip((4, 9), report.faults.values()):
        with pytest.raises(InputError, match=f"^{re.escape(fault)}$"):
            read_drawing(drawings[row])
    second = cache.fill(drawings)
    assert (second.num_decoded, second.num_reused, second.faults) == (0, 38, report.faults)


def test_missing_file_is_reported_and_removed_by_repair(tmp_path, drawings):
    cache = make_cache(tmp_path / "cache")
    cache.fill(drawings)
    os.unlink(drawings[0].path)
    [fault] = cache.fill(drawings).faults.values()
    assert re.match(r"list.txt:1: .*0.png: cannot be read \(No such file", fault)
    assert cache.repair() == 1
    assert cache.size()[0] == 39
    assert cache.fill(drawings[1:]).num_decoded == 0


def test_damaged_page_is_read_from_its_file_with_one_warning(tmp_path, drawings, monkeypatch):
    cache = make_cache(tmp_path / "cache")
    cache.fill(drawings)
    connection = sqlite3.connect(cache.path)
    entries = connection.execute("SELECT digest, page FROM pages").fetchall()
    for number, (digest, page) in enumerate(entries):
        offset = number * len(page) // len(entries)
        damaged = page[:offset] + bytes([page[offset] ^ 1 << number % 8]) + page[offset + 1 :]
        connection.execute("UPDATE pages SET page = ? WHERE digest = ?", (damaged, digest))
    connection.commit()
    connection.close()
    logger = mock.Mock()
    monkeypatch.setattr("fastreid.data.io.cache.store.get_logger", lambda: logger)
    for _ in range(2):
        assert all_equal(read_all(cache.read, drawings), read_files(drawings))
    assert logger.warning.call_count == 40
    assert (
        "is damaged, reading its file instead; repair the cache: fastreid data cache --config-file FILE --repair"
        in logger.warning.call_args.args[0]
    )
    assert cache.repair() == 40
    assert cache.fill(drawings).num_decoded == 40


def test_flipped_bit_in_the_cache_never_changes_pixels(tmp_path, drawings):
    intact = make_cache(tmp_path / "cache")
    intact.fill(drawings)
    content, expected = intact.path.read_bytes(), read_files(drawings)
    rng = np.random.default_rng(0)
    for trial in range(300):
        offset = int(rng.integers(len(content) if trial % 2 else 2 * 8192))  # half of them in the tables
        cache = make_cache(tmp_path / f"c{trial}")
        cache.path.parent.mkdir()
        cache.path.write_bytes(
            content[:offset] + bytes([content[offset] ^ 1 << int(rng.integers(8))]) + content[offset + 1 :]
        )
        try:
            pages = read_all(cache.read, drawings)
        except StorageError:
            pages = expected
        finally:
            cache.close()
        assert all_equal(pages, expected)


@pytest.mark.parametrize("cut", [0, 1, 100, 8192, 20_000])
def test_truncated_cache_raises_storage_error(tmp_path, drawings, cut):
    cache = make_cache(tmp_path / "cache")
    cache.fill(drawings)
    cache.close()
    os.truncate(cache.path, cut)
    with pytest.raises(StorageError, match=r"damaged \(.*\); delete the file, and the next run decodes it again"):
        read_all(cache.read, drawings)


def test_file_of_another_program_raises_storage_error(tmp_path, drawings):
    cache = make_cache(tmp_path / "cache")
    cache.path.parent.mkdir()
    cache.path.write_bytes(b"something else that is long enough to be read as a header" * 20)
    with pytest.raises(StorageError, match=r"damaged \(file is not a database\); delete the file"):
        cache.fill(drawings)


def test_full_cache_works_in_a_read_only_folder(tmp_path, drawings, monkeypatch):
    unreadable = Drawing(str(tmp_path / "bad.png"), "bad.png", "1")
    (tmp_path / "bad.png").write_bytes(b"no image")
    make_cache(tmp_path / "cache").fill([*drawings, unreadable])
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for a user who is not root
    monkeypatch.setattr(os, "open", fail_to_create(os.open))
    cache = make_cache(tmp_path / "cache")
    report = cache.fill([*drawings, unreadable])
    assert (report.num_decoded, report.num_reused, list(report.faults)) == (0, 40, [unreadable.path])
    monkeypatch.delattr("fastreid.data.io.cache.store.read_drawing")
    assert len(read_all(cache.read, drawings)) == 40


def fail_to_create(open_file):
    def patched(path, flags, *rest, **options):
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return open_file(path, flags, *rest, **options)

    return patched


def test_unicode_and_non_text_paths_are_stored(tmp_path):
    drawings = [write_image(tmp_path / "dätä ü/図 1.png", 0)]
    non_text = os.fsdecode(os.fsencode(tmp_path / "dätä ü") + b"/\xff\xfe.png")
    shutil.copy(drawings[0].path, non_text)
    drawings.append(Drawing(non_text, "odd.png", "1"))
    cache = make_cache(tmp_path / "cäche")
    cache.fill(drawings)
    assert cache.fill(drawings).num_decoded == 0
    assert all_equal(read_all(cache.read, drawings), read_files(drawings))


def test_pages_not_in_the_cache_are_read_read_files(tmp_path, drawings):
    cache = make_cache(tmp_path / "cache")
    cache.fill(drawings[:5])
    assert all_equal(read_all(cache.read, drawings), read_files(drawings))


def test_files_are_read_while_the_cache_is_locked(tmp_path, drawings, monkeypatch):
    cache = make_cache(tmp_path / "cache")
    cache.fill(drawings)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, timeout, **options: connect(*args, timeout=0.1, **options))
    cache = make_cache(tmp_path / "cache")
    other = connect(cache.path)
    other.execute("BEGIN EXCLUSIVE")
    try:
        assert all_equal(read_all(cache.read, drawings[:2]), read_files(drawings[:2]))
        with pytest.raises(StorageError, match=r"another program has locked it for 5 s; end that program"):
            cache.fill(drawings)
    finally:
        other.close()
    assert all_equal(read_all(cache.read, drawings), read_files(drawings))


def test_cache_can_be_read_while_another_run_fills_it(tmp_path, drawings, monkeypatch):
    noise = [write_image(tmp_path / f"data/large{seed}.png", seed, size=(800, 900)) for seed in range(12)]
    reader = make_cache(tmp_path / "cache", longest_px=0)
    reader.fill(drawings)
    connect, pages = sqlite3.connect, []
    monkeypatch.setattr(sqlite3, "connect", lambda *args, timeout, **options: connect(*args, timeout=0, **options))
    filler = make_cache(tmp_path / "cache", longest_px=0)  # 8 MiB of pages, four times what SQLite keeps in memory
    filler.fill(noise, on_progress=lambda done, num: pages.append(reader.read(drawings[0])))
    assert all_equal(pages, 12 * read_files(drawings[:1], longest_px=0))
    assert not reader._warned


def test_forked_process_opens_its_own_connection(tmp_path, drawings):
    cache = make_cache(tmp_path / "cache")
    cache.fill(drawings)
    cache.read(drawings[0])
    [owner] = cache.connections.open

    def child(answers):
        cache.read(drawings[0])
        answers.put(sorted(pid for pid, _ in cache.connections.open))

    answers = multiprocessing.get_context("fork").SimpleQueue()
    forked = multiprocessing.get_context("fork").Process(target=child, args=(answers,))
    forked.start()
    forked.join(timeout=30)
    assert answers.get() == sorted([owner[0], forked.pid])


def test_smaller_pixel_limit_applies_to_cached_pages(tmp_path, drawings):
    make_cache(tmp_path / "cache").fill(drawings)
    faults = make_cache(tmp_path / "cache", max_pixels=1000).fill(drawings).faults
    assert all("is more than the 1000 allowed" in fault for fault in faults.values())
    assert len(faults) == 40


def test_state_of_a_file_is_its_size_and_both_times(drawings):
    path = drawings[0].path
    status = os.stat(path)
    state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    [entry] = decode_files({path: None}, 0, LONGEST_PX, MAX_PIXELS)
    assert (get_file_state(path), entry.state) == (state, state)
