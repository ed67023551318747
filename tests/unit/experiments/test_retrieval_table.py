"""The retrieval table of docs/results.md, on random features in clusters."""

from pathlib import Path

import pytest
import torch

from fastreid.structures import Drawing

WIDTH = 256  # of the inner maps; the output of the network has 8 more floats here


@pytest.fixture
def table_script(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import retrieval_table

    monkeypatch.setattr(retrieval_table, "HEAD", [*retrieval_table.HEAD, "SOLVER.IMS_PER_BATCH", 32])
    for name, value in {"NUM_ITERATIONS": 3, "NUM_FOLDS": 2, "SEEDS": (0, 1)}.items():
        monkeypatch.setattr(retrieval_table, name, value)
    return retrieval_table


@pytest.fixture
def sets(table_script):
    generator = torch.Generator().manual_seed(0)

    def sample(patents, num_drawings):
        names = [(f"{patent}/{number}", str(patent)) for patent in patents for number in num_drawings]
        centers = torch.randn(40, WIDTH + 8, generator=generator)
        features = torch.stack([centers[int(patent)] for _, patent in names])
        noisy = [features + 4 * torch.randn(features.shape, generator=generator) for _ in range(2)]
        return table_script.Table(*noisy, tuple(Drawing(name, name, patent) for name, patent in names))

    test = sample(range(20, 40), range(5))
    rows = range(len(test.drawings))
    parts = {
        "train": sample(range(20), range(5)),
        "query": test.select([row for row in rows if row % 5 == 0]),
        "gallery": test.select([row for row in rows if row % 5]),
    }
    return {"uspto_design": parts, "uspto_2007": {part: parts[part] for part in ("query", "gallery")}}


def read_rows(text):
    """Return the cells of each row by its name."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines()]
    return {name: cells for name, *cells in rows}


def test_heads(table_script, sets, capsys):
    chosen = ("output, average", "inner maps", "within-class", "new head: pairwise circle, m", "projection, then focal")
    variants = [one for one in table_script.build_variants() if one.name.startswith(chosen)]
    table_script.print_heads(sets, sets["uspto_design"]["train"], variants)
    rows = read_rows(capsys.readouterr().out)
    assert list(rows) == [one.name for one in variants]
    assert all(len(cells) == 6 for cells in rows.values())
    assert all((" ± " in cells[0]) == one.is_trained for one, cells in zip(variants, rows.values(), strict=True))
    low, high = rows["inner maps (`blocks.4`, `blocks.5`)"][0].split("[")[1].strip("]").split(", ")
    assert 0 < float(low) < float(high) <= 100


def test_every_loss_trains_another_head(table_script, sets):
    table = sets["uspto_design"]["train"]
    heads = [table_script.train_head(table, 0, options=options) for options in table_script.LOSSES.values()]
    sums = [float(head(table.features).double().abs().sum()) for head in heads]
    assert len(set(sums)) == len(sums)


def test_steps(table_script, sets, capsys):
    table_script.print_steps(sets, table_script.STEPS)
    rows = read_rows(capsys.readouterr().out)
    assert list(rows) == ["plain search", "flip", *table_script.STEPS]
    assert rows["plain search"][1] == "[+0.0, +0.0]"
    assert float(rows["flip"][0]) > float(rows["plain search"][0])  # two noisy images show more than one


def test_a_fold_is_not_trained_on(table_script, sets):
    table, seen = sets["uspto_design"]["train"], []

    def fit(train, seed):
        seen.append({drawing.patent for drawing in train.drawings})
        return lambda rows: rows

    scores = table_script.cross_validate(table, table_script.Variant("plain", fit), 0)
    patents = {drawing.patent for drawing in table.drawings}
    held_out = [patents - some for some in seen]
    assert sorted(patent for some in held_out for patent in some) == sorted(patents)
    assert len(scores["mAP"]) == len(table.drawings)


def test_joined_lists_keep_patents_of_the_same_number_apart(table_script):
    def label(folder):
        names = [f"{folder}{patent}/{number}" for patent in range(2) for number in range(2)]
        drawings = tuple(Drawing(name, name, name.split("/")[0].removeprefix(folder)) for name in names)
        return table_script.Table(torch.zeros(4, 3), torch.zeros(4, 3), drawings)

    test = label("test")
    joined = table_script.join_parts({"train": label("train"), "query": test.select([0, 2]), "gallery": test})
    assert {drawing.patent for drawing in joined.drawings} == {"train0", "train1", "test0", "test1"}
