"""The folders and lists of DeepPatent and of its challenge."""

from pathlib import Path

import pytest
from patent_layout import get_names, touch, write_patent_layout

from fastreid.data.datasets.deeppatent import Patent, PatentTest
from fastreid.utils.errors import InputError


def test_patent_reads_three_lists_without_cameras(tmp_path):
    write_patent_layout(tmp_path)
    train = Patent(tmp_path).train()
    queries, gallery = Patent(tmp_path).test()
    assert (get_names(train), get_names(queries), get_names(gallery)) == (
        ["p/1.png", "p/2.png"],
        ["q/1.png"],
        ["q/2.png"],
    )
    assert {drawing.camera for drawing in train + queries + gallery} == {-1}
    assert Path(train[0].path) == tmp_path / "train_data/patent_data/p/1.png"


def test_patent_test_set_needs_no_training_list(tmp_path):
    write_patent_layout(tmp_path)
    (tmp_path / "train_data/train_patent_trn.txt").unlink()
    assert len(Patent(tmp_path).test()) == 2


def test_validation_list_without_queries_is_queries_and_gallery(tmp_path, caplog):
    write_patent_layout(tmp_path)
    (tmp_path / "train_data/train_patent_val.txt").write_text("q/1.png 0\nq/2.png 0\n")
    assert get_names(Patent(tmp_path).test()[0]) == ["q/1.png"]
    (tmp_path / "train_data/val_query_patent.txt").unlink()
    with pytest.raises(InputError, match=r"val_query_patent\.txt: cannot read the list"):
        Patent(tmp_path).test()
    (tmp_path / "train_data/val_db_patent.txt").unlink()
    with caplog.at_level("INFO", logger="fastreid"):
        queries, gallery = Patent(tmp_path).test()
    assert get_names(queries) == get_names(gallery) == ["q/1.png", "q/2.png"]
    assert "so each drawing of train_patent_val.txt is a query" in caplog.text
    (tmp_path / "train_data/train_patent_val.txt").unlink()
    with pytest.raises(
        InputError, match=r"train_data contains patent_data/, train_patent_trn\.txt; set DATASETS\.ROOT"
    ):
        Patent(tmp_path).test()


def test_unknown_id_is_invalid_in_training_only(tmp_path):
    write_patent_layout(tmp_path)
    (tmp_path / "train_data/val_db_patent.txt").write_text("q/1.png -1\nq/2.png 0\n")
    assert [drawing.patent for drawing in Patent(tmp_path).test()[1]] == ["", "0"]
    (tmp_path / "train_data/train_patent_trn.txt").write_text("p/1.png 0\np/2.png -1\n")
    with pytest.raises(
        InputError, match=r"trn\.txt:2: the id of p/2\.png is -1 \(unknown\), which training cannot use"
    ):
        Patent(tmp_path).train()


@pytest.mark.parametrize("folder", ["codalab_test_set", "test_data", "test_data/codalab_test_set"])
@pytest.mark.parametrize("prefix", ["", "{part}/"])
def test_patent_test_finds_drawings_in_every_layout(tmp_path, folder, prefix):
    for part in ("queries", "database"):
        touch(tmp_path / folder / part / "I1/a b.png")
        line = prefix.format(part=part) + "I1/a b.png"
        (tmp_path / folder / "lists").mkdir(exist_ok=True)
        (tmp_path / folder / "lists" / f"test_{part}.txt").write_text(f"{line}\n")
    queries, gallery = PatentTest(tmp_path).test()
    assert Path(queries[0].path) == tmp_path / folder / "queries/I1/a b.png"
    assert Path(gallery[0].path) == tmp_path / folder / "database/I1/a b.png"
    assert queries[0].patent == gallery[0].patent == ""


def test_patent_test_without_folder_or_for_training_raises(tmp_path):
    looked_for = "none of codalab_test_set/lists, test_data/lists, test_data/codalab_test_set/lists"
    for found in ("is empty", "/test_data contains database/, lists[.]txt", "/test_data/codalab_test_set is empty"):
        with pytest.raises(InputError, match=rf"{looked_for}; .*{found}; set DATASETS\.ROOT"):
            PatentTest(tmp_path).test()
        if found == "is empty":
            touch(tmp_path / "test_data/lists.txt")
            (tmp_path / "test_data/database").mkdir()
        else:
            (tmp_path / "test_data/codalab_test_set").mkdir(exist_ok=True)
    with pytest.raises(InputError, match=r"DATASETS\.TESTS only"):
        PatentTest(tmp_path).train()
