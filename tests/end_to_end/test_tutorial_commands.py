"""The shell commands of the tutorials, in order in an empty folder; only the amount of work is reduced."""

import re
import shlex
import shutil

import pytest
from commands import REPOSITORY, run
from shared_folders import build_once

from fastreid.synthetic import render_patent

SMALL = (
    *("SOLVER.MAX_EPOCH", 1, "SOLVER.IMS_PER_BATCH", 16, "SOLVER.CHECKPOINT_PERIOD", 1, "DATALOADER.NUM_WORKERS", 0),
    *("INPUT.SIZE_TRAIN", "[32,32]", "INPUT.SIZE_TEST", "[32,32]", "INPUT.PADDING.SIZE", 2),
    *("DATASETS.GENERATED.NUM_TRAIN_PATENTS", 6, "DATASETS.GENERATED.NUM_TEST_PATENTS", 3),
    *("DATASETS.GENERATED.SIZE_PX", 64, "TEST.SCORE.BOOTSTRAP", 0, "TEST.NUM_VISUALIZED_QUERIES", 1),
)


def read_commands(page):
    """Return the `fastreid` commands of a page as lists of words."""
    text = (REPOSITORY / "docs/tutorials" / page).read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in blocks.splitlines() if line.startswith("fastreid ")]


@pytest.fixture(scope="session")
def patents(tmp_path_factory):
    """Return a folder of ten rendered patents."""
    return build_once(tmp_path_factory, "patents of tutorials", lambda folder: write_patents(folder, num_patents=10))


def write_patents(folder, *, num_patents):
    for number in range(num_patents):
        patent = folder / f"D{number:07d}"
        patent.mkdir(parents=True)
        for index, sheet in enumerate(render_patent(0, number, size_px=64)):
            sheet.save(patent / f"{index}.png")


@pytest.mark.parametrize(("page", "num_commands"), [("own-data.md", 4), ("first-run.md", 5)])
def test_commands_of_a_tutorial_run_in_an_empty_folder(page, num_commands, patents, tmp_path):
    shutil.copytree(patents, tmp_path / "my-patents")
    shutil.copytree(patents / "D0000000", tmp_path / "datasets/my-drawings/D0000000")
    shutil.copy(patents / "D0000000/0.png", tmp_path / "query.png")
    commands = read_commands(page)
    assert len(commands) == num_commands
    for name, *words in commands:
        if name == "data":
            name, words = f"data {words[0]}", words[1:]
        code, output, errors = run(name, *words, *SMALL, folder=tmp_path)
        assert code == 0, (name, words, errors)
    assert "columns: rank, distance (cosine), drawing" in output
