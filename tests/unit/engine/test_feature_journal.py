import pytest
import torch
from torch import nn

from fastreid.engine.feature_journal import Journals
from fastreid.engine.inference import extract
from fastreid.structures import Batch, Drawing
from fastreid.utils.errors import EnvironmentSetupError, NumericalError

ROWS, BATCH = 10, 4
LIST = [Drawing(__file__, f"{row}.png", "1") for row in range(ROWS)]
CPU = torch.device("cpu")


class Stop(Exception):
    pass


class Network(nn.Module):
    """Gives three numbers of each image, and stops when it is told to."""

    def __init__(self, stop_at=99):
        super().__init__()
        self.stop_at, self.num_batches = stop_at, 0

    def forward(self, images):
        self.num_batches += 1
        if self.num_batches > self.stop_at:
            raise Stop
        return images.flatten(1)[:, :3] * 0.37 + 0.1


def batches(done=()):
    for start in range(0, ROWS, BATCH):
        if start not in done:
            rows = torch.arange(start, min(start + BATCH, ROWS))
            images = torch.rand(ROWS, 3, 2, 2, generator=torch.Generator().manual_seed(0))[rows]
            yield Batch(images, rows, rows)


def extracted(journal, network):
    done = journal.read()

    def keep(rows, features):
        journal.add(int(rows[0]), features)

    try:
        return extract(network, batches(done), LIST, device=CPU, done=done, keep=keep).features
    finally:
        journal.close()


@pytest.fixture
def journals(tmp_path):
    return Journals(tmp_path / "unfinished", "weights 1")


@pytest.mark.parametrize("stop_at", [0, 1, 2])
def test_what_was_made_before_a_stop_is_not_made_again_and_changes_no_bit(journals, stop_at):
    with pytest.raises(Stop):
        extracted(journals.of(LIST), Network(stop_at))
    network = Network()
    found = extracted(journals.of(LIST), network)
    assert torch.equal(found, extract(Network(), batches(), LIST, device=CPU).features)
    assert network.num_batches == 3 - stop_at


def test_a_run_that_had_made_all_batches_needs_no_network(journals):
    whole = extracted(journals.of(LIST), Network())
    assert torch.equal(extracted(journals.of(LIST), Network(0)), whole)


def test_features_of_other_weights_or_lists_do_not_count(journals):
    extracted(journals.of(LIST), Network())
    assert Journals(journals.folder, "weights 2").of(LIST).read() == {}
    assert journals.of([Drawing(pytest.__file__, "0.png", "1"), *LIST[1:]]).read() == {}


def test_a_file_that_was_changed_costs_its_own_batch(journals, tmp_path):
    path = tmp_path / "4.png"
    path.write_bytes(b"bad")
    drawings = [*LIST[:4], Drawing(str(path), "4.png", "1"), *LIST[5:]]
    extracted(journals.of(drawings), Network())
    path.write_bytes(b"mended")
    assert journals.of(drawings).read().keys() == {0, 8}


@pytest.mark.parametrize("keep", [3, 30, 60, 70, 119])
def test_a_record_that_was_cut_off_does_not_count_and_those_before_it_do(journals, keep):
    extracted(journals.of(LIST), Network())
    [path] = journals.folder.iterdir()
    data = path.read_bytes()
    path.write_bytes(data[:keep])
    record = 16 + 4 * 3 * BATCH + 16
    assert len(journals.of(LIST).read()) == keep // record
    extracted(journals.of(LIST), Network())
    assert len(journals.of(LIST).read()) == 3


def test_no_flipped_bit_gives_other_features(journals):
    whole = extracted(journals.of(LIST), Network())
    [path] = journals.folder.iterdir()
    data = path.read_bytes()
    for bit in range(0, 8 * len(data), 37):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        for start, features in journals.of(LIST).read().items():
            assert torch.equal(features, whole[start : start + len(features)])


def test_a_full_disk_is_told_once_and_costs_only_what_would_be_kept(journals, caplog, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastreid.engine.feature_journal.os.write", full)
    assert len(extracted(journals.of(LIST), Network())) == ROWS
    assert caplog.text.count("cannot be kept as they are made (No space left on device)") == 1
    assert journals.of(LIST).read() == {}


def test_journals_are_gone_once_all_is_written_elsewhere(journals):
    journals.remove()
    extracted(journals.of(LIST), Network())
    journals.remove()
    assert not journals.folder.exists()


def test_a_file_replaced_while_its_batch_is_on_the_way_is_not_taken_for_the_new_one(journals, tmp_path):
    path = tmp_path / "4.png"
    path.write_bytes(b"what was read")
    drawings = [*LIST[:4], Drawing(str(path), "4.png", "1"), *LIST[5:]]
    journal = journals.of(drawings)
    path.write_bytes(b"what came then")
    extracted(journal, Network())
    assert journals.of(drawings).read().keys() == {0, 8}


def test_features_that_are_no_numbers_are_named_and_not_kept(journals, monkeypatch):
    """Through `embed`, which all extractions go through."""
    from fastreid.config import get_cfg
    from fastreid.engine import features as features_module

    monkeypatch.setattr(features_module, "build_test_loader", lambda cfg, listed, *, done=(), **_: batches(done))
    network = Network()
    network.forward = lambda images: torch.where(torch.arange(len(images))[:, None] == 2, torch.nan, images.flatten(1))
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "TEST.IMS_PER_BATCH", BATCH])
    with pytest.raises(NumericalError, match=r"1 of 4 features are NaN, Inf or zero: 2\.png"):
        features_module.embed(cfg, network, LIST, journals=journals)
    assert not journals.folder.exists()


@pytest.mark.parametrize("kept", [True, False])
def test_features_that_overflow_in_float16_are_told_with_a_way_out(journals, monkeypatch, kept):
    from fastreid.config import get_cfg
    from fastreid.engine import features as features_module

    monkeypatch.setattr(features_module, "build_test_loader", lambda cfg, listed, *, done=(), **_: batches(done))
    monkeypatch.setattr(features_module, "kind_for_features", lambda name, device: torch.float16)
    network = Network()
    network.forward = lambda images: (images.flatten(1).half() + 1) * 60000
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "TEST.IMS_PER_BATCH", BATCH])
    with pytest.raises(NumericalError, match=r"are NaN, Inf or zero: .*; .*TEST\.NETWORK_PRECISION bfloat16"):
        features_module.embed(cfg, network, LIST, journals=journals if kept else None)


@pytest.mark.parametrize("kept", [True, False])
def test_a_worker_s_death_while_the_network_works_is_a_plain_fault(journals, monkeypatch, kept):
    from fastreid.config import get_cfg
    from fastreid.engine import features as features_module

    def die(images):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr(features_module, "build_test_loader", lambda cfg, listed, *, done=(), **_: batches(done))
    network = Network()
    network.forward = die
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "TEST.IMS_PER_BATCH", BATCH])
    with pytest.raises(
        EnvironmentSetupError, match=r"died \(DataLoader worker \(pid 7\) .*Killed\.\); lower DATALOADER"
    ):
        features_module.embed(cfg, network, LIST, journals=journals if kept else None)


def test_a_batch_that_a_stand_in_filled_is_not_kept_even_when_it_looks_like_the_head_of_another(journals, monkeypatch):
    """The last batch holds one drawing, a bad one, and the first row of the batch before stands in for it."""
    from fastreid.config import get_cfg
    from fastreid.engine import features as features_module

    batch = next(iter(batches(done=(0, 8))))
    stand_in = Batch(batch.images[:1], batch.targets[:1], batch.rows[:1])
    monkeypatch.setattr(
        features_module, "build_test_loader", lambda cfg, listed, *, done=(), **_: [*batches(done=(8,)), stand_in]
    )
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "TEST.IMS_PER_BATCH", BATCH])
    features_module.embed(cfg, Network(), LIST[:9], journals=journals)
    assert {start: len(part) for start, part in journals.of(LIST[:9]).read().items()} == {0: 4, 4: 4}
