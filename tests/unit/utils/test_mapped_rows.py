import numpy as np
import pytest
import torch

from fastreid.utils.errors import InputError
from fastreid.utils.mapped_rows import MappedRows


@pytest.fixture
def saved(tmp_path):
    rows = np.random.default_rng(0).standard_normal((1000, 16)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    return torch.from_numpy(rows), tmp_path / "rows.npy"


def test_mapped_rows_read_like_a_tensor(saved):
    rows, path = saved
    mapped = MappedRows(np.load(path, mmap_mode="r"))
    indices = torch.tensor([5, 5, 999, 0])
    assert (len(mapped), mapped.shape, mapped.ndim) == (1000, (1000, 16), 2)
    assert torch.equal(mapped[3:70], rows[3:70])
    assert torch.equal(mapped[indices], rows[indices])
    assert torch.equal(torch.cat(list(mapped.split(300))), rows)


def test_changing_a_copy_does_not_change_the_file(saved):
    rows, path = saved
    mapped = MappedRows(np.load(path, mmap_mode="r")[10:])
    mapped[0:5].zero_()
    assert torch.equal(mapped[0:5], rows[10:15])


def test_reading_a_file_does_not_keep_it_in_memory(tmp_path, measure_peak_memory):
    num_mib = 256
    np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.float32, (num_mib * 256, 1024)).flush()
    rows = MappedRows(np.load(tmp_path / "big.npy", mmap_mode="r"))
    total, memory_mb = measure_peak_memory(lambda: sum(len(part) for part in rows.split(1024)))
    assert total == num_mib * 256
    assert memory_mb < num_mib / 2


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4)), "float32"),
        (np.zeros(3, dtype=np.float32), r"float32 \(N, D\)"),
        (np.zeros((3, 4), dtype=np.float32), "mapped read-only from a file"),
        (np.zeros((4, 3), dtype=np.float32).T, "in C order"),
    ],
)
def test_unsupported_array_raises(array, message):
    with pytest.raises(InputError, match=message):
        MappedRows(array)


def test_copy_on_write_mapping_raises_even_as_read_only_view(saved):
    changed = np.load(saved[1], mmap_mode="c")
    view = changed[:]
    view.flags.writeable = changed.flags.writeable = False
    for array in (changed, view):
        assert not MappedRows.is_supported(array)
        with pytest.raises(InputError, match="mapped read-only"):
            MappedRows(array)
