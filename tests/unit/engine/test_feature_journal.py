import os

import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.data.loading.unreadable import UnreadableDrawings
from fastreid.engine.features import extract as features_module
from fastreid.engine.features import journal as feature_journal
from fastreid.engine.features.inference import run_inference
from fastreid.engine.features.journal import JournalFolder
from fastreid.structures import Batch, Drawing
from fastreid.utils.errors import EnvironmentSetupError, NumericalError

NUM_DRAWINGS, BATCH_SIZE = 10, 4
DRAWINGS = [Drawing(__file__, f"{row}.png", "1") for row in range(NUM_DRAWINGS)]
CPU = torch.device("cpu")


class Stop(Exception):
    pass


class Network(nn.Module):
    """Return three numbers per image; raise Stop after `stop_at` batches."""

    def __init__(self, stop_at=99):
        super().__init__()
        self.stop_at, self.num_batches = stop_at, 0

    def forward(self, images):
        self.num_batches += 1
        if self.num_batches > self.stop_at:
            raise Stop
        return images.flatten(1)[:, :3] * 0.37 + 0.1


def batches(done=()):
    for start in range(0, NUM_DRAWINGS, BATCH_SIZE):
        if start not in done:
            rows = torch.arange(start, min(start + BATCH_SIZE, NUM_DRAWINGS))
            images = torch.rand(NUM_DRAWINGS, 3, 2, 2, generator=torch.Generator().manual_seed(0))[rows]
            yield Batch(images, rows, rows)


def run_with_journal(journal, network):
    done = journal.read()

    def save_batch(rows, features):
        journal.add(int(rows[0]), features)

    try:
        return run_inference(network, batches(done), DRAWINGS, device=CPU, done=done, on_batch=save_batch).features
    finally:
        journal.close()


@pytest.fixture
def journals(tmp_path):
    return JournalFolder(tmp_path / "unfinished", "weights 1")


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "TEST.IMS_PER_BATCH", BATCH_SIZE])
    return cfg


@pytest.mark.parametrize("stop_at", [0, 1, 2])
def test_resume_does_not_recompute_finished_batches(journals, stop_at):
    with pytest.raises(Stop):
        run_with_journal(journals.open(DRAWINGS), Network(stop_at))
    network = Network()
    features = run_with_journal(journals.open(DRAWINGS), network)
    assert torch.equal(features, run_inference(Network(), batches(), DRAWINGS, device=CPU).features)
    assert network.num_batches == 3 - stop_at


def test_complete_journal_needs_no_network(journals):
    whole = run_with_journal(journals.open(DRAWINGS), Network())
    assert torch.equal(run_with_journal(journals.open(DRAWINGS), Network(0)), whole)


def test_records_of_other_weights_or_lists_are_ignored(journals):
    run_with_journal(journals.open(DRAWINGS), Network())
    assert JournalFolder(journals.folder, "weights 2").open(DRAWINGS).read() == {}
    assert journals.open([Drawing(pytest.__file__, "0.png", "1"), *DRAWINGS[1:]]).read() == {}


def test_changed_file_invalidates_only_its_batch(journals, tmp_path):
    path = tmp_path / "4.png"
    path.write_bytes(b"damaged")
    drawings = [*DRAWINGS[:4], Drawing(str(path), "4.png", "1"), *DRAWINGS[5:]]
    run_with_journal(journals.open(drawings), Network())
    path.write_bytes(b"repaired")
    assert journals.open(drawings).read().keys() == {0, 8}


@pytest.mark.parametrize("num_bytes", [3, 30, 60, 70, 119])
def test_truncated_record_is_ignored(journals, num_bytes):
    run_with_journal(journals.open(DRAWINGS), Network())
    [path] = journals.folder.iterdir()
    data = path.read_bytes()
    path.write_bytes(data[:num_bytes])
    record = 16 + 4 * 3 * BATCH_SIZE + 16
    assert len(journals.open(DRAWINGS).read()) == num_bytes // record
    run_with_journal(journals.open(DRAWINGS), Network())
    assert len(journals.open(DRAWINGS).read()) == 3


def test_journal_is_opened_as_a_binary_file(journals, monkeypatch):
    opened = []
    open_file = os.open
    monkeypatch.setattr(feature_journal, "_O_BINARY", os.O_APPEND)  # Linux has no O_BINARY; any other flag can be seen
    monkeypatch.setattr(os, "open", lambda path, flags, *mode: opened.append(flags) or open_file(path, flags, *mode))
    run_with_journal(journals.open(DRAWINGS), Network())
    assert [bool(flags & os.O_APPEND) for flags in opened] == [True]


def test_journal_is_synced_before_it_is_closed(journals, monkeypatch):
    calls = []
    for name in ("fsync", "close"):
        function = getattr(os, name)
        monkeypatch.setattr(os, name, lambda file, name=name, call=function: calls.append((name, file)) or call(file))
    run_with_journal(journals.open(DRAWINGS), Network())
    [synced] = [file for name, file in calls if name == "fsync"]
    assert calls.index(("fsync", synced)) < calls.index(("close", synced))


def test_flipped_bit_never_changes_features(journals):
    whole = run_with_journal(journals.open(DRAWINGS), Network())
    [path] = journals.folder.iterdir()
    data = path.read_bytes()
    for bit in range(0, 8 * len(data), 37):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        for start, features in journals.open(DRAWINGS).read().items():
            assert torch.equal(features, whole[start : start + len(features)])


def test_full_disk_is_logged_once(journals, caplog, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastreid.engine.features.journal.os.write", full)
    assert len(run_with_journal(journals.open(DRAWINGS), Network())) == NUM_DRAWINGS
    assert caplog.text.count("batches of features cannot be stored (No space left on device)") == 1
    assert journals.open(DRAWINGS).read() == {}


def test_remove_deletes_the_folder(journals):
    journals.remove()
    run_with_journal(journals.open(DRAWINGS), Network())
    journals.remove()
    assert not journals.folder.exists()


def test_file_replaced_during_extraction_is_extracted_again(journals, tmp_path):
    path = tmp_path / "4.png"
    path.write_bytes(b"old content")
    drawings = [*DRAWINGS[:4], Drawing(str(path), "4.png", "1"), *DRAWINGS[5:]]
    journal = journals.open(drawings)
    path.write_bytes(b"new")
    run_with_journal(journal, Network())
    assert journals.open(drawings).read().keys() == {0, 8}


def test_non_finite_features_are_named_and_not_stored(journals, cfg, monkeypatch):
    monkeypatch.setattr(features_module, "build_test_loader", lambda cfg, listed, *, done=(), **_: batches(done))
    network = Network()
    network.forward = lambda images: torch.where(torch.arange(len(images))[:, None] == 2, torch.nan, images.flatten(1))
    with pytest.raises(NumericalError, match=r"1 of 4 features are NaN, Inf or zero: 2\.png"):
        features_module.extract_features(cfg, network, DRAWINGS, journals=journals)
    assert not journals.folder.exists()


@pytest.mark.parametrize("has_journals", [True, False])
def test_float16_overflow_suggests_bfloat16(journals, cfg, monkeypatch, has_journals):
    monkeypatch.setattr(features_module, "build_test_loader", lambda cfg, listed, *, done=(), **_: batches(done))
    monkeypatch.setattr(features_module, "inference_dtype", lambda name, device: torch.float16)
    network = Network()
    network.forward = lambda images: (images.flatten(1).half() + 1) * 60000
    with pytest.raises(NumericalError, match=r"are NaN, Inf or zero: .*; .*TEST\.NETWORK_PRECISION bfloat16"):
        features_module.extract_features(cfg, network, DRAWINGS, journals=journals if has_journals else None)


@pytest.mark.parametrize("has_journals", [True, False])
def test_dead_worker_is_an_environment_error(journals, cfg, monkeypatch, has_journals):
    def die(images):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr(features_module, "build_test_loader", lambda cfg, listed, *, done=(), **_: batches(done))
    network = Network()
    network.forward = die
    with pytest.raises(
        EnvironmentSetupError, match=r"died \(DataLoader worker \(pid 7\) .*Killed\.\); lower DATALOADER"
    ):
        features_module.extract_features(cfg, network, DRAWINGS, journals=journals if has_journals else None)


def test_batch_with_substituted_drawing_is_not_stored(journals, cfg, monkeypatch):
    """The only drawing of the last batch is unreadable, so the first row of the batch before replaces it."""
    batch = next(iter(batches(done=(0, 8))))
    substitute = Batch(batch.images[:1], batch.targets[:1], batch.rows[:1])
    monkeypatch.setattr(
        features_module, "build_test_loader", lambda cfg, listed, *, done=(), **_: [*batches(done=(8,)), substitute]
    )
    skipped = UnreadableDrawings(max_num=1)
    features_module.extract_features(cfg, Network(), DRAWINGS[:9], journals=journals, unreadable=skipped)
    assert {start: len(part) for start, part in journals.open(DRAWINGS[:9]).read().items()} == {0: 4, 4: 4}
