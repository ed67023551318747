"""`fastreid data measure`: collections compared."""

import pytest
from PIL import Image

from fastreid.cli.main import main
from fastreid.synthetic import Collection, write_patents
from fastreid.utils.errors import InputError, StorageError


def test_tables_and_histograms_have_all_collections(tmp_path, capsys):
    write_patents(tmp_path, Collection(3, 1, 2, size_px=64))
    plots = tmp_path / "plots.png"
    assert main(["data", "measure", f"a={tmp_path}", f"b={tmp_path}", "--plots", str(plots)]) == 0
    output = capsys.readouterr().out
    for measure in ("ink", "stroke width", "components", "width / height", "drawings"):
        rows = [line.split("|")[3:] for line in output.splitlines() if line.startswith(f"| {measure} ")]
        assert len(rows) == 2
        assert rows[0] == rows[1]
    assert "| HOG   |   queries |" in output
    with Image.open(plots) as image:
        assert image.width > image.height > 100


def test_collection_needs_a_name():
    with pytest.raises(InputError, match="NAME=DIR"):
        main(["data", "measure", "/somewhere"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a=absent"], r"a=absent: there is no folder absent; give the folder that contains train_data"),
        (["a=empty"], r"a=empty: empty/train_data/train_patent_trn\.txt is missing; give the folder of DeepPatent"),
        (["a=half"], r"a=half: half/train_data/val_query_patent\.txt is missing"),
        (["a="], "'a=' is not NAME=DIR"),
        (["=empty"], "'=empty' is not NAME=DIR"),
        (["a=~nobody-here"], "there is no folder ~nobody-here"),
        (["a=whole", "a=other"], "'a' names two folders, whole and other"),
    ],
)
def test_message_is_about_the_given_folder(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, lists in {"empty": 0, "half": 1, "whole": 3, "other": 3}.items():
        (tmp_path / name / "train_data").mkdir(parents=True)
        for file in ("train_patent_trn.txt", "val_query_patent.txt", "val_db_patent.txt")[:lists]:
            (tmp_path / name / "train_data" / file).touch()
    with pytest.raises(InputError, match=message) as error:
        main(["data", "measure", *words])
    assert "DATASETS" not in str(error.value)


def test_unwritable_plot_fails_before_measuring(tmp_path):
    for file in ("train_patent_trn.txt", "val_query_patent.txt", "val_db_patent.txt"):
        (tmp_path / "train_data").mkdir(exist_ok=True)
        (tmp_path / "train_data" / file).touch()
    with pytest.raises(StorageError, match="cannot be written"):
        main(["data", "measure", f"a={tmp_path}", "--plots", "/proc/none/a.png"])
