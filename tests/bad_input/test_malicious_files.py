"""Files that somebody made to do harm: nothing of them is executed, each is refused in one line or does nothing."""

import contextlib
import pickle
import re
import resource
import time
from pathlib import Path

import pytest
import torch
from malicious_features import HOSTILE_FEATURES
from malicious_files import HOSTILE_FILES
from malicious_weights import HOSTILE_WEIGHTS

from fastreid.config import get_cfg
from fastreid.data.datasets.base import read_list
from fastreid.data.io.cache.store import PageCache
from fastreid.data.io.image import read_header, read_image
from fastreid.engine.checkpoint import Checkpointer
from fastreid.engine.feature_journal import FeatureJournal
from fastreid.engine.train_step import TrainStep
from fastreid.evaluation.postprocess.whitening import load_whitening
from fastreid.evaluation.storage.saved_features import load_features
from fastreid.experiments.comparison import read_runs
from fastreid.experiments.variants import read_variants
from fastreid.modeling.weights import extract_model_state, load_state, read_weights
from fastreid.structures import Drawing
from fastreid.utils.cli import explain_error

PAYLOADS = HOSTILE_WEIGHTS | HOSTILE_FEATURES | HOSTILE_FILES
MEMORY = 200 << 20  # bytes, beside what the process had
LIMIT_S = 10.0


def weigh(path):
    model = torch.nn.Linear(4, 3)
    return load_state(model, extract_model_state(read_weights(path)), source=str(path))


def go_on(folder):
    model = torch.nn.Linear(4, 3)
    step = TrainStep(model, torch.optim.Adam(model.parameters()), device=torch.device("cpu"))
    return Checkpointer(folder, step, iters_per_epoch=1, config="SEED: 1").resume()


def page_of_cache(folder):
    drawing = Drawing(str(folder / "a.png"), "a.png", "1")
    assert (PageCache(folder / "cache", longest_px=0).read(drawing) == 200).all()


def look(path):
    read_header(path)
    read_image(path)


DOORS = {
    "weights": weigh,
    "resume": go_on,
    "features": lambda folder: load_features(folder, "gallery"),
    "journal": lambda folder: FeatureJournal(folder, "origin", ()).read(),
    "whitening": load_whitening,
    "cache": page_of_cache,
    "config": lambda path: get_cfg().merge_from_file(path),
    "rows": read_variants,
    "runs": lambda folder: read_runs([folder]),
    "list": lambda path: read_list(path, images=path.parent, with_ids=True),
    "image": look,
}


@contextlib.contextmanager
def little_memory():
    """No more memory than some, beside what there is."""
    held = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def tried(payload, folder):
    """What is wrong with how a payload was met; "" when nothing is."""
    folder.mkdir()
    marker = folder / "executed"
    path = payload.write(folder, marker)
    start, line, code = time.monotonic(), "", 0
    with little_memory():
        try:
            DOORS[payload.door](path)
        except Exception as error:
            line, code = explain_error(error)
            del error
    seconds = time.monotonic() - start
    wrong = [f"exit code {code}, not {payload.code}: {line[:200]}"] * (code != payload.code)
    wrong += [f"{len(line.splitlines())} lines"] * (len(line.splitlines()) > 1 or len(line) > 3000)
    wrong += [f"{seconds:.1f} s"] * (seconds > LIMIT_S)
    return "; ".join(wrong + ["it was executed"] * marker.exists())


@pytest.mark.timeout(120)
def test_no_hostile_file_is_executed_or_ends_a_command_otherwise_than_by_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {name: tried(payload, tmp_path / str(n)) for n, (name, payload) in enumerate(PAYLOADS.items())}
    faults = {name: fault for name, fault in found.items() if fault}
    print(f"\nR12 {len(found) - len(faults)}/{len(found)}")
    assert faults == {}
    assert len(found) >= 40


@pytest.mark.parametrize("name", [name for name, payload in PAYLOADS.items() if payload.is_armed])
def test_a_reader_that_trusts_pickles_would_execute_them(name, tmp_path):
    path = PAYLOADS[name].write(tmp_path, tmp_path / "executed")
    with contextlib.suppress(pickle.UnpicklingError):
        pickle.loads(path.read_bytes())
    assert (tmp_path / "executed").exists()
