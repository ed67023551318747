"""What each setting may be, beside its kind, which follows from its default.

Names that stand in a table of a `build.py` are checked there, so that a part registered from outside is as welcome as
ours; a fixed list of words stands here.
"""

import math
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """The range of a setting; for a list, of each of its items.

    Args:
        least: smallest number.
        most: largest number.
        above: refuse `least` itself.
        besides: one number outside the range that has a meaning of its own.
        real: take fractions although the default is whole.
        choices: the words there are.
        form: the regular expression a text must match, and how to say it.
        lengths: fewest and most items of a list.
        ascending: no item of a list is below the one before.
        sample: an item, for a list that is empty by default.
    """

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    besides: float | None = None
    real: bool = False
    choices: tuple[str, ...] = ()
    form: tuple[str, str] | None = None
    lengths: tuple[int, float] = (0, math.inf)
    ascending: bool = False
    sample: Any = ""

    def item(self, default: list | tuple) -> Any:
        """An item that shows what kind the items of this list are; fractions win over whole numbers."""
        floats = [item for item in default if isinstance(item, float)]
        return (floats or list(default) or [self.sample])[0]

    def holds(self, number: float) -> bool:
        if isinstance(number, int) and abs(number) >= 2**63:
            return False
        inside = (self.least < number if self.above else self.least <= number) and number <= self.most
        return inside or number == self.besides

    def suits(self, text: str) -> bool:
        if self.form and not re.fullmatch(self.form[0], text):
            return False
        return not self.choices or text in self.choices

    def fits_length(self, length: int) -> bool:
        return self.lengths[0] <= length <= self.lengths[1]

    def words(self, default: Any) -> str:
        """What is allowed, such as "a whole number, 1 or more"."""
        if isinstance(default, (list, tuple)):
            item = f"each {self.words(self.item(default))}"
            return f"a list of {self._how_many()}{' in rising order' if self.ascending else ''}, {item}"
        if isinstance(default, bool):
            return "True or False"
        if isinstance(default, str):
            known = self.form[1] if self.form else " or ".join(self.choices)
            return known or "a text on one line, in quotes where it looks like a number"
        kind = "a whole number" if isinstance(default, int) and not self.real else "a number"
        return f"{kind}{self._range()}"

    def _how_many(self) -> str:
        fewest, most = self.lengths
        if most == math.inf:
            return f"{fewest} or more items" if fewest else "items"
        return f"{fewest} items" if fewest == most else f"{fewest} to {most} items"

    def _range(self) -> str:
        low = f"{'above' if self.above else 'from'} {self.least:.12g}" if self.least > -math.inf else ""
        high = f"to {self.most:.12g}" if self.most < math.inf else ""
        if low and not high and not self.above:
            low = f"of {self.least:.12g} or more"
        also = f", or {self.besides:g}" if self.besides is not None else ""
        return f" {' '.join(filter(None, (low, high)))}{also}" if low or high else ""


SHARE = Rule(0, 1)
COUNT = Rule(1)
NONE_OR_MORE = Rule(0)
POSITIVE = Rule(0, above=True)
SIZE = Rule(1, 10_000, lengths=(1, 2))
GREYS = Rule(0, 255, lengths=(3, 3))
NAMES = Rule(lengths=(1, math.inf))

RULES: dict[str, Rule] = {
    "SEED": NONE_OR_MORE,
    "MODEL.DEVICE": Rule(form=(r"auto|cpu|mps|cuda(:\d+)?", "auto, cpu, mps, cuda or cuda:N")),
    "MODEL.PIXEL_MEAN": GREYS,
    "MODEL.PIXEL_STD": Rule(0, above=True, lengths=(3, 3)),
    "MODEL.BACKBONE.LAST_STRIDE": Rule(1, 2),
    "MODEL.BACKBONE.FEAT_DIM": COUNT,
    "MODEL.HEADS.NUM_CLASSES": NONE_OR_MORE,
    "MODEL.HEADS.EMBEDDING_DIM": NONE_OR_MORE,
    "MODEL.HEADS.NECK_FEAT": Rule(choices=("before", "after")),
    "MODEL.HEADS.MARGIN": NONE_OR_MORE,
    "MODEL.HEADS.SCALE": Rule(0, above=True, real=True),
    "MODEL.HEADS.PARTIAL_FC_RATIO": Rule(0, 1, above=True),
    "MODEL.LOSSES.NAME": NAMES,
    "MODEL.LOSSES.CE.EPSILON": Rule(0, 1, besides=-1),
    "MODEL.LOSSES.CE.ALPHA": SHARE,
    "MODEL.LOSSES.CE.SCALE": POSITIVE,
    "MODEL.LOSSES.FL.ALPHA": SHARE,
    "MODEL.LOSSES.FL.GAMMA": Rule(0, real=True),
    "MODEL.LOSSES.FL.SCALE": POSITIVE,
    "MODEL.LOSSES.TRI.MARGIN": NONE_OR_MORE,
    "MODEL.LOSSES.TRI.SCALE": POSITIVE,
    "MODEL.LOSSES.CIRCLE.MARGIN": SHARE,
    "MODEL.LOSSES.CIRCLE.GAMMA": Rule(0, above=True, real=True),
    "MODEL.LOSSES.CIRCLE.SCALE": POSITIVE,
    "MODEL.LOSSES.COSFACE.MARGIN": SHARE,
    "MODEL.LOSSES.COSFACE.GAMMA": Rule(0, above=True, real=True),
    "MODEL.LOSSES.COSFACE.SCALE": POSITIVE,
    "INPUT.SIZE_TRAIN": SIZE,
    "INPUT.SIZE_TEST": SIZE,
    "INPUT.ASPECT": Rule(choices=("squash", "pad", "fit")),
    "INPUT.FILL": Rule(0, 255),
    "INPUT.LONGEST_PX": NONE_OR_MORE,
    "INPUT.MAX_PIXELS": COUNT,
    "INPUT.ON_BAD_IMAGE": Rule(choices=("stop", "skip")),
    "INPUT.MAX_BAD_IMAGES": COUNT,
    "INPUT.CROP.SIZE": SIZE,
    "INPUT.CROP.SCALE": Rule(0, 1, above=True, lengths=(2, 2), ascending=True),
    "INPUT.CROP.RATIO": Rule(0, above=True, lengths=(2, 2), ascending=True),
    "INPUT.FLIP.PROB": SHARE,
    "INPUT.PADDING.MODE": Rule(choices=("constant", "edge", "reflect", "symmetric")),
    "INPUT.PADDING.SIZE": Rule(0, 10_000),
    "INPUT.CJ.PROB": SHARE,
    "INPUT.CJ.BRIGHTNESS": NONE_OR_MORE,
    "INPUT.CJ.CONTRAST": NONE_OR_MORE,
    "INPUT.CJ.SATURATION": NONE_OR_MORE,
    "INPUT.CJ.HUE": Rule(0, 0.5),
    "INPUT.AUTOAUG.PROB": SHARE,
    "INPUT.AUGMIX.PROB": SHARE,
    "INPUT.REA.PROB": SHARE,
    "INPUT.REA.VALUE": GREYS,
    "INPUT.RPT.PROB": SHARE,
    "INPUT.LABEL.PROB": SHARE,
    "INPUT.INK_CROP.PROB": SHARE,
    "INPUT.INK_CROP.MARGIN": Rule(0, 1),
    "INPUT.ROT90.PROB": SHARE,
    "INPUT.WARP.PROB": SHARE,
    "INPUT.WARP.ROTATE": Rule(0, 180),
    "INPUT.WARP.SHEAR": Rule(0, 45),
    "INPUT.WARP.SCALE": Rule(0.1, 10, lengths=(2, 2), ascending=True),
    "INPUT.ELASTIC.PROB": SHARE,
    "INPUT.ELASTIC.SHIFT": Rule(0, 0.08),
    "INPUT.STROKES.PROB": SHARE,
    "INPUT.STROKES.THICKEN_PX": Rule(0, 8),
    "INPUT.STROKES.THIN_PX": Rule(0, 2),
    "INPUT.BREAKS.PROB": SHARE,
    "INPUT.BREAKS.NUM": Rule(1, 1000),
    "INPUT.BREAKS.SIZE": SHARE,
    "INPUT.SCAN.PROB": SHARE,
    "INPUT.SCAN.NOISE": Rule(0, 255),
    "INPUT.SCAN.DUST": Rule(0, 1000),
    "DATASETS.NAMES": NAMES,
    "DATASETS.TESTS": NAMES,
    "DATASETS.FOLDER.TEST_FRACTION": SHARE,
    "DATASETS.FOLDER.NUM_QUERIES": COUNT,
    "DATASETS.GENERATED.SEED": NONE_OR_MORE,
    "DATASETS.GENERATED.NUM_TRAIN_PATENTS": COUNT,
    "DATASETS.GENERATED.NUM_TEST_PATENTS": COUNT,
    "DATASETS.GENERATED.SIZE_PX": Rule(64, 2000),
    "DATASETS.GENERATED.EXCLUDE": Rule(choices=("siblings", "families", "styles", "shading", "marks", "states")),
    "DATALOADER.NUM_INSTANCE": COUNT,
    "DATALOADER.HARD_IDENTITIES": SHARE,
    "DATALOADER.NUM_WORKERS": Rule(0, 1024),
    "DATALOADER.TIMEOUT_S": NONE_OR_MORE,
    "SOLVER.FUSED": Rule(choices=("auto", "always", "never")),
    "SOLVER.MAX_EPOCH": COUNT,
    "SOLVER.IMS_PER_BATCH": COUNT,
    "SOLVER.AMP.DTYPE": Rule(choices=("float16", "bfloat16")),
    "SOLVER.GRAD_ACCUM_STEPS": COUNT,
    "SOLVER.AVERAGE.METHOD": Rule(choices=("none", "ema", "swa")),
    "SOLVER.AVERAGE.DECAY": SHARE,
    "SOLVER.AVERAGE.START_EPOCH": NONE_OR_MORE,
    "SOLVER.BASE_LR": NONE_OR_MORE,
    "SOLVER.LR_REFERENCE_BATCH": NONE_OR_MORE,
    "SOLVER.HEADS_LR_FACTOR": NONE_OR_MORE,
    "SOLVER.LAYER_DECAY": Rule(0, 1, above=True),
    "SOLVER.BIAS_LR_FACTOR": NONE_OR_MORE,
    "SOLVER.MOMENTUM": SHARE,
    "SOLVER.WEIGHT_DECAY": NONE_OR_MORE,
    "SOLVER.WEIGHT_DECAY_NORM": NONE_OR_MORE,
    "SOLVER.WEIGHT_DECAY_BIAS": NONE_OR_MORE,
    "SOLVER.DELAY_EPOCHS": NONE_OR_MORE,
    "SOLVER.STEPS": Rule(0, ascending=True),
    "SOLVER.GAMMA": NONE_OR_MORE,
    "SOLVER.ETA_MIN_LR": NONE_OR_MORE,
    "SOLVER.WARMUP_ITERS": NONE_OR_MORE,
    "SOLVER.WARMUP_FACTOR": SHARE,
    "SOLVER.WARMUP_METHOD": Rule(choices=("linear", "constant", "exp")),
    "SOLVER.FREEZE_ITERS": NONE_OR_MORE,
    "SOLVER.CHECKPOINT_PERIOD": COUNT,
    "SOLVER.LOG_PERIOD": COUNT,
    "SOLVER.DIAGNOSTICS_PERIOD": NONE_OR_MORE,
    "SOLVER.EARLY_STOP_PATIENCE": NONE_OR_MORE,
    "SOLVER.SAVE_TOP_K": NONE_OR_MORE,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": Rule(choices=("norm", "value")),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": POSITIVE,
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": POSITIVE,
    "TEST.EVAL_PERIOD": NONE_OR_MORE,
    "TEST.IMS_PER_BATCH": COUNT,
    "TEST.TOP_K": COUNT,
    "TEST.NUM_VISUALIZED_QUERIES": NONE_OR_MORE,
    "TEST.PROJECTOR": Rule(0, 10_000),
    "TEST.MEMORY_MB": COUNT,
    "TEST.NETWORK_PRECISION": Rule(choices=("float32", "bfloat16", "float16")),
    "TEST.PRECISION": Rule(choices=("auto", "float32", "bfloat16")),
    "TEST.WHITEN.DIM": NONE_OR_MORE,
    "TEST.WHITEN.POWER": Rule(0, 0.5),
    "TEST.FUSE.OBJECT": Rule(choices=("patent", "folder")),
    "TEST.AQE.ALPHA": NONE_OR_MORE,
    "TEST.AQE.QE_TIME": COUNT,
    "TEST.AQE.QE_K": COUNT,
    "TEST.RERANK.K1": COUNT,
    "TEST.RERANK.K2": COUNT,
    "TEST.RERANK.FORM": Rule(choices=("fast-reid", "paper")),
    "TEST.RERANK.LAMBDA": SHARE,
    "TEST.RERANK.TOP_N": NONE_OR_MORE,
    "TEST.SCORE.NORMALIZER": Rule(choices=("min", "relevant", "found")),
    "TEST.SCORE.PATENT_DISTANCE": Rule(choices=("best", "mean")),
    "TEST.SCORE.BOOTSTRAP": NONE_OR_MORE,
    "TEST.SCORE.PER_QUERY_FILE": Rule(
        form=(r"([^/\\]+\.(csv|parquet))?", "empty, or a file name that ends in .csv or .parquet")
    ),
    "TEST.PRECISE_BN.NUM_ITER": COUNT,
}

# Key of a part of fast-reid that is left out -> the part's name; only the default is taken.
NOT_HERE: dict[str, str] = {
    "MODEL.QUEUE_SIZE": "MoCo",
    "MODEL.BACKBONE.SIE_COE": "the vision transformer",
    "MODEL.BACKBONE.STRIDE_SIZE": "the vision transformer",
    "MODEL.BACKBONE.DROP_PATH_RATIO": "the vision transformer",
    "MODEL.BACKBONE.DROP_RATIO": "the vision transformer",
    "MODEL.BACKBONE.ATT_DROP_RATE": "the vision transformer",
    "KD.MODEL_CONFIG": "distillation",
    "KD.MODEL_WEIGHTS": "distillation",
    "KD.EMA.ENABLED": "distillation",
    "KD.EMA.MOMENTUM": "distillation",
    "DATALOADER.SET_WEIGHT": "SetReWeightSampler",
    "TEST.PRECISE_BN.DATASET": "another data set for PreciseBN",
}
