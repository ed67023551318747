"""Invalid folders and options of `fastreid index` and `fastreid search`: command, arguments, part of the message."""

COLLECTIONS = (
    *((f"index {name}", ("absent",), "absent: no such collection") for name in ("update", "info", "check", "compact")),
    ("index create", ("pages",), "pages: exists and is not empty; choose another folder"),
    ("index create", ("new", "--refine-factor", 0), "--refine-factor: '0' is invalid"),
    ("index add", ("new", "absent"), "absent: no such file or folder"),
    ("index add", ("new", "pages", "--images", "pages"), "pages is no list; remove it"),
    ("index remove", ("absent",), "add --id, --filter or --source"),
    ("index export", ("absent", "--output", "a.txt"), "must end in .csv, .parquet, .npy"),
    ("search", ("absent",), "no query; add image files, or --id"),
    ("search", ("absent", "pages/0.png"), "absent: no such collection"),
    ("search", ("absent", "pages/0.png", "--crop", "1,2"), "the crop '1,2' is invalid"),
    ("search", ("absent", "pages/0.png", "--min-score", 2), "a number from -1 to 1"),
    ("search", ("absent", "--id", "x", "--crop", "0,0,9,9"), "only --id is given"),
    ("index serch", (), "unknown command 'serch'"),
)
