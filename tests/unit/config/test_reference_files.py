"""Configs of fast-reid and of the challenge load unchanged. The texts repeat their known values in their style."""

from pathlib import Path

import pytest

from fastreid.config import get_cfg

PATENT_FILES = Path(__file__).parents[3] / "configs/patent"
BAGTRICKS = """
MODEL:
  META_ARCHITECTURE: Baseline
  BACKBONE: {NAME: build_resnet_backbone, NORM: BN, DEPTH: 50x, LAST_STRIDE: 1, FEAT_DIM: 2048, WITH_IBN: False, PRETRAIN: True}
  HEADS: {NAME: EmbeddingHead, NORM: BN, WITH_BNNECK: True, POOL_LAYER: GlobalAvgPool, NECK_FEAT: before, CLS_LAYER: Linear}
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
