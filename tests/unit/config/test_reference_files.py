"""Configs of fast-reid and of the challenge load unchanged. The texts repeat their known values in their style."""

from pathlib import Path

import pytest

from fastreid.config import get_cfg
from fastreid.config.legacy import LEGACY_KEYS
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

PATENT_FILES = Path(__file__).parents[3] / "configs/patent"
BAGTRICKS = """
MODEL:
  META_ARCHITECTURE: Baseline
  BACKBONE:
    {NAME: build_resnet_backbone, NORM: BN, DEPTH: 50x, LAST_STRIDE: 1, FEAT_DIM: 2048, WITH_IBN: False, PRETRAIN: True}
  HEADS:
    {NAME: EmbeddingHead, NORM: BN, WITH_BNNECK: True, POOL_LAYER: GlobalAvgPool, NECK_FEAT: before, CLS_LAYER: Linear}
  LOSSES:
    NAME: ("CrossEntropyLoss", "TripletLoss",)
    CE: {EPSILON: 0.1, SCALE: 1.}
    TRI: {MARGIN: 0.3, HARD_MINING: True, NORM_FEAT: False, SCALE: 1.}
INPUT:
  SIZE_TRAIN: [ 256, 128 ]
  SIZE_TEST: [ 256, 128 ]
  REA: {ENABLED: True, PROB: 0.5}
  FLIP: {ENABLED: True}
  PADDING: {ENABLED: True}
DATALOADER: {SAMPLER_TRAIN: NaiveIdentitySampler, NUM_INSTANCE: 4, NUM_WORKERS: 8}
SOLVER:
  AMP: {ENABLED: True}
  OPT: Adam
  MAX_EPOCH: 120
  BASE_LR: 0.00035
  WEIGHT_DECAY: 0.0005
  WEIGHT_DECAY_NORM: 0.0005
  IMS_PER_BATCH: 64
  SCHED: MultiStepLR
  STEPS: [ 40, 90 ]
  GAMMA: 0.1
  WARMUP_FACTOR: 0.1
  WARMUP_ITERS: 2000
  CHECKPOINT_PERIOD: 30
TEST: {EVAL_PERIOD: 30, IMS_PER_BATCH: 128}
CUDNN_BENCHMARK: True
"""

SBS = """
_BASE_: Base-bagtricks.yml
MODEL:
  FREEZE_LAYERS: [ backbone ]
  BACKBONE: {WITH_NL: True}
  HEADS: {NECK_FEAT: after, POOL_LAYER: GeneralizedMeanPoolingP, CLS_LAYER: CircleSoftmax, SCALE: 64, MARGIN: 0.35}
  LOSSES:
    NAME: ("CrossEntropyLoss", "TripletLoss",)
    TRI: {MARGIN: 0.0, HARD_MINING: True, NORM_FEAT: False, SCALE: 1.0}
INPUT:
  SIZE_TRAIN: [ 384, 128 ]
  SIZE_TEST: [ 384, 128 ]
  AUTOAUG: {ENABLED: True, PROB: 0.1}
DATALOADER: {NUM_INSTANCE: 16}
SOLVER:
  AMP: {ENABLED: True}
  OPT: Adam
  MAX_EPOCH: 60
  SCHED: CosineAnnealingLR
  DELAY_EPOCHS: 30
  ETA_MIN_LR: 0.0000007
  WARMUP_FACTOR: 0.1
  WARMUP_ITERS: 2000
  FREEZE_ITERS: 1000
  CHECKPOINT_PERIOD: 20
TEST: {EVAL_PERIOD: 5, IMS_PER_BATCH: 128}
"""

PATENT = """
_BASE_: ../Base-SBS.yml
INPUT:
  SIZE_TRAIN: [384, 384]
  SIZE_TEST: [384, 384]
  PADDING: {ENABLED: True, SIZE: 10}
MODEL:
  WEIGHTS: logs/Patent/R101_256/model_best.pth
  BACKBONE: {DEPTH: 101x, WITH_IBN: True}
SOLVER:
  OPT: Adam
  BASE_LR: 3.5e-5
  BIAS_LR_FACTOR: 1.
  IMS_PER_BATCH: 64
  MAX_EPOCH: 90
  STEPS: [30, 50]
  WARMUP_ITERS: 3000
  FREEZE_ITERS: 1000
  CHECKPOINT_PERIOD: 5
DATALOADER: {SAMPLER_TRAIN: BalancedIdentitySampler}
DATASETS:
  NAMES: %s
  TESTS: %s
TEST:
  EVAL_PERIOD: 5
  AQE: {ENABLED: False, ALPHA: 2, QE_TIME: 1, QE_K: 5}
OUTPUT_DIR: logs/Patent/R101_384
"""


@pytest.mark.parametrize("names", ['("Patent",)', "\"('Patent',)\"", "('Patent',)", "[Patent]", "Patent"])
def test_384_config_of_the_challenge_equals_ours(tmp_path, names):
    (tmp_path / "configs/patent").mkdir(parents=True)
    (tmp_path / "configs/Base-bagtricks.yml").write_text(BAGTRICKS)
    (tmp_path / "configs/Base-SBS.yml").write_text(SBS)
    path = tmp_path / "configs/patent/sbs_384.yml"
    path.write_text(PATENT % (names, names))
    original, ours = get_cfg(), get_cfg()
    original.merge_from_file(path)
    ours.merge_from_file(PATENT_FILES / "sbs_R101-ibn_patent_384.yml")
    original.MODEL.DEVICE = "cuda"  # default of fast-reid
    original.SOLVER.STEPS = ours.SOLVER.STEPS  # set there, but its cosine schedule does not use them
    assert original == ours


def test_patent_configs_have_the_settings_of_the_challenge():
    facts = {}
    for name in ("256", "384", "test"):
        cfg = get_cfg()
        cfg.merge_from_file(PATENT_FILES / f"sbs_R101-ibn_patent_{name}.yml")
        facts[name] = (
            cfg.INPUT.SIZE_TRAIN,
            cfg.SOLVER.IMS_PER_BATCH,
            cfg.DATALOADER.NUM_INSTANCE,
            cfg.SOLVER.BASE_LR,
            cfg.SOLVER.MAX_EPOCH,
            cfg.TEST.AQE.ENABLED,
            cfg.DATASETS.TESTS,
            cfg.OUTPUT_DIR,
        )
        assert (cfg.SOLVER.DELAY_EPOCHS, cfg.SOLVER.ETA_MIN_LR, cfg.TEST.METRIC) == (30, 7e-7, "cosine")
        assert cfg.MODEL.BACKBONE.WITH_NL
    assert facts["256"] == ([256, 256], 128, 16, 3.5e-4, 70, False, ("Patent",), "logs/Patent/R101_256")
    assert facts["384"] == ([384, 384], 64, 16, 3.5e-5, 90, False, ("Patent",), "logs/Patent/R101_384")
    assert facts["test"] == ([384, 384], 64, 16, 3.5e-5, 60, True, ("PatentTest",), "submit_log")


# The config.yaml that fast-reid 1.3 writes for a run with all its defaults.
FAST_REID_DEFAULTS = """
CUDNN_BENCHMARK: false
DATALOADER: {NUM_INSTANCE: 4, NUM_WORKERS: 8, SAMPLER_TRAIN: TrainingSampler, SET_WEIGHT: []}
DATASETS:
  COMBINEALL: false
  NAMES: [Market1501]
  TESTS: [Market1501]
INPUT:
  AFFINE: {ENABLED: false}
  AUGMIX: {ENABLED: false, PROB: 0.0}
  AUTOAUG: {ENABLED: false, PROB: 0.0}
  CJ: {BRIGHTNESS: 0.15, CONTRAST: 0.15, ENABLED: false, HUE: 0.1, PROB: 0.5, SATURATION: 0.1}
  CROP: {ENABLED: false, RATIO: [0.75, 1.3333333333333333], SCALE: [0.16, 1], SIZE: [224, 224]}
  FLIP: {ENABLED: false, PROB: 0.5}
  PADDING: {ENABLED: false, MODE: constant, SIZE: 10}
  REA: {ENABLED: false, PROB: 0.5, VALUE: [123.675, 116.28, 103.53]}
  RPT: {ENABLED: false, PROB: 0.5}
  SIZE_TEST: [256, 128]
  SIZE_TRAIN: [256, 128]
KD:
  EMA: {ENABLED: false, MOMENTUM: 0.999}
  MODEL_CONFIG: []
  MODEL_WEIGHTS: []
MODEL:
  BACKBONE:
    ATT_DROP_RATE: 0.0
    DEPTH: 50x
    DROP_PATH_RATIO: 0.1
    DROP_RATIO: 0.0
    FEAT_DIM: 2048
    LAST_STRIDE: 1
    NAME: build_resnet_backbone
    NORM: BN
    PRETRAIN: false
    PRETRAIN_PATH: ''
    SIE_COE: 3.0
    STRIDE_SIZE: [16, 16]
    WITH_IBN: false
    WITH_NL: false
    WITH_SE: false
  DEVICE: cuda
  FREEZE_LAYERS: []
  HEADS:
    CLS_LAYER: Linear
    EMBEDDING_DIM: 0
    MARGIN: 0.0
    NAME: EmbeddingHead
    NECK_FEAT: before
    NORM: BN
    NUM_CLASSES: 0
    POOL_LAYER: GlobalAvgPool
    SCALE: 1
    WITH_BNNECK: false
  LOSSES:
    CE: {ALPHA: 0.2, EPSILON: 0.0, SCALE: 1.0}
    CIRCLE: {GAMMA: 128, MARGIN: 0.25, SCALE: 1.0}
    COSFACE: {GAMMA: 128, MARGIN: 0.25, SCALE: 1.0}
    FL: {ALPHA: 0.25, GAMMA: 2, SCALE: 1.0}
    NAME: [CrossEntropyLoss]
    TRI: {HARD_MINING: false, MARGIN: 0.3, NORM_FEAT: false, SCALE: 1.0}
  META_ARCHITECTURE: Baseline
  PIXEL_MEAN: [123.675, 116.28, 103.53]
  PIXEL_STD: [58.395, 57.12, 57.375]
  QUEUE_SIZE: 8192
  WEIGHTS: ''
OUTPUT_DIR: logs/
SOLVER:
  AMP: {ENABLED: false}
  BASE_LR: 0.0003
  BIAS_LR_FACTOR: 1.0
  CHECKPOINT_PERIOD: 20
  CLIP_GRADIENTS: {CLIP_TYPE: norm, CLIP_VALUE: 5.0, ENABLED: false, NORM_TYPE: 2.0}
  DELAY_EPOCHS: 0
  ETA_MIN_LR: 1.0e-07
  FREEZE_ITERS: 0
  GAMMA: 0.1
  HEADS_LR_FACTOR: 1.0
  IMS_PER_BATCH: 64
  MAX_EPOCH: 120
  MOMENTUM: 0.9
  NESTEROV: false
  OPT: Adam
  SCHED: MultiStepLR
  STEPS: [30, 55]
  WARMUP_FACTOR: 0.1
  WARMUP_ITERS: 1000
  WARMUP_METHOD: linear
  WEIGHT_DECAY: 0.0005
  WEIGHT_DECAY_BIAS: 0.0005
  WEIGHT_DECAY_NORM: 0.0005
TEST:
  AQE: {ALPHA: 3.0, ENABLED: false, QE_K: 5, QE_TIME: 1}
  EVAL_PERIOD: 20
  FLIP: {ENABLED: false}
  IMS_PER_BATCH: 64
  METRIC: cosine
  PRECISE_BN: {DATASET: Market1501, ENABLED: false, NUM_ITER: 300}
  RERANK: {ENABLED: false, K1: 20, K2: 6, LAMBDA: 0.3}
  ROC: {ENABLED: false}
"""
CHANGED_DEFAULTS = {
    "MODEL.DEVICE": "cuda",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
    "MODEL.BACKBONE.FEAT_DIM": 2048,
    "INPUT.SIZE_TRAIN": [256, 128],
    "INPUT.SIZE_TEST": [256, 128],
    "DATASETS.NAMES": ("Market1501",),
    "DATASETS.TESTS": ("Market1501",),
    "DATALOADER.NUM_WORKERS": 8,
}


def test_config_dumped_by_fast_reid_loads(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text(FAST_REID_DEFAULTS)
    lines = []
    monkeypatch.setattr(get_logger(), "debug", lambda message, *values: lines.append(message % values))
    cfg, expected = get_cfg(), get_cfg()
    cfg.merge_from_file(tmp_path / "config.yaml")
    expected.merge_from_list([item for pair in CHANGED_DEFAULTS.items() for item in pair])
    expected.INPUT.CROP.RATIO = [0.75, 4 / 3]
    assert cfg == expected
    assert {line.split()[1] for line in lines} == set(LEGACY_KEYS)
    assert all(line.startswith(f"{tmp_path}/config.yaml:") for line in lines)


@pytest.mark.parametrize("key", LEGACY_KEYS)
def test_legacy_key_is_ignored_at_its_default_only(key):
    cfg = get_cfg()
    cfg.merge_from_list([key, str(LEGACY_KEYS[key].default)])
    assert cfg == get_cfg()
    with pytest.raises(InputError, match=rf"command line: {key} is 77, which has no effect: .+; remove the setting"):
        cfg.merge_from_list([key, 77])


def test_legacy_key_set_in_python_is_explained():
    with pytest.raises(InputError, match=r"Python: MODEL\.QUEUE_SIZE has no effect: MoCo does not exist here"):
        get_cfg().MODEL.QUEUE_SIZE = 8192
