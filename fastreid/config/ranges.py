"""Allowed values of each setting, in addition to its type, which follows from its default.

Names of components (registries of a `build.py`) are checked where the component is built, so that registered
components of users are allowed. Fixed choices are checked here.
"""

import math
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """The allowed values of a setting; for a list, of each item.

    Args:
        minimum: smallest number.
        maximum: largest number.
        exclusive: the minimum itself is not allowed.
        extra: one more allowed number, outside the range, with a special meaning.
        allow_fractions: fractions are allowed although the default is an integer.
        is_duration: a fraction below 1 is allowed although the default is an integer; it is a ratio of the run.
        choices: allowed strings; empty: any.
        pattern: (regular expression that a string must match, its description).
        num_items: (minimum, maximum) number of items of a list.
        may_be_empty: a list without items is allowed too.
        ascending: the items of a list must not decrease.
        example: an item that shows the type of the items if the default list is empty.
        is_path: a string is a path, whose leading `~` is replaced by the home folder.
    """

    minimum: float = -math.inf
    maximum: float = math.inf
    exclusive: bool = False
    extra: float | None = None
    allow_fractions: bool = False
    is_duration: bool = False
    choices: tuple[str, ...] = ()
    pattern: tuple[str, str] | None = None
    num_items: tuple[int, float] = (0, math.inf)
    may_be_empty: bool = False
    ascending: bool = False
    example: Any = ""
    is_path: bool = False

    def example_item(self, default: list[Any] | tuple[Any, ...]) -> Any:
        """Return an item that shows the type of the items of a list: a float if the list contains one."""
        floats = [item for item in default if isinstance(item, float)]
        return (floats or list(default) or [self.example])[0]

    def allows_number(self, number: float) -> bool:
        """Return whether a number is in the range; integers have at most 64 bits."""
        if isinstance(number, int) and abs(number) >= 2**63:
            return False
        is_large_enough = self.minimum < number if self.exclusive else self.minimum <= number
        return (is_large_enough and number <= self.maximum) or number == self.extra

    def allows_text(self, text: str) -> bool:
        """Return whether a string is one of the choices and matches the pattern."""
        if self.pattern and not re.fullmatch(self.pattern[0], text):
            return False
        return not self.choices or text in self.choices

    def allows_length(self, length: int) -> bool:
        """Return whether a list may have this number of items."""
        return self.num_items[0] <= length <= self.num_items[1] or (self.may_be_empty and not length)

    def describe(self, default: Any) -> str:
        """Return the allowed values, such as "an integer >= 1".

        Args:
            default: the default of the setting, which determines the type.
        """
        if isinstance(default, (list, tuple)):
            item = f"each {self.describe(self.example_item(default))}"
            return f"a list of {self._describe_length()}{' in ascending order' if self.ascending else ''}, {item}"
        if isinstance(default, bool):
            return "True or False"
        if isinstance(default, str):
            allowed = self.pattern[1] if self.pattern else " or ".join(self.choices)
            return allowed or "a string on one line, in quotes if it looks like a number"
        kind = "an integer" if isinstance(default, int) and not self.allow_fractions else "a number"
        ratio = ", or a fraction below 1: a ratio of the run" if self.is_duration else ""
        return f"{kind}{self._describe_range()}{ratio}"

    def _describe_length(self) -> str:
        minimum, maximum = self.num_items
        if self.may_be_empty:
            return f"0 or {minimum} items"
        if maximum == math.inf:
            return f"{minimum} or more items" if minimum else "items"
        return f"{minimum} items" if minimum == maximum else f"{minimum} to {maximum} items"

    def _describe_range(self) -> str:
        has_minimum, has_maximum = self.minimum > -math.inf, self.maximum < math.inf
        extra = f" or {self.extra:g}" if self.extra is not None else ""
        if has_minimum and has_maximum and not self.exclusive:
            return f" from {self.minimum:.12g} to {self.maximum:.12g}{extra}"
        low = f" {'>' if self.exclusive else '>='} {self.minimum:.12g}" if has_minimum else ""
        high = f"{' and' if low else ''} <= {self.maximum:.12g}" if has_maximum else ""
        return f"{low}{high}{extra}"


ZERO_TO_ONE = Rule(0, 1)
AT_LEAST_ONE = Rule(1)
NONNEGATIVE = Rule(0)
POSITIVE = Rule(0, exclusive=True)
SIZE = Rule(1, 10_000, num_items=(1, 2))
SIZE_OR_EMPTY = Rule(1, 10_000, num_items=(0, 2))
GRAY_LEVELS = Rule(0, 255, num_items=(3, 3))
NAMES = Rule(num_items=(1, math.inf))
DURATION = Rule(0, is_duration=True)
PATH = Rule(is_path=True)
LINE_OPERATIONS = (  # in the order in which they are applied
    "rot90",
    "warp",
    "elastic",
    "stroke_width",
    "stroke_gaps",
    "descreen",
    "screen",
    "low_resolution",
    "bilevel",
    "scan_noise",
    "jpeg",
)

RULES: dict[str, Rule] = {
    "SEED": NONNEGATIVE,
    "OUTPUT_DIR": PATH,
    "MODEL.DEVICE": Rule(pattern=(r"auto|cpu|mps|cuda(:\d+)?", "auto, cpu, mps, cuda or cuda:N")),
    "MODEL.WEIGHTS": PATH,
    "MODEL.PIXEL_MEAN": Rule(0, 255, num_items=(3, 3), may_be_empty=True, example=0.0),
    "MODEL.PIXEL_STD": Rule(0, exclusive=True, num_items=(3, 3), may_be_empty=True, example=0.0),
    "MODEL.BACKBONE.LAST_STRIDE": Rule(1, 2),
    "MODEL.BACKBONE.FEAT_DIM": NONNEGATIVE,
    "MODEL.BACKBONE.OUT_INDEX": Rule(-1000, 1000, example=0),
    "MODEL.BACKBONE.TOKENS": Rule(choices=("class", "patches", "both")),
    "MODEL.BACKBONE.DROP_PATH": Rule(0, 0.999),
    "MODEL.BACKBONE.PRETRAIN_PATH": PATH,
    "MODEL.HEADS.NUM_CLASSES": NONNEGATIVE,
    "MODEL.HEADS.EMBEDDING_DIM": NONNEGATIVE,
    "MODEL.HEADS.PROJECTION": Rule(choices=("", "pca", "within_class")),
    "MODEL.HEADS.SHRINKAGE": ZERO_TO_ONE,
    "MODEL.HEADS.NECK_FEAT": Rule(choices=("before", "after")),
    "MODEL.HEADS.MARGIN": NONNEGATIVE,
    "MODEL.HEADS.MARGIN_RANGE": Rule(0, num_items=(2, 2), may_be_empty=True, ascending=True, example=0.0),
    "MODEL.HEADS.SUB_CENTERS": AT_LEAST_ONE,
    "MODEL.HEADS.SCALE": Rule(0, exclusive=True, allow_fractions=True),
    "MODEL.HEADS.PARTIAL_FC_RATIO": Rule(0, 1, exclusive=True),
    "MODEL.LOSSES.NAME": NAMES,
    "MODEL.LOSSES.MEMORY.SIZE": NONNEGATIVE,
    "MODEL.LOSSES.MEMORY.START_ITER": NONNEGATIVE,
    "MODEL.LOSSES.CE.EPSILON": Rule(0, 1, extra=-1),
    "MODEL.LOSSES.CE.ALPHA": ZERO_TO_ONE,
    "MODEL.LOSSES.CE.SCALE": POSITIVE,
    "MODEL.LOSSES.FL.ALPHA": ZERO_TO_ONE,
    "MODEL.LOSSES.FL.GAMMA": Rule(0, allow_fractions=True),
    "MODEL.LOSSES.FL.SCALE": POSITIVE,
    "MODEL.LOSSES.TRI.MARGIN": NONNEGATIVE,
    "MODEL.LOSSES.TRI.SCALE": POSITIVE,
    "MODEL.LOSSES.CIRCLE.MARGIN": ZERO_TO_ONE,
    "MODEL.LOSSES.CIRCLE.GAMMA": Rule(0, exclusive=True, allow_fractions=True),
    "MODEL.LOSSES.CIRCLE.SCALE": POSITIVE,
    "MODEL.LOSSES.COSFACE.MARGIN": ZERO_TO_ONE,
    "MODEL.LOSSES.COSFACE.GAMMA": Rule(0, exclusive=True, allow_fractions=True),
    "MODEL.LOSSES.COSFACE.SCALE": POSITIVE,
    "MODEL.DISTILL.CONFIG": PATH,
    "MODEL.DISTILL.WEIGHTS": PATH,
    "MODEL.DISTILL.SCALE": POSITIVE,
    "INPUT.SIZE_TRAIN": SIZE_OR_EMPTY,
    "INPUT.SIZE_TEST": SIZE_OR_EMPTY,
    "INPUT.ASPECT": Rule(choices=("squash", "pad", "fit")),
    "INPUT.COLOR": Rule(choices=("gray", "rgb")),
    "INPUT.FILL": Rule(0, 255),
    "INPUT.LONGEST_PX": NONNEGATIVE,
    "INPUT.MAX_PIXELS": AT_LEAST_ONE,
    "INPUT.ON_BAD_IMAGE": Rule(choices=("stop", "skip")),
    "INPUT.MAX_BAD_IMAGES": AT_LEAST_ONE,
    "INPUT.CROP.SIZE": SIZE,
    "INPUT.CROP.SCALE": Rule(0, 1, exclusive=True, num_items=(2, 2), ascending=True),
    "INPUT.CROP.RATIO": Rule(0, exclusive=True, num_items=(2, 2), ascending=True),
    "INPUT.FLIP.PROB": ZERO_TO_ONE,
    "INPUT.PADDING.MODE": Rule(choices=("constant", "edge", "reflect", "symmetric")),
    "INPUT.PADDING.SIZE": Rule(0, 10_000),
    "INPUT.CJ.PROB": ZERO_TO_ONE,
    "INPUT.CJ.BRIGHTNESS": NONNEGATIVE,
    "INPUT.CJ.CONTRAST": NONNEGATIVE,
    "INPUT.CJ.SATURATION": NONNEGATIVE,
    "INPUT.CJ.HUE": Rule(0, 0.5),
    "INPUT.AUTOAUG.PROB": ZERO_TO_ONE,
    "INPUT.AUTOAUG.POLICY": Rule(choices=("drawings", "imagenet")),
    "INPUT.AUGMIX.POLICY": Rule(choices=("drawings", "imagenet")),
    "INPUT.AUGMIX.PROB": ZERO_TO_ONE,
    "INPUT.REA.PROB": ZERO_TO_ONE,
    "INPUT.REA.VALUE": GRAY_LEVELS,
    "INPUT.RPT.PROB": ZERO_TO_ONE,
    "INPUT.LABEL.PROB": ZERO_TO_ONE,
    "INPUT.INK_CROP.PROB": ZERO_TO_ONE,
    "INPUT.INK_CROP.MARGIN": Rule(0, 1),
    "INPUT.LINE_AUG.OPS": Rule(choices=LINE_OPERATIONS),
    "INPUT.LINE_AUG.PROB": ZERO_TO_ONE,
    "INPUT.LINE_AUG.STRENGTH": Rule(0, 2, exclusive=True),
    "DATASETS.NAMES": NAMES,
    "DATASETS.TESTS": NAMES,
    "DATASETS.FOLDER.LEVEL": Rule(0, 9),
    "DATASETS.ROOT": PATH,
    "DATASETS.CACHE.FOLDER": PATH,
    "DATASETS.LIST.IMAGES": PATH,
    "DATASETS.LIST.TRAIN": PATH,
    "DATASETS.LIST.QUERY": PATH,
    "DATASETS.LIST.GALLERY": PATH,
    "DATASETS.FOLDER.PATH": PATH,
    "DATASETS.FOLDER.TEST_FRACTION": ZERO_TO_ONE,
    "DATASETS.FOLDER.NUM_QUERIES": AT_LEAST_ONE,
    "DATASETS.GENERATED.SEED": NONNEGATIVE,
    "DATASETS.GENERATED.NUM_TRAIN_PATENTS": AT_LEAST_ONE,
    "DATASETS.GENERATED.NUM_TEST_PATENTS": AT_LEAST_ONE,
    "DATASETS.GENERATED.SIZE_PX": Rule(64, 2000),
    "DATASETS.GENERATED.EXCLUDE": Rule(choices=("siblings", "families", "styles", "shading", "marks", "states")),
    "DATALOADER.NUM_INSTANCE": AT_LEAST_ONE,
    "DATALOADER.HARD_IDENTITIES": ZERO_TO_ONE,
    "DATALOADER.NUM_WORKERS": Rule(0, 1024),
    "DATALOADER.TIMEOUT_S": NONNEGATIVE,
    "SOLVER.MAX_EPOCH": AT_LEAST_ONE,
    "SOLVER.IMS_PER_BATCH": AT_LEAST_ONE,
    "SOLVER.AMP.DTYPE": Rule(choices=("float16", "bfloat16")),
    "SOLVER.GRAD_ACCUM_STEPS": AT_LEAST_ONE,
    "SOLVER.AVERAGE.METHOD": Rule(choices=("none", "ema", "swa")),
    "SOLVER.AVERAGE.DECAY": ZERO_TO_ONE,
    "SOLVER.AVERAGE.START_EPOCH": NONNEGATIVE,
    "SOLVER.BASE_LR": NONNEGATIVE,
    "SOLVER.LR_REFERENCE_BATCH": NONNEGATIVE,
    "SOLVER.HEADS_LR_FACTOR": NONNEGATIVE,
    "SOLVER.LAYER_DECAY": Rule(0, 1, exclusive=True),
    "SOLVER.BIAS_LR_FACTOR": NONNEGATIVE,
    "SOLVER.MOMENTUM": ZERO_TO_ONE,
    "SOLVER.WEIGHT_DECAY": NONNEGATIVE,
    "SOLVER.WEIGHT_DECAY_NORM": NONNEGATIVE,
    "SOLVER.WEIGHT_DECAY_BIAS": NONNEGATIVE,
    "SOLVER.L2_SP": NONNEGATIVE,
    "SOLVER.DELAY_EPOCHS": DURATION,
    "SOLVER.STEPS": Rule(0, ascending=True),
    "SOLVER.GAMMA": NONNEGATIVE,
    "SOLVER.ETA_MIN_LR": NONNEGATIVE,
    "SOLVER.WARMUP_ITERS": DURATION,
    "SOLVER.WARMUP_FACTOR": ZERO_TO_ONE,
    "SOLVER.WARMUP_METHOD": Rule(choices=("linear", "constant", "exp")),
    "SOLVER.FREEZE_ITERS": DURATION,
    "SOLVER.CHECKPOINT_PERIOD": AT_LEAST_ONE,
    "SOLVER.LOG_PERIOD": AT_LEAST_ONE,
    "SOLVER.DIAGNOSTICS_PERIOD": NONNEGATIVE,
    "SOLVER.EARLY_STOP_PATIENCE": NONNEGATIVE,
    "SOLVER.SAVE_TOP_K": NONNEGATIVE,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": Rule(choices=("norm", "value")),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": POSITIVE,
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": POSITIVE,
    "TEST.EVAL_PERIOD": NONNEGATIVE,
    "TEST.IMS_PER_BATCH": AT_LEAST_ONE,
    "TEST.TOP_K": AT_LEAST_ONE,
    "TEST.RECALLS": Rule(1, example=1),
    "TEST.NUM_VISUALIZED_QUERIES": NONNEGATIVE,
    "TEST.PROJECTOR": Rule(0, 10_000),
    "TEST.MEMORY_MB": AT_LEAST_ONE,
    "TEST.NETWORK_PRECISION": Rule(choices=("float32", "bfloat16", "float16")),
    "TEST.RUNTIME": Rule(choices=("torch", "onnxruntime")),
    "TEST.NUM_THREADS": NONNEGATIVE,
    "TEST.SCALES": Rule(0.1, 10, num_items=(1, math.inf)),
    "TEST.GEM_POWER": Rule(0, 1000),
    "TEST.WHITEN.LEARN_FROM": PATH,  # or gallery or train
    "TEST.WHITEN.DIM": NONNEGATIVE,
    "TEST.WHITEN.POWER": Rule(0, 0.5),
    "TEST.NEGATIVE.K": AT_LEAST_ONE,
    "TEST.NEGATIVE.BETA": ZERO_TO_ONE,
    "TEST.NEGATIVE.TIMES": AT_LEAST_ONE,
    "TEST.FUSE.OBJECT": Rule(choices=("patent", "folder")),
    "TEST.AQE.ALPHA": NONNEGATIVE,
    "TEST.AQE.QE_TIME": AT_LEAST_ONE,
    "TEST.AQE.QE_K": AT_LEAST_ONE,
    "TEST.RERANK.K1": AT_LEAST_ONE,
    "TEST.RERANK.K2": AT_LEAST_ONE,
    "TEST.RERANK.FORM": Rule(choices=("fast-reid", "paper")),
    "TEST.RERANK.LAMBDA": ZERO_TO_ONE,
    "TEST.RERANK.TOP_N": NONNEGATIVE,
    "TEST.SUPERGLOBAL.TOP_N": AT_LEAST_ONE,
    "TEST.SUPERGLOBAL.K": AT_LEAST_ONE,
    "TEST.SUPERGLOBAL.BETA": NONNEGATIVE,
    "TEST.LOCAL.GRID": Rule(1, 64),
    "TEST.LOCAL.DIM": AT_LEAST_ONE,
    "TEST.LOCAL.TOP_N": AT_LEAST_ONE,
    "TEST.LOCAL.WEIGHT": NONNEGATIVE,
    "TEST.SCORE.NORMALIZER": Rule(choices=("min", "relevant", "found")),
    "TEST.SCORE.PATENT_DISTANCE": Rule(choices=("best", "mean")),
    "TEST.SCORE.BOOTSTRAP": NONNEGATIVE,
    "TEST.SCORE.PER_QUERY_FILE": Rule(
        pattern=(r"([^/\\]+\.(csv|parquet))?", "empty, or a file name that ends in .csv or .parquet")
    ),
    "TEST.PRECISE_BN.NUM_ITER": AT_LEAST_ONE,
}
