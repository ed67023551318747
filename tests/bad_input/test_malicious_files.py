"""Malicious files: no code is executed, and each file is rejected in one line or ignored."""

import contextlib
import pickle
import re
import resource
import time
from pathlib import Path

import pytest
import torch
from malicious_features import MALICIOUS_FEATURES
from malicious_files import MALICIOUS_FILES
from malicious_weights import MALICIOUS_WEIGHTS

from fastreid.config import get_cfg
from fastreid.data.datasets.base import read_list
from fastreid.data.io.cache.store import PageCache
from fastreid.data.io.image import read_header, read_image
from fastreid.engine.checkpoint.checkpointer import Checkpointer
from fastreid.engine.features.journal import FeatureJournal
from fastreid.engine.step.train_step import TrainStep
from fastreid.evaluation.postprocess.whitening import load_whitening
from fastreid.evaluation.storage.saved_features import load_features
from fastreid.experiments.comparison import read_runs
from fastreid.experiments.variants import read_variants
from fastreid.modeling.weights import extract_model_state, load_state, read_weights
from fastreid.structures import Drawing
from fastreid.utils.cli import explain_error

PAYLOADS = MALICIOUS_WEIGHTS | MALICIOUS_FEATURES | MALICIOUS_FILES
MEMORY = 200 << 20  # bytes, in addition to those of the process
LIMIT_S = 10.0  # of CPU time, which hardly depends on other programs; a reader that waits runs into the timeout


def load_weights(path):
    model = torch.nn.Linear(4, 3)
    return load_state(model, extract_model_state(read_weights(path)), source=str(path))


def resume_run(folder):
    model = torch.nn.Linear(4, 3)
    step = TrainStep(model, torch.optim.Adam(model.parameters()), device=torch.device("cpu"))
    return Checkpointer(folder, step, iters_per_epoch=1, config="SEED: 1").resume()


def read_cached_page(folder):
    drawing = Drawing(str(folder / "a.png"), "a.png", "1")
    assert (PageCache(folder / "cache", longest_px=0).read(drawing) == 200).all()


def read_image_file(path):
    read_header(path)
    read_image(path)


READERS = {
    "weights": load_weights,
    "resume": resume_run,
    "features": lambda folder: load_features(folder, "gallery"),
    "journal": lambda folder: FeatureJournal(folder, "origin", ()).read(),
    "whitening": load_whitening,
    "cache": read_cached_page,
    "config": lambda path: get_cfg().merge_from_file(path),
    "variants": read_variants,
    "runs": lambda folder: read_runs([folder]),
    "list": lambda path: read_list(path, images=path.parent, with_ids=True),
    "image": read_image_file,
}


@contextlib.contextmanager
def limited_memory():
    """Limit the additional memory of this process."""
    used = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def find_problems(payload, folder):
    """Read a payload and return the problems; "" if there are none."""
    folder.mkdir()
    marker = folder / "executed"
    path = payload.write(folder, marker)
    start, line, code = time.process_time(), "", 0
    with limited_memory():
        try:
            READERS[payload.reader](path)
        except Exception as error:
            line, code = explain_error(error)
            del error
    seconds = time.process_time() - start
    problems = [f"exit code {code}, not {payload.code}: {line[:200]}"] * (code != payload.code)
    problems += [f"{len(line.splitlines())} lines"] * (len(line.splitlines()) > 1 or len(line) > 3000)
    problems += [f"{seconds:.1f} s"] * (seconds > LIMIT_S)
    return "; ".join(problems + ["it was executed"] * marker.exists())


@pytest.mark.timeout(600)
def test_malicious_file_is_not_executed_and_fails_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    problems = {name: find_problems(payload, tmp_path / str(n)) for n, (name, payload) in enumerate(PAYLOADS.items())}
    faults = {name: fault for name, fault in problems.items() if fault}
    print(f"\nR12 {len(problems) - len(faults)}/{len(problems)}")
    assert faults == {}
    assert len(problems) >= 40


@pytest.mark.parametrize("name", [name for name, payload in PAYLOADS.items() if payload.is_armed])
def test_unsafe_unpickling_would_execute_the_payload(name, tmp_path):
    path = PAYLOADS[name].write(tmp_path, tmp_path / "executed")
    with contextlib.suppress(pickle.UnpicklingError):
        pickle.loads(path.read_bytes())
    assert (tmp_path / "executed").exists()
