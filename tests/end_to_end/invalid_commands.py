"""Wrong starts of all commands: what is typed, the exit code, and words of the refusal."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from invalid_inputs import CONFIGS, CSVS, LINES, WORDS

CONFIG_TOOLS = (
    *("train_net.py", "test.py", "extract.py", "check_data.py", "prepare.py"),
    *("find_batch_size.py", "plain_train_net.py", "tune_postprocessing.py", "ablate.py"),
)
NEEDED = {
    "tune_postprocessing.py": ("--features", "features"),
    "ablate.py": ("--rows", "rows.yml"),
    "check_data.py": ("--output", "checked"),
}


@dataclass(frozen=True)
class Start:
    """One wrong start, in a folder of tests/end_to_end/broken_inputs.py.

    Args:
        tool: the command.
        words: that are typed after it.
        said: words of the line on stderr.
        code: exit code.
        files: name -> content, written before.
        config: the config file in front of the words; "" for a command that takes none, or that the words name.
        without: a package that is not there.
        is_alone: whether it needs a process of its own.
        is_of_a_step: whether only a step can tell: a page that cannot be decoded, without the cache, and a NaN.
    """

    tool: str
    words: tuple = ()
    said: str = ""
    code: int = 2
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    config: str = "tiny.yml"
    without: str = ""
    is_alone: bool = False
    is_of_a_step: bool = False


def start(tool, *words, said, code=2, **more):
    return Start(f"{tool}.py", words, said, code, **more)


def of_configs():
    """Every wrong config and wrong word, by one command after the other."""
    tools = itertools.cycle(CONFIG_TOOLS)
    for text, said in CONFIGS:
        tool = next(tools)
        yield Start(tool, NEEDED.get(tool, ()), said, files={"bad.yml": text}, config="bad.yml")
    for words, said in WORDS:
        if all(isinstance(word, str) and not word.startswith("-") for word in words):
            tool = next(tools)
            yield Start(tool, (*NEEDED.get(tool, ()), *words), said)


LISTED = ("DATASETS.NAMES", "List", "DATASETS.TESTS", "List", "DATASETS.LIST.IMAGES", "pages")
TRAIN, QUERY, DATABASE = (f"DATASETS.LIST.{part}" for part in ("TRAIN", "QUERY", "DATABASE"))
SOUND = "".join(f"{number}.png {number // 4}\n" for number in range(16))
LIST_TOOLS = ("train_net.py", "prepare.py", "find_batch_size.py", "plain_train_net.py")


def of_lists():
    """Every fault of a list, by the commands that train, and those of what lists are together."""
    tools = itertools.cycle(LIST_TOOLS)
    given = (QUERY, "sound.txt", DATABASE, "sound.txt", "DATASETS.ALLOW_OVERLAP", "True")
    for name, faults in (("list.txt", LINES), ("list.csv", CSVS)):
        for text, said in faults:
            yield Start(next(tools), (*LISTED, TRAIN, name, *given), said, files={name: text, "sound.txt": SOUND})
    files = {"train.txt": SOUND, "sound.txt": SOUND, "empty.txt": "\n", "two.txt": "0.png 0\n1.png 0\n"}

    def lists(tool, said, *words, train="train.txt", query="two.txt", database="two.txt"):
        named = (TRAIN, train, QUERY, query, DATABASE, database)
        return Start(tool, (*LISTED, *named, *words), said, files=files)

    yield lists("train_net.py", "stand in training and in the test set", query="sound.txt")
    yield lists("train_net.py", "no list can be read here", train="gone.txt")
    yield lists("check_data.py", "to be mended", train="gone.txt")
    yield lists("prepare.py", "the query list is empty", query="empty.txt")
    yield lists("train_net.py", "list", "DATASETS.ALLOW_OVERLAP", "True", train="empty.txt")
    yield lists("train_net.py", "", "DATASETS.ALLOW_OVERLAP", "True", train="two.txt")
    yield Start("train_net.py", ("DATASETS.NAMES", "Folder", "DATASETS.FOLDER.PATH", "gone"), "no such folder")
    yield Start("train_net.py", ("DATASETS.NAMES", "Folder", "DATASETS.FOLDER.PATH", "pages"), "no patent's sub-folder")
    yield Start("train_net.py", ("DATASETS.NAMES", "Patent"), "no list can be read here")
    yield Start("test.py", ("DATASETS.TESTS", "Patnt", "MODEL.WEIGHTS", "good.pth"), "Did you mean 'Patent'")
    yield Start("check_data.py", ("--output", "checked", "DATASETS.TESTS", "Patent"), "to be mended")


IMAGES = ("empty", "text", "zeros", "cut.png", "cut.jpg", "cut.tif", "cut.gif", "cut.bmp", "head.png", "nan.tif", "pnm")


def of_images():
    """Every broken image, by the commands that read any."""
    for name in IMAGES:
        told = f"bad/{name}: "
        yield start("show_augmentations", "--output", "shown.png", "--image", f"bad/{name}", said=told, config="")
    small = ("SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_INSTANCE", 2, "DATASETS.ALLOW_OVERLAP", "True")
    listed = (*LISTED, TRAIN, "bad.txt", QUERY, "bad.txt", DATABASE, "two.txt", *small)
    files = {"bad.txt": "0.png 0\n1.png 0\nbad.png 1\n3.png 1\n", "two.txt": "0.png 0\n3.png 1\n"}
    for tool, more in (
        *(("train_net.py", ()), ("plain_train_net.py", ()), ("prepare.py", ())),
        *(("test.py", ("MODEL.WEIGHTS", "good.pth")), ("extract.py", ("MODEL.WEIGHTS", "good.pth"))),
    ):
        begun, in_step = (*listed, *more, "OUTPUT_DIR", "begun"), tool in ("train_net.py", "plain_train_net.py")
        yield Start(tool, begun, "pages/bad.png: a corrupt image", files=files, is_of_a_step=in_step)
    yield Start("check_data.py", ("--output", "checked", *listed), "to be mended", files=files)
    yield Start("prepare.py", (*listed, "INPUT.MAX_PIXELS", 100), "is more than the 100 allowed", files=files)
    yield start("show_augmentations", "--output", "x.png", "--image", "gone.png", said="gone.png: ", config="")


def of_weights():
    """Every kind of wrong weights, by the commands that load them."""
    tools = itertools.cycle(("test.py", "extract.py"))
    for name, code, said in (
        *(("gone.pth", 2, "no such weights file"), ("pages", 2, "no such weights file")),
        *(("torn.pth", 6, "not a file of tensors"), ("torn.safetensors", 6, "cannot be read")),
        *(("code.pth", 6, "not a file of tensors"), ("tensor.pth", 6, "holds a Tensor")),
        *(("other.pth", 6, "holds other things too"), ("empty.pth", 6, "this file holds none")),
        *(("missing.pth", 6, "absent"), ("extra.pth", 6, "unknown to the model")),
        *(("wide.pth", 6, "->"), ("nan.pth", 6, "hold NaN or Inf"), ("flipped.pth", 6, "damaged or changed")),
        *(("whole.pth", 6, "->"), ("large.pth", 4, "NaN, Inf or zero")),
    ):
        yield Start(next(tools), ("MODEL.WEIGHTS", name), said, code)
        if code == 6 and name not in ("wide.pth",):
            yield Start("train_net.py", ("MODEL.WEIGHTS", name), said, code)
    yield start("test", said="a test needs weights")
    yield start("extract", said="--random-weights")
    yield start("train_net", "--eval-only", said="a test needs weights")
    yield start("train_net", "--resume", "OUTPUT_DIR", "torn", said="none of its 1 checkpoints", code=6)
    yield start("train_net", "--resume", "OUTPUT_DIR", "bare", said="so a run cannot go on from it", code=6)


def of_features():
    """Every kind of wrong features, by the commands that rank them."""
    for name, code, said in (
        *(("gone", 2, "no such folder"), ("pages", 2, "no features of queries and gallery")),
        *(("unfinished", 2, "did not finish"), ("changed", 6, "not the file that was written")),
        *(("zeros", 4, "NaN, Inf or zero"), ("nan", 4, "NaN, Inf or zero"), ("manifest", 6, "damaged")),
    ):
        yield start("test", "--features", name, said=said, code=code)
        yield start("tune_postprocessing", "--features", name, said=said, code=code)
    yield start("test", "--features", "features", "--random-weights", said="leave one of them out")
    yield start("test", "--features", "features", "TEST.AQE.ENABLED", "True", "TEST.AQE.QE_K", 0, said="QE_K")
    whitened = ("--features", "features", "TEST.WHITEN.ENABLED", "True", "TEST.WHITEN.LEARN_FROM")
    yield start("test", *whitened, "gone.safetensors", said="there is no file")
    yield start("test", *whitened, "torn.safetensors", said="not a whitening file", code=6)
    yield start("test", *whitened, "database", "TEST.WHITEN.DIM", 600, said="TEST.WHITEN.DIM")


def of_numbers():
    """Choices that mean nothing, and runs whose numbers end."""
    for words, said in (
        (("SOLVER.IMS_PER_BATCH", 100_000), "IMS_PER_BATCH"),
        (("SOLVER.IMS_PER_BATCH", 15), "NUM_INSTANCE"),
        (("DATALOADER.NUM_INSTANCE", 5), "NUM_INSTANCE"),
        (("DATALOADER.SAMPLER_TRAIN", "Balanced"), "no training sampler is called 'Balanced'"),
        (("MODEL.BACKBONE.DEPTH", "19x"), "19x"),
        (("MODEL.BACKBONE.NAME", "build_resnt_backbone"), "Did you mean"),
        (("MODEL.HEADS.POOL_LAYER", "GeM"), "GeM"),
        (("MODEL.LOSSES.NAME", "['Cross']"), "Cross"),
        (("SOLVER.OPT", "Adm"), "Did you mean"),
        (("SOLVER.SCHED", "Cosine"), "Cosine"),
    ):
        yield Start("train_net.py", words, said)
        yield Start("plain_train_net.py", words, said)
    yield start("train_net", "MODEL.FREEZE_LAYERS", "['bckbone']", said="Did you mean 'backbone'")
    steep = ("SOLVER.OPT", "SGD", "SOLVER.BASE_LR", 1e30, "OUTPUT_DIR", "begun")
    yield start("train_net", *steep, said="is not a number", code=4, is_of_a_step=True)
    yield start("find_batch_size", "--steps", 0, said="both are at least 1")
    yield start("find_batch_size", "--memory-mb", "x", said="invalid float")
    yield start("tune_postprocessing", "--features", "features", "--k1", "4,x", said="invalid list of int value")
    yield start("tune_postprocessing", "--features", "features", "--queries", -3, said="0 for all")
    rows = {
        "rows.yml": "turns: {INPUT: {ROT90: {ENABLED: True}}}\n",
        "wrong.yml": "a: {INPUT: {TRUN: {ENABLED: True}}}\n",
    }
    yield start("ablate", "--rows", "rows.yml", "--seeds", "0,0", said="a seed stands twice", files=rows)
    yield start("ablate", "--rows", "rows.yml", "--only", "turn", said="no row is called 'turn'", files=rows)
    yield start("ablate", "--rows", "wrong.yml", said="no setting is called 'INPUT.TRUN.ENABLED'", files=rows)
    yield start("ablate", "--rows", "gone.yml", said="gone.yml: no such file")
    made = ("--output", "drawn", "--patents")
    for words, said in (
        (("--output", "drawn"), "required: --patents"),
        ((*made, 0), "patents"),
        ((*made, 2, "--size-px", 10), "size"),
        ((*made, 2, "--workers", -1), "workers"),
    ):
        yield start("make_drawings", *words, said=said, config="")
    yield start("measure_drawings", "pages", said="is no NAME=DIR", config="")
    yield start("measure_drawings", "a=gone", said="no list can be read here", config="")
    yield start("compare_runs", "gone", said="no line of metrics.json", config="")
    yield start("compare_runs", "run", "run", said="a run stands twice", config="")
    yield start("compare_runs", "run", "--metrics", "los", said="no run tells 'los'", config="")
    yield start("compare_runs", "run", "--output", "a.jpg", said="let its name end in .png", config="")
    yield start("show_augmentations", "--output", "a.jpg", said="its name ends in .png", config="")


def of_environment():
    """What is typed wrong, and what the machine lacks."""
    tools = [*CONFIG_TOOLS, "compare_runs.py", "document_configs.py", "make_drawings.py", "measure_drawings.py"]
    for tool in (*tools, "show_augmentations.py"):
        yield Start(tool, ("--no-such-option",), f"{tool}: ", config="tiny.yml" if tool in CONFIG_TOOLS else "")
    for tool in ("train_net.py", "test.py", "extract.py", "find_batch_size.py", "plain_train_net.py"):
        weights = ("MODEL.WEIGHTS", "good.pth") if tool in ("test.py", "extract.py") else ()
        yield Start(tool, ("MODEL.DEVICE", "cuda", *weights), "MODEL.DEVICE cpu", 3)
    yield start("train_net", "OUTPUT_DIR", "/proc/none", said="cannot be written", code=3, is_alone=True)
    yield start("train_net", "SOLVER.BASE_LRR", 1, said="did you mean SOLVER.BASE_LR?", is_alone=True)
    yield start("extract", "--output", "tiny.yml", "MODEL.WEIGHTS", "good.pth", said="cannot be made", code=3)
    yield start("check_data", "--output", "/proc/none", said="cannot be written", code=5)
    yield start("prepare", "DATASETS.CACHE.FOLDER", "/proc/none", said="cannot be written", code=5)
    nowhere = "/proc/none/a.png"
    yield start("compare_runs", "run", "--output", nowhere, said="cannot be written", code=5, config="")
    yield start("show_augmentations", "--output", nowhere, said="cannot be written", code=5, config="")
    yield start("document_configs", "/proc/none/a.md", said="cannot be written", code=5, config="")
    yield start("make_drawings", "--output", "/proc/none", "--patents", 2, said="cannot be written", code=5, config="")
    tuned = ("--features", "features", "--output", "/proc/none/a.yml")
    yield start("tune_postprocessing", *tuned, said="cannot be written", code=5)
    table = ("--features", "features", "TEST.SCORE.PER_QUERY_FILE", "queries.parquet")
    yield start("test", *table, said="or name it .csv", code=3, without="pyarrow")
    yield start("train_net", "TRACKER.NAME", "wandb", said="wandb", code=3, without="wandb")
    yield start("train_net", "TRACKER.NAME", "mlflow", said="mlflow", code=3, without="mlflow")
    yield start("check_data", "--output", "checked", said="faiss", code=3, without="faiss")
    timm = ("MODEL.BACKBONE.NAME", "build_timm_backbone")
    yield start("train_net", *timm, said="fastreid[timm]", code=3, without="timm")
    for tool in ("train_net.py", "test.py", "prepare.py"):
        yield Start(tool, said="gone.yml: no such file", config="gone.yml")
    yield start(
        "train_net", said="settings are read from .yml", config="refused.py", files={"refused.py": "raise OSError"}
    )


STARTS = [
    *(of_configs(), of_lists(), of_images(), of_weights(), of_features(), of_numbers(), of_environment()),
]
STARTS = [one for group in STARTS for one in group]
