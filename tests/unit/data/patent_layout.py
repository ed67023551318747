"""Empty files in the folder layout of DeepPatent."""


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def get_names(drawings):
    return [drawing.name for drawing in drawings]


def write_patent_layout(root):
    for name in ("p/1.png", "p/2.png", "q/1.png", "q/2.png"):
        touch(root / "train_data/patent_data" / name)
    (root / "train_data/train_patent_trn.txt").write_text("p/1.png 0\np/2.png 0\n")
    (root / "train_data/val_query_patent.txt").write_text("q/1.png 0\n")
    (root / "train_data/val_db_patent.txt").write_text("q/2.png 0\n")
