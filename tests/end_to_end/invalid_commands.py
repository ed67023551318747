"""Invalid commands: arguments, exit code and part of the error message."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from invalid_inputs import COMMAND_LINES, CONFIGS, CSV_LISTS, LIST_LINES

CONFIG_COMMANDS = (
    *("train", "test", "extract", "data check", "data cache"),
    *("batch-size", "plain_train_net.py", "tune", "ablate"),
)
REQUIRED_OPTIONS = {
    "tune": ("--features", "features"),
    "ablate": ("--variants", "rows.yml"),
    "data check": ("--output", "checked"),
}


@dataclass(frozen=True)
class InvalidCommand:
    """An invalid command, run in a folder of tests/end_to_end/broken_inputs.py.

    Args:
        command: such as "data check", or a script of tools/.
        arguments: options and settings after the command and --config-file.
        message: part of the line on stderr.
        code: exit code.
        files: name -> content, written before the command runs.
        config: config file; "" if the command has none, or it is one of the arguments.
        without: a package that cannot be imported.
        needs_process: whether it must run in its own process.
        fails_in_training: whether it can only fail in an iteration: an unreadable page without the cache, or NaN.
    """

    command: str
    arguments: tuple = ()
    message: str = ""
    code: int = 2
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    config: str = "tiny.yml"
    without: str = ""
    needs_process: bool = False
    fails_in_training: bool = False


def invalid(command, *arguments, message, code=2, **more):
    return InvalidCommand(command, arguments, message, code, **more)


def invalid_configs():
    """Yield every invalid config and every invalid KEY VALUE pair, each for the next command."""
    commands = itertools.cycle(CONFIG_COMMANDS)
    for text, message in CONFIGS:
        command = next(commands)
        yield InvalidCommand(
            command, REQUIRED_OPTIONS.get(command, ()), message, files={"bad.yml": text}, config="bad.yml"
        )
    for arguments, message in COMMAND_LINES:
        if all(isinstance(word, str) and not word.startswith("-") for word in arguments):
            command = next(commands)
            yield InvalidCommand(command, (*REQUIRED_OPTIONS.get(command, ()), *arguments), message)


LIST_SETTINGS = ("DATASETS.NAMES", "List", "DATASETS.TESTS", "List", "DATASETS.LIST.IMAGES", "pages")
TRAIN, QUERY, GALLERY = (f"DATASETS.LIST.{part}" for part in ("TRAIN", "QUERY", "GALLERY"))
VALID_LIST = "".join(f"{index}.png {index // 4}\n" for index in range(16))
LIST_COMMANDS = ("train", "data cache", "batch-size", "plain_train_net.py")


def invalid_lists():
    """Yield every invalid list, and lists that do not fit each other."""
    commands = itertools.cycle(LIST_COMMANDS)
    tests = (QUERY, "sound.txt", GALLERY, "sound.txt", "DATASETS.ALLOW_OVERLAP", "True")
    for name, faults in (("list.txt", LIST_LINES), ("list.csv", CSV_LISTS)):
        for text, message in faults:
            yield InvalidCommand(
                next(commands),
                (*LIST_SETTINGS, TRAIN, name, *tests),
                message,
                files={name: text, "sound.txt": VALID_LIST},
            )
    files = {"train.txt": VALID_LIST, "sound.txt": VALID_LIST, "empty.txt": "\n", "two.txt": "0.png 0\n1.png 0\n"}

    def with_lists(command, message, *arguments, train="train.txt", query="two.txt", database="two.txt"):
        lists = (TRAIN, train, QUERY, query, GALLERY, database)
        return InvalidCommand(command, (*LIST_SETTINGS, *lists, *arguments), message, files=files)

    yield with_lists("train", "are in both training and the test set", query="sound.txt")
    yield with_lists("train", "cannot read the list", train="gone.txt")
    yield with_lists("data check", "errors; see", train="gone.txt")
    yield with_lists("data cache", "the query list is empty", query="empty.txt")
    yield with_lists("train", "list", "DATASETS.ALLOW_OVERLAP", "True", train="empty.txt")
    yield with_lists("train", "", "DATASETS.ALLOW_OVERLAP", "True", train="two.txt")
    yield InvalidCommand("train", ("DATASETS.NAMES", "Folder", "DATASETS.FOLDER.PATH", "gone"), "no such folder")
    yield InvalidCommand(
        "train", ("DATASETS.NAMES", "Folder", "DATASETS.FOLDER.PATH", "pages"), "not in a patent's sub-folder"
    )
    yield InvalidCommand("train", ("DATASETS.NAMES", "Patent"), "cannot read the list")
    yield InvalidCommand("test", ("DATASETS.TESTS", "Patnt", "MODEL.WEIGHTS", "good.pth"), "Did you mean 'Patent'")
    yield InvalidCommand("data check", ("--output", "checked", "DATASETS.TESTS", "Patent"), "errors; see")


IMAGES = ("empty", "text", "zeros", "cut.png", "cut.jpg", "cut.tif", "cut.gif", "cut.bmp", "head.png", "nan.tif", "pnm")


def invalid_images():
    """Yield every unreadable image for the commands that read images."""
    for name in IMAGES:
        message = f"bad/{name}: "
        yield invalid("data show", "--output", "shown.png", "--image", f"bad/{name}", message=message, config="")
    small = ("SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_INSTANCE", 2, "DATASETS.ALLOW_OVERLAP", "True")
    listed = (*LIST_SETTINGS, TRAIN, "bad.txt", QUERY, "bad.txt", GALLERY, "two.txt", *small)
    files = {"bad.txt": "0.png 0\n1.png 0\nbad.png 1\n3.png 1\n", "two.txt": "0.png 0\n3.png 1\n"}
    for command, more in (
        *(("train", ()), ("plain_train_net.py", ()), ("data cache", ())),
        *(("test", ("MODEL.WEIGHTS", "good.pth")), ("extract", ("MODEL.WEIGHTS", "good.pth"))),
    ):
        begun, in_step = (*listed, *more, "OUTPUT_DIR", "begun"), command in ("train", "plain_train_net.py")
        yield InvalidCommand(command, begun, "pages/bad.png: a corrupt image", files=files, fails_in_training=in_step)
    yield InvalidCommand("data check", ("--output", "checked", *listed), "errors; see", files=files)
    yield InvalidCommand("data cache", (*listed, "INPUT.MAX_PIXELS", 100), "is more than the 100 allowed", files=files)
    yield invalid("data show", "--output", "x.png", "--image", "gone.png", message="gone.png: ", config="")


def invalid_weights():
    """Yield every kind of invalid weights for the commands that load them."""
    commands = itertools.cycle(("test", "extract"))
    for name, code, message in (
        *(("gone.pth", 2, "no such weights file"), ("pages", 2, "no such weights file")),
        *(("torn.pth", 6, "not a file of tensors"), ("torn.safetensors", 6, "cannot be read")),
        *(("code.pth", 6, "not a file of tensors"), ("tensor.pth", 6, "contains a Tensor")),
        *(("other.pth", 6, "contains other values"), ("empty.pth", 6, "this one is empty")),
        *(("missing.pth", 6, "absent"), ("extra.pth", 6, "unknown to the model")),
        *(("wide.pth", 6, "->"), ("nan.pth", 6, "contain NaN or Inf"), ("flipped.pth", 6, "damaged or changed")),
        *(("whole.pth", 6, "->"), ("large.pth", 4, "NaN, Inf or zero")),
    ):
        yield InvalidCommand(next(commands), ("MODEL.WEIGHTS", name), message, code)
        if code == 6 and name not in ("wide.pth",):
            yield InvalidCommand("train", ("MODEL.WEIGHTS", name), message, code)
    yield invalid("test", message="MODEL.WEIGHTS is empty")
    yield invalid("extract", message="--random-weights")
    yield invalid("train_net.py", "--eval-only", message="MODEL.WEIGHTS is empty")
    yield invalid("train", "--resume", "OUTPUT_DIR", "torn", message="none of its 1 checkpoints", code=6)
    yield invalid("train", "--resume", "OUTPUT_DIR", "bare", message="not a training checkpoint", code=6)


def invalid_features():
    """Yield every kind of invalid features for the commands that read them."""
    for name, code, message in (
        *(("gone", 2, "no such folder"), ("pages", 2, "no features of queries and gallery")),
        *(("unfinished", 2, "did not finish"), ("changed", 6, "damaged or changed")),
        *(("zeros", 4, "NaN, Inf or zero"), ("nan", 4, "NaN, Inf or zero"), ("manifest", 6, "damaged")),
    ):
        yield invalid("test", "--features", name, message=message, code=code)
        yield invalid("tune", "--features", name, message=message, code=code)
    yield invalid("test", "--features", "features", "--random-weights", message="use only one of them")
    yield invalid("test", "--features", "features", "TEST.AQE.ENABLED", "True", "TEST.AQE.QE_K", 0, message="QE_K")
    whitened = ("--features", "features", "TEST.WHITEN.ENABLED", "True", "TEST.WHITEN.LEARN_FROM")
    yield invalid("test", *whitened, "gone.safetensors", message="there is no file")
    yield invalid("test", *whitened, "torn.safetensors", message="not a whitening file", code=6)
    yield invalid("test", *whitened, "gallery", "TEST.WHITEN.DIM", 600, message="TEST.WHITEN.DIM")


def invalid_values():
    """Yield invalid values of settings and options, and a training that diverges."""
    for arguments, message in (
        (("SOLVER.IMS_PER_BATCH", 100_000), "IMS_PER_BATCH"),
        (("SOLVER.IMS_PER_BATCH", 15), "NUM_INSTANCE"),
        (("DATALOADER.NUM_INSTANCE", 5), "NUM_INSTANCE"),
        (("DATALOADER.SAMPLER_TRAIN", "Balanced"), "unknown training sampler 'Balanced'"),
        (("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", "19x"), "19x"),
        (("MODEL.BACKBONE.NAME", "build_resnt_backbone"), "Did you mean"),
        (("MODEL.HEADS.POOL_LAYER", "GeM"), "GeM"),
        (("MODEL.LOSSES.NAME", "['Cross']"), "Cross"),
        (("SOLVER.OPT", "Adm"), "Did you mean"),
        (("SOLVER.SCHED", "Cosine"), "Cosine"),
    ):
        yield InvalidCommand("train", arguments, message)
        yield InvalidCommand("plain_train_net.py", arguments, message)
    yield invalid("train", "MODEL.FREEZE_LAYERS", "['bckbone']", message="Did you mean 'backbone'")
    steep = ("SOLVER.OPT", "SGD", "SOLVER.BASE_LR", 1e30, "OUTPUT_DIR", "begun")
    yield invalid("train", *steep, message="loss or gradient is NaN or Inf", code=4, fails_in_training=True)
    yield invalid("batch-size", "--steps", 0, message="both must be 1 or more")
    yield invalid("batch-size", "--memory-mb", "x", message="invalid float")
    yield invalid("tune", "--features", "features", "--k1", "4,x", message="invalid list of int value")
    yield invalid("tune", "--features", "features", "--queries", -3, message="or 0 for all")
    rows = {
        "rows.yml": "turns: {INPUT: {LINE_AUG: {OPS: [rot90]}}}\n",
        "wrong.yml": "a: {INPUT: {TRUN: {ENABLED: True}}}\n",
    }
    yield invalid("ablate", "--variants", "rows.yml", "--seeds", "0,0", message="contains a seed twice", files=rows)
    yield invalid(
        "ablate", "--variants", "rows.yml", "--only", "turn", message="no variant is named 'turn'", files=rows
    )
    yield invalid("ablate", "--variants", "wrong.yml", message="unknown setting 'INPUT.TRUN.ENABLED'", files=rows)
    yield invalid("ablate", "--variants", "gone.yml", message="gone.yml: no such file")
    synth = ("--output", "rendered", "--patents")
    for arguments, message in (
        (("--output", "rendered"), "required: --patents"),
        ((*synth, 0), "patents"),
        ((*synth, 2, "--size-px", 10), "size"),
        ((*synth, 2, "--workers", -1), "workers"),
    ):
        yield invalid("data synth", *arguments, message=message, config="")
    yield invalid("data measure", "pages", message="is not NAME=DIR", config="")
    yield invalid("data measure", "a=gone", message="cannot read the list", config="")
    yield invalid("compare", "gone", message="no line of metrics.json", config="")
    yield invalid("compare", "run", "run", message="a run is given twice", config="")
    yield invalid("compare", "run", "--metrics", "los", message="no run has the metric 'los'", config="")
    yield invalid("compare", "run", "--output", "a.jpg", message="must end in .png", config="")
    yield invalid("data show", "--output", "a.jpg", message="must end in .png", config="")
    yield invalid("data show", "--output", "a.png", "--samples", 0, message="--samples is 0", config="")


def invalid_predictions():
    """Yield invalid images, galleries and options of `fastreid predict`."""
    output = ("--output", "features.npy")
    weights = ("MODEL.WEIGHTS", "good.pth")
    for arguments, message in (
        (output, "no image given"),
        (("pages/0.png",), "add --output FILE.npy, --gallery DIR or both"),
        ((*output, "gone.png", *weights), "gone.png: no such file or folder"),
        ((*output, "torn", *weights), "torn: contains no drawing (.png"),
        ((*output, "bad/cut.png", *weights), "bad/cut.png: a corrupt image"),
        ((*output, "pages/0.png"), "MODEL.WEIGHTS"),
        ((*output, "pages/0.png", "-k", 3), "-k follows an image; options come before the images"),
        (("--output", "features.txt", "pages/0.png"), "must end in .npy or .csv"),
        (("--gallery", "torn", "pages/0.png", *weights), "torn: contains no drawing"),
        (("--gallery", "pages", "-k", 0, "pages/0.png", *weights), "-k is 0"),
        ((*output, "-k", 3, "pages/0.png", *weights), "add --gallery DIR"),
    ):
        yield invalid("predict", *arguments, message=message)
    yield invalid("predict", *output, "--weights", "nan.pth", "pages/0.png", message="NaN or Inf", code=6)
    nowhere = ("--output", "/proc/none/a.npy", "pages/0.png", *weights)
    yield invalid("predict", *nowhere, message="cannot be written", code=5)


def invalid_words():
    """Yield unknown commands and names, and arguments of the scripts in tools/ that exclude each other."""
    for command, arguments, message in (
        ("trian", (), "unknown command 'trian'. Did you mean 'train'?"),
        ("data", (), "required: COMMAND"),
        ("data chek", (), "unknown command 'chek'. Did you mean 'check'?"),
        ("completion", ("csh",), "'csh' is not allowed. Did you mean 'zsh'? Available: bash, zsh, fish"),
        ("configs list", ("demo",), "unexpected argument 'demo'"),
        ("configs copy", ("copies", "demo/stage9.yml"), "there is no shipped config 'demo/stage9.yml'. Did you mean"),
        ("configs copy", (".", "pages"), "there is no shipped config 'pages'"),
        ("doctor", ("OUTPUT_DR", "x"), "Did you mean OUTPUT_DIR?"),
    ):
        yield invalid(command, *arguments, message=message, config="")
    yield invalid("test.py", message="add --eval-only")
    yield invalid("test.py", "--eval-only", "--resume", message="use only one of them")
    yield invalid("train_net.py", "--eval-only", "--resume", message="use only one of them")
    yield invalid("plain_train_net.py", "--resume", message="--resume, --eval-only and several processes are not")
    yield invalid("plain_train_net.py", "SOLVER.SAVE_TOP_K", 2, message="SOLVER.SAVE_TOP_K must be 0")


def invalid_environments():
    """Yield unknown options, missing packages, and folders that are not writable."""
    commands = [*CONFIG_COMMANDS, "compare", "data synth", "data measure"]
    for command in (*commands, "data show"):
        yield InvalidCommand(
            command,
            ("--no-such-option",),
            f"{command if command.endswith('.py') else f'fastreid {command}'}: unknown option --no-such-option",
            config="tiny.yml" if command in CONFIG_COMMANDS else "",
        )
    for command in ("train", "test", "extract", "batch-size", "plain_train_net.py"):
        weights = ("MODEL.WEIGHTS", "good.pth") if command in ("test", "extract") else ()
        yield InvalidCommand(command, ("MODEL.DEVICE", "cuda", *weights), "MODEL.DEVICE cpu", 3)
    yield invalid("train", "OUTPUT_DIR", "/proc/none", message="cannot be written", code=3, needs_process=True)
    yield invalid("train", "SOLVER.BASE_LRR", 1, message="Did you mean SOLVER.BASE_LR?", needs_process=True)
    yield invalid("extract", "--output", "tiny.yml", "MODEL.WEIGHTS", "good.pth", message="cannot be created", code=3)
    yield invalid("data check", "--output", "/proc/none", message="cannot be written", code=5)
    yield invalid("data cache", "DATASETS.CACHE.FOLDER", "/proc/none", message="cannot be written", code=5)
    nowhere = "/proc/none/a.png"
    yield invalid("compare", "run", "--output", nowhere, message="cannot be written", code=5, config="")
    shown = ("--output", nowhere, "--image", "pages/0.png")
    yield invalid("data show", *shown, message="cannot be written", code=5, config="")
    yield invalid(
        "data synth", "--output", "/proc/none", "--patents", 2, message="cannot be written", code=5, config=""
    )
    tuned = ("--features", "features", "--output", "/proc/none/a.yml")
    yield invalid("tune", *tuned, message="cannot be written", code=5)
    table = ("--features", "features", "TEST.SCORE.PER_QUERY_FILE", "queries.parquet")
    yield invalid("test", *table, message="or name it .csv", code=3, without="pyarrow")
    yield invalid("train", "TRACKER.NAME", "wandb", message="wandb", code=3, without="wandb")
    yield invalid("train", "TRACKER.NAME", "mlflow", message="mlflow", code=3, without="mlflow")
    yield invalid("data check", "--output", "checked", message="faiss", code=3, without="faiss")
    timm = ("MODEL.BACKBONE.NAME", "build_timm_backbone")
    yield invalid("train", *timm, message="fastreid[timm]", code=3, without="timm")
    for command in ("train", "test", "data cache"):
        yield InvalidCommand(command, message="gone.yml: no such file", config="gone.yml")
    yield invalid(
        "train", message="a config is a .yml or .yaml file", config="refused.py", files={"refused.py": "raise OSError"}
    )


INVALID_COMMANDS = [
    *(
        invalid_configs(),
        invalid_lists(),
        invalid_images(),
        invalid_weights(),
        invalid_features(),
        invalid_values(),
        invalid_predictions(),
        invalid_words(),
        invalid_environments(),
    ),
]
INVALID_COMMANDS = [one for group in INVALID_COMMANDS for one in group]
