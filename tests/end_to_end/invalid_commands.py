"""Invalid commands: arguments, exit code and part of the error message."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from invalid_collections import COLLECTIONS
from invalid_exports import EXPORTS
from invalid_inputs import COMMAND_LINES, CONFIGS, CSV_LISTS, LIST_LINES

CONFIG_COMMANDS = (
    *("train", "test", "extract", "data check", "data cache"),
    *("batch-size", "plain_train_net.py", "tune", "ablate"),
)
REQUIRED_OPTIONS = {
    "tune": ("--features", "features"),
    "ablate": ("--variants", "variants.yml"),
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
    tests = (QUERY, "valid.txt", GALLERY, "valid.txt", "DATASETS.ALLOW_OVERLAP", "True")
    for name, cases in (("list.txt", LIST_LINES), ("list.csv", CSV_LISTS)):
        for text, message in cases:
            yield InvalidCommand(
                next(commands),
                (*LIST_SETTINGS, TRAIN, name, *tests),
                message,
                files={name: text, "valid.txt": VALID_LIST},
            )
    files = {"train.txt": VALID_LIST, "valid.txt": VALID_LIST, "empty.txt": "\n", "two.txt": "0.png 0\n1.png 0\n"}

    def with_lists(command, message, *arguments, train="train.txt", query="two.txt", gallery="two.txt"):
        lists = (TRAIN, train, QUERY, query, GALLERY, gallery)
        return InvalidCommand(command, (*LIST_SETTINGS, *lists, *arguments), message, files=files)

    yield with_lists("train", "are in both training and the test set", query="valid.txt")
    yield with_lists("train", "cannot read the list", train="absent.txt")
    yield with_lists("data check", "the data has 1 error; see", train="absent.txt")
    yield with_lists("data cache", "empty.txt: the list is empty", query="empty.txt")
    yield with_lists("train", "list", "DATASETS.ALLOW_OVERLAP", "True", train="empty.txt")
    yield with_lists("train", "", "DATASETS.ALLOW_OVERLAP", "True", train="two.txt")
    yield InvalidCommand("train", ("DATASETS.NAMES", "Folder", "DATASETS.FOLDER.PATH", "absent"), "no such folder")
    yield InvalidCommand(
        "train", ("DATASETS.NAMES", "Folder", "DATASETS.FOLDER.PATH", "pages"), "not in a patent's sub-folder"
    )
    yield InvalidCommand("train", ("DATASETS.NAMES", "Patent"), "cannot read the list")
    yield InvalidCommand("test", ("DATASETS.TESTS", "Patnt", "MODEL.WEIGHTS", "good.pth"), "Did you mean 'Patent'")
    yield InvalidCommand("data check", ("--output", "checked", "DATASETS.TESTS", "Patent"), "the data has 1 error; see")


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
        arguments, fails = (*listed, *more, "OUTPUT_DIR", "started"), command in ("train", "plain_train_net.py")
        yield InvalidCommand(command, arguments, "pages/bad.png: a corrupt image", files=files, fails_in_training=fails)
    yield InvalidCommand("data check", ("--output", "checked", *listed), "the data has 1 error; see", files=files)
    yield InvalidCommand("data cache", (*listed, "INPUT.MAX_PIXELS", 100), "is more than the 100 allowed", files=files)
    yield invalid("data show", "--output", "x.png", "--image", "absent.png", message="absent.png: ", config="")


def invalid_weights():
    """Yield every kind of invalid weights for the commands that load them."""
    commands = itertools.cycle(("test", "extract"))
    for name, code, message in (
        *(("absent.pth", 2, "no such weights file"), ("pages", 2, "no such weights file")),
        *(("damaged.pth", 6, "not a file of tensors"), ("damaged.safetensors", 6, "cannot be read")),
        *(("code.pth", 6, "not a file of tensors"), ("tensor.pth", 6, "contains a Tensor")),
        *(("other.pth", 6, "contains other values"), ("empty.pth", 6, "this one is empty")),
        *(("missing.pth", 6, "absent"), ("extra.pth", 6, "unknown to the model")),
        *(("wide.pth", 6, "->"), ("nan.pth", 6, "contain NaN or Inf"), ("flipped.pth", 6, "damaged or changed")),
        *(("shape.pth", 6, "->"), ("large.pth", 4, "NaN, Inf or zero")),
    ):
        yield InvalidCommand(next(commands), ("MODEL.WEIGHTS", name), message, code)
        if code == 6 and name not in ("wide.pth",):
            yield InvalidCommand("train", ("MODEL.WEIGHTS", name), message, code)
    yield invalid("test", message="MODEL.WEIGHTS is empty")
    yield invalid("extract", message="--random-weights")
    yield invalid("train_net.py", "--eval-only", message="MODEL.WEIGHTS is empty")
    yield invalid("train", "--resume", "OUTPUT_DIR", "damaged", message="none of its 1 checkpoints", code=6)
    yield invalid("train", "--resume", "OUTPUT_DIR", "bare", message="not a training checkpoint", code=6)


def invalid_features():
    """Yield every kind of invalid features for the commands that read them."""
    for name, code, message in (
        *(("absent", 2, "no such folder"), ("pages", 2, "no features of queries and gallery")),
        *(("unfinished", 2, "did not finish"), ("changed", 6, "damaged or changed")),
        *(("zeros", 4, "NaN, Inf or zero"), ("nan", 4, "NaN, Inf or zero"), ("manifest", 6, "damaged")),
    ):
        yield invalid("test", "--features", name, message=message, code=code)
        yield invalid("tune", "--features", name, message=message, code=code)
    yield invalid("test", "--features", "features", "--random-weights", message="use only one of them")
    yield invalid("test", "--features", "features", "TEST.AQE.ENABLED", "True", "TEST.AQE.QE_K", 0, message="QE_K")
    whitened = ("--features", "features", "TEST.WHITEN.ENABLED", "True", "TEST.WHITEN.LEARN_FROM")
    yield invalid("test", *whitened, "absent.safetensors", message="there is no file")
    yield invalid("test", *whitened, "damaged.safetensors", message="not a whitening file", code=6)
    yield invalid("test", *whitened, "gallery", "TEST.WHITEN.DIM", 600, message="TEST.WHITEN.DIM")


def invalid_values():
    """Yield invalid values of settings and options, and a training that diverges."""
    for arguments, message in (
        (("SOLVER.IMS_PER_BATCH", 100_000), "IMS_PER_BATCH"),
        (("SOLVER.IMS_PER_BATCH", 15), "NUM_INSTANCE"),
        (("DATALOADER.NUM_INSTANCE", 5), "NUM_INSTANCE"),
        (("DATALOADER.SAMPLER_TRAIN", "Balanced"), "DATALOADER.SAMPLER_TRAIN 'Balanced' is unknown"),
        (("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", "19x"), "19x"),
        (("MODEL.BACKBONE.NAME", "build_resnt_backbone"), "MODEL.BACKBONE.NAME 'build_resnt_backbone' is unknown. Did"),
        (("MODEL.HEADS.POOL_LAYER", "GeM"), "MODEL.HEADS.POOL_LAYER 'GeM' is unknown"),
        (("MODEL.LOSSES.NAME", "['Cross']"), "MODEL.LOSSES.NAME 'Cross' is unknown"),
        (("SOLVER.OPT", "Adm"), "SOLVER.OPT 'Adm' is unknown. Did you mean 'Adam'? Available: ASGD, Adadelta"),
        (("SOLVER.SCHED", "Cosine"), "SOLVER.SCHED 'Cosine' is unknown. Available: CosineAnnealingLR, MultiStepLR."),
    ):
        yield InvalidCommand("train", arguments, message)
        yield InvalidCommand("plain_train_net.py", arguments, message)
    yield invalid("train", "MODEL.FREEZE_LAYERS", "['bckbone']", message="Did you mean 'backbone'")
    diverging = ("SOLVER.OPT", "SGD", "SOLVER.BASE_LR", 1e30, "OUTPUT_DIR", "started")
    yield invalid("train", *diverging, message="loss or gradient is NaN or Inf", code=4, fails_in_training=True)
    yield invalid("batch-size", "--steps", 0, message="--steps: '0' is invalid; it must be an integer >= 1")
    yield invalid("batch-size", "--memory-mb", "x", message="--memory-mb: 'x' is invalid; it must be a number > 0")
    yield invalid("tune", "--features", "features", "--k1", "4,x", message="--k1: '4,x' is invalid; it must be items")
    yield invalid("tune", "--features", "features", "--queries", -3, message="--queries: '-3' is invalid; it must be")
    variants = {
        "variants.yml": "rotations: {INPUT: {LINE_AUG: {OPS: [rot90]}}}\n",
        "wrong.yml": "a: {INPUT: {FLPI: {ENABLED: True}}}\n",
    }
    named = ("--variants", "variants.yml")
    yield invalid("ablate", *named, "--seeds", "0,0", message="'0,0' contains 0 twice", files=variants)
    yield invalid("ablate", *named, "--only", "rotation", message="no variant is named 'rotation'", files=variants)
    yield invalid("ablate", "--variants", "wrong.yml", message="unknown setting 'INPUT.FLPI.ENABLED'", files=variants)
    yield invalid("ablate", "--variants", "absent.yml", message="absent.yml: no such file")
    synth = ("--output", "rendered", "--patents")
    for arguments, message in (
        (("--output", "rendered"), "required: --patents"),
        ((*synth, 0), "patents"),
        ((*synth, 2, "--size-px", 10), "size"),
        ((*synth, 2, "--workers", -1), "workers"),
    ):
        yield invalid("data synth", *arguments, message=message, config="")
    yield invalid("data measure", "pages", message="is not NAME=DIR", config="")
    yield invalid("data measure", "a=absent", message="a=absent: there is no folder absent", config="")
    yield invalid("compare", "absent", message="no line of metrics.json", config="")
    yield invalid("compare", "run", "run", message="a run is given twice", config="")
    yield invalid("compare", "run", "--metrics", "los", message="no run has the metric 'los'", config="")
    yield invalid("compare", "run", "--output", "a.jpg", message="must end in .png", config="")
    yield invalid("data show", "--output", "a.jpg", message="must end in .png", config="")
    yield invalid("data show", "--output", "a.png", "--samples", 0, message="--samples: '0' is invalid", config="")


def invalid_predictions():
    """Yield invalid images, galleries and options of `fastreid predict`."""
    output = ("--output", "features.npy")
    weights = ("MODEL.WEIGHTS", "good.pth")
    for arguments, message in (
        (output, "no image given"),
        (("pages/0.png",), "add --output FILE.npy, --gallery DIR or both"),
        ((*output, "absent.png", *weights), "absent.png: no such file or folder"),
        ((*output, "damaged", *weights), "damaged: contains no drawing (.png"),
        ((*output, "bad/cut.png", *weights), "bad/cut.png: a corrupt image"),
        ((*output, "pages/0.png"), "MODEL.WEIGHTS"),
        ((*output, "pages/0.png", "-k", 3), "-k follows an image; options come before the images"),
        (("--output", "features.txt", "pages/0.png"), "must end in .npy or .csv"),
        (("--gallery", "damaged", "pages/0.png", *weights), "damaged: contains no drawing"),
        (("--gallery", "pages", "-k", 0, "pages/0.png", *weights), "argument -k: '0' is invalid"),
        ((*output, "-k", 3, "pages/0.png", *weights), "add --gallery DIR"),
    ):
        yield invalid("predict", *arguments, message=message)
    yield invalid("predict", *output, "--weights", "nan.pth", "pages/0.png", message="NaN or Inf", code=6)
    unwritable = ("--output", "/proc/none/a.npy", "pages/0.png", *weights)
    yield invalid("predict", *unwritable, message="cannot be written", code=5)


def invalid_names():
    """Yield unknown commands and names, and arguments of the scripts in tools/ that exclude each other."""
    for command, arguments, message in (
        ("trian", (), "unknown command 'trian'. Did you mean 'train'?"),
        ("train", ("stray", "--config-file", "tiny.yml"), "--config-file follows 'stray'"),
        ("test", ("-config-file", "tiny.yml"), "unknown option '-config-file'. Did you mean '--config-file'? See"),
        ("data", (), "required: COMMAND"),
        ("data chek", (), "unknown command 'chek'. Did you mean 'check'?"),
        ("completion", ("csh",), "'csh' is unknown. Did you mean 'zsh'? Available: bash, zsh, fish"),
        ("configs list", ("demo",), "unexpected argument 'demo'"),
        ("models list", ("small",), "unexpected argument 'small'"),
        ("models show", ("mobilenet_v9",), "model 'mobilenet_v9' is unknown"),
        ("models download", (), "the following arguments are required: NAME"),
        ("models save", ("--config-file", "bad.yml", "--output", "out", "--card", "no.yml"), "no.yml: no such file"),
        ("models calibrate", ("models/absent", "--features", "out"), "models/absent: no model directory"),
        ("models calibrate", ("lines-mobilenetv2", "--features", "out"), "a shipped model has its calibration"),
        (
            "models calibrate",
            ("lines-mobilenetv2", "--features", "out", "--evaluate", "--data", "x"),
            "--evaluate fits nothing; use one of them",
        ),
        ("average", ("--output", "mean.pth", "absent.pth", "gone.pth"), "absent.pth: no such weights file"),
        ("configs copy", ("copies", "demo/stage9.yml"), "there is no shipped config 'demo/stage9.yml'. Did you mean"),
        ("configs copy", (".", "pages"), "there is no shipped config 'pages'"),
        ("doctor", ("OUTPUT_DR", "x"), "Did you mean 'OUTPUT_DIR'?"),
    ):
        yield invalid(command, *arguments, message=message, config="")
    yield invalid("test.py", message="add --eval-only")
    yield invalid("test.py", "--eval-only", "--resume", message="use only one of them")
    yield invalid("train_net.py", "--eval-only", "--resume", message="use only one of them")
    yield invalid("plain_train_net.py", "--resume", message="--resume, --eval-only and several processes are not")
    for text in ("SOLVER.SAVE_TOP_K 2", "SOLVER.HEAD_ONLY True", "MODEL.HEADS.PROJECTION pca", "TRACKER.NAME wandb"):
        yield invalid("plain_train_net.py", *text.split(), message=f"{text.split()[0]} must be ")


def invalid_environments():
    """Yield unknown options, missing packages, and folders that are not writable."""
    commands = [*CONFIG_COMMANDS, "compare", "data synth", "data measure"]
    for command in (*commands, "data show"):
        yield InvalidCommand(
            command,
            ("--no-such-option",),
            f"{command if command.endswith('.py') else f'fastreid {command}'}: unknown option '--no-such-option'",
            config="tiny.yml" if command in CONFIG_COMMANDS else "",
        )
    for command in ("train", "test", "extract", "batch-size", "plain_train_net.py"):
        weights = ("MODEL.WEIGHTS", "good.pth") if command in ("test", "extract") else ()
        yield InvalidCommand(command, ("MODEL.DEVICE", "cuda", *weights), "MODEL.DEVICE cpu", 3)
    yield invalid("train", "OUTPUT_DIR", "/proc/none", message="cannot be written", code=3, needs_process=True)
    yield invalid("train", "SOLVER.BASE_LRR", 1, message="Did you mean 'SOLVER.BASE_LR'?", needs_process=True)
    yield invalid("extract", "--output", "tiny.yml", "MODEL.WEIGHTS", "good.pth", message="cannot be created", code=3)
    yield invalid("data check", "--output", "/proc/none", message="cannot be written", code=5)
    yield invalid("data cache", "DATASETS.CACHE.FOLDER", "/proc/none", message="cannot be written", code=5)
    unwritable = "/proc/none/a.png"
    yield invalid("compare", "run", "--output", unwritable, message="cannot be written", code=5, config="")
    yield invalid("data show", "--output", unwritable, message="cannot be written", code=5, config="")
    synth = ("--output", "/proc/none", "--patents", 2)
    yield invalid("data synth", *synth, message="cannot be written", code=5, config="")
    tuned = ("--features", "features", "--output", "/proc/none/a.yml")
    yield invalid("tune", *tuned, message="cannot be written", code=5)
    table = ("--features", "features", "TEST.SCORE.PER_QUERY_FILE", "queries.parquet")
    yield invalid("test", *table, message="or name it .csv", code=3, without="pyarrow")
    yield invalid("train", "TRACKER.NAME", "wandb", message="wandb", code=3, without="wandb")
    yield invalid("train", "TRACKER.NAME", "mlflow", message="mlflow", code=3, without="mlflow")
    yield invalid("data check", "--output", "checked", message="faiss", code=3, without="faiss")
    timm = ("MODEL.BACKBONE.NAME", "build_timm_backbone")
    yield invalid("train", *timm, message="pip install timm", code=3, without="timm")
    for command in ("train", "test", "data cache"):
        yield InvalidCommand(command, message="absent.yml: no such file", config="absent.yml")
    script = {"config.py": "raise OSError"}
    yield invalid("train", message="a config is a .yml or .yaml file", config="config.py", files=script)


GROUPS = (
    *(invalid_configs(), invalid_lists(), invalid_images(), invalid_weights(), invalid_features(), invalid_values()),
    *(invalid_predictions(), invalid_names(), invalid_environments()),
)
INVALID_COMMANDS = [one for group in GROUPS for one in group]
WITHOUT_CONFIG = (*COLLECTIONS, *EXPORTS)
INVALID_COMMANDS += [invalid(command, *words, message=message, config="") for command, words, message in WITHOUT_CONFIG]
