"""Names of fast-reid and its projects that do not exist here, each with what to use instead.

These texts end a message such as "MODEL.BACKBONE.NAME 'build_osnet_backbone' does not exist here; use ...".
"""


def _timm(name: str, *, feat_dim: int) -> str:
    return f"use MODEL.BACKBONE.NAME build_timm_backbone, TIMM_NAME {name} and FEAT_DIM {feat_dim}"


_LIST = "write its lists and use the dataset List (DATASETS.LIST), or Folder with one sub-folder per identity"
_PERSONS = (
    *("AirportALERT", "CAVIARa", "CUHK03", "CUHK_SYSU", "DukeMTMC", "GRID", "iLIDS", "LPW", "MSMT17"),
    *("PeS3D", "PKU", "PRAI", "PRID", "SAIVT", "SenseReID", "Shinpuhkan", "SYSU_mm", "thermalworld", "VIPeR"),
    *("WildTrackCrop", "PartialREID", "PartialiLIDS", "OccludedREID", "NAIC20_R2", "NAIC20_R2CNV", "NAIC20_R2A"),
)
_VEHICLES = (
    *("VehicleID", "SmallVehicleID", "MediumVehicleID", "LargeVehicleID"),
    *("VeRiWild", "SmallVeRiWild", "MediumVeRiWild", "LargeVeRiWild"),
)
_OTHER_NAMES = {
    "CUB200": "use CUB",
    "Cars": "use Cars196",
    "StanfordOnlineProducts": "use SOP",
    "VeRi776": "use VeRi",
}
_CLASSIFICATION = ("Hymenoptera", "CIFAR10", "CIFAR100", "ImageNet")
_ATTRIBUTES = ("PA100K", "Market1501Attr", "DukeMTMCAttr")
_FACES = ("MS1MV2", "CPLFW", "VGG2_FP", "AgeDB_30", "CALFW", "CFP_FF", "CFP_FP", "LFW")

DATASETS = {
    **_OTHER_NAMES,
    **dict.fromkeys((*_PERSONS, *_VEHICLES), _LIST),
    **dict.fromkeys(_CLASSIFICATION, "classes are not predicted; use Folder for retrieval among the classes"),
    **dict.fromkeys(_ATTRIBUTES, "attributes are not learned; use List with the ids of the identities"),
    **dict.fromkeys(_FACES, f"pairs of faces are not verified; {_LIST}"),
}

BACKBONES = {
    "build_resnext_backbone": _timm("resnext50_32x4d", feat_dim=2048),
    "build_resnest_backbone": _timm("resnest50d", feat_dim=2048),
    "build_regnet_backbone": _timm("regnety_032", feat_dim=1512),
    "build_effnet_backbone": _timm("efficientnet_b0", feat_dim=1280),
    "build_efficientnet_backbone": _timm("efficientnet_b0", feat_dim=1280),
    "build_mobilenetv2_backbone": _timm("mobilenetv2_100", feat_dim=1280),
    "build_mobilenetv3_backbone": _timm("mobilenetv3_large_100", feat_dim=960),
    "build_shufflenetv2_backbone": _timm("mobilenetv2_100", feat_dim=1280) + " (timm has no ShuffleNet)",
    "build_osnet_backbone": _timm("mobilenetv2_100", feat_dim=1280) + " (timm has no OSNet)",
    "build_repvgg_backbone": _timm("repvgg_b1", feat_dim=2048),
    "build_vit_backbone": _timm("vit_base_patch16_224", feat_dim=768) + ", and INPUT sizes of [224, 224]",
    "build_iresnet_backbone": "use build_resnet_backbone",
    "build_resnetIR_backbone": "use build_resnet_backbone",
    "build_resnet_backbone_distill": "use build_resnet_backbone; MODEL.DISTILL sets a teacher",
}

META_ARCHITECTURES = {
    "MGN": "use Baseline; parts of persons are not learned",
    "PCB": "use Baseline; parts of persons are not learned",
    "PartialBaseline": "use Baseline; parts of persons are not learned",
    "MoCo": "use Baseline with MODEL.LOSSES.NAME TripletLoss and MODEL.LOSSES.MEMORY.SIZE",
    "Distiller": "use Baseline; MODEL.DISTILL sets a teacher",
    "DistillerOverhaul": "use Baseline; MODEL.DISTILL sets a teacher",
    "AttrBaseline": "use Baseline; attributes are not learned",
    "FaceBaseline": "use Baseline; MODEL.HEADS.PARTIAL_FC_RATIO samples the classes",
    "MetaReidBaseline": "use Baseline",
}

HEADS = {
    "ClasHead": "use EmbeddingHead, which has the same classifier",
    "BaselineHead": "use EmbeddingHead",
    "LinearHead": "use EmbeddingHead with WITH_BNNECK False",
    "BNneckHead": "use EmbeddingHead with WITH_BNNECK True",
    "ReductionHead": "use EmbeddingHead with EMBEDDING_DIM",
    "DSRHead": "use EmbeddingHead; parts of persons are not learned",
    "AttrHead": "use EmbeddingHead; attributes are not learned",
    "FaceHead": "use EmbeddingHead",
}

POOLING = {
    "avgpool": "use GlobalAvgPool",
    "fastavgpool": "use FastGlobalAvgPool",
    "maxpool": "use GlobalMaxPool",
    "gempool": "use GeneralizedMeanPoolingP",
    "gem": "use GeneralizedMeanPooling",
    "avgmaxpool": "use AdaptiveAvgMaxPool",
    "clipavgpool": "use ClipGlobalAvgPool",
    "identity": "use Identity",
    "flatten": "use Flatten",
}

MARGINS = {
    "linear": "use Linear",
    "arcSoftmax": "use ArcSoftmax",
    "arcface": "use ArcSoftmax",
    "circleSoftmax": "use CircleSoftmax",
    "circle": "use CircleSoftmax",
    **dict.fromkeys(("amSoftmax", "AMSoftmax", "CosFace"), "use CosSoftmax"),
    "ArcFace": "use ArcSoftmax",
    "cosSoftmax": "use CosSoftmax",
}

LOSSES = {
    "BinaryCrossEntropyLoss": "attributes are not learned; use CrossEntropyLoss",
    "CosFace": "use Cosface",
    "CosfaceLoss": "use Cosface",
    "ContrastiveLoss": "use TripletLoss or CircleLoss",
    "CenterLoss": "use TripletLoss, or register a loss of your own",
}

SAMPLERS = {
    "SetReWeightSampler": "use BalancedIdentitySampler; sets have no weights",
    "RandomIdentitySampler": "use NaiveIdentitySampler or BalancedIdentitySampler",
    "InferenceSampler": "it is for tests only; use TrainingSampler",
}

OPTIMIZERS = {
    "Lamb": "use AdamW, or Adafactor for large batches",
    "SWA": "use SOLVER.AVERAGE.METHOD swa",
    "Ranger": "use RAdam or NAdam",
}

SCHEDULES = {
    "WarmupMultiStepLR": "use MultiStepLR; SOLVER.WARMUP_ITERS sets the warm-up",
    "WarmupCosineAnnealingLR": "use CosineAnnealingLR; SOLVER.WARMUP_ITERS sets the warm-up",
    "WarmupCosineLR": "use CosineAnnealingLR; SOLVER.WARMUP_ITERS sets the warm-up",
    "DelayedCosineAnnealingLR": "use CosineAnnealingLR with SOLVER.DELAY_EPOCHS",
    "ReduceLROnPlateau": "use CosineAnnealingLR; SOLVER.EARLY_STOP_PATIENCE stops a run without progress",
}

METRICS = {
    "jaccard": "use TEST.METRIC euclidean, TEST.RERANK.ENABLED True and TEST.RERANK.LAMBDA 0",
    "l2": "use euclidean",
}

# Settings, or sections with all their settings, of earlier versions of fast-reid and of its projects.
KEYS = {
    "DATALOADER.NAIVE_WAY": "use DATALOADER.SAMPLER_TRAIN NaiveIdentitySampler",
    "DATALOADER.PK_SAMPLER": "use DATALOADER.SAMPLER_TRAIN, such as NaiveIdentitySampler",
    "DATASETS.KWARGS": "datasets have their settings in sections of DATASETS",
    "DATASETS.REC_PATH": "record files are not read; unpack the images and use the dataset List",
    "INPUT.AUGMIX_PROB": "use INPUT.AUGMIX.ENABLED and PROB",
    "INPUT.AUTOAUG_PROB": "use INPUT.AUTOAUG.ENABLED and PROB",
    "INPUT.CROP_SIZE": "use INPUT.CROP.ENABLED and SIZE",
    "INPUT.CUTMIX": "two drawings are not mixed; use INPUT.REA",
    "INPUT.DO_AFFINE": "use INPUT.AFFINE.ENABLED",
    "INPUT.DO_AUGMIX": "use INPUT.AUGMIX.ENABLED",
    "INPUT.DO_AUTOAUG": "use INPUT.AUTOAUG.ENABLED",
    "INPUT.DO_FLIP": "use INPUT.FLIP.ENABLED",
    "INPUT.DO_PAD": "use INPUT.PADDING.ENABLED",
    "INPUT.FLIP_PROB": "use INPUT.FLIP.PROB",
    "INPUT.MIXUP": "two drawings are not mixed; use INPUT.REA",
    "INPUT.PADDING_MODE": "use INPUT.PADDING.MODE",
    "INPUT.PADDING_SIZE": "use INPUT.PADDING.SIZE",
    "INPUT.RATIO": "use INPUT.CROP.RATIO",
    "INPUT.REA.MEAN": "use INPUT.REA.VALUE",
    "INPUT.SCALE": "use INPUT.CROP.SCALE",
    "MODEL.BACKBONE.DROPOUT": "remove it; networks of timm have their own",
    "MODEL.BACKBONE.NORM_SPLIT": "use MODEL.BACKBONE.NORM GhostBN",
    "MODEL.HEADS.IN_FEAT": "use MODEL.BACKBONE.FEAT_DIM",
    "MODEL.HEADS.NORM_SPLIT": "use MODEL.HEADS.NORM GhostBN",
    "MODEL.HEADS.REDUCTION_DIM": "use MODEL.HEADS.EMBEDDING_DIM",
    "MODEL.OPEN_LAYERS": "use MODEL.FREEZE_LAYERS, which names the frozen layers",
    "MODEL.STUDENT_WEIGHTS": "use MODEL.WEIGHTS; MODEL.DISTILL sets a teacher",
    "MODEL.TEACHER_WEIGHTS": "use MODEL.DISTILL.CONFIG and MODEL.DISTILL.WEIGHTS",
    "SOLVER.DELAY_ITERS": "use SOLVER.DELAY_EPOCHS",
    "SOLVER.EVAL_PERIOD": "use TEST.EVAL_PERIOD",
    "SOLVER.FP16_ENABLED": "use SOLVER.AMP.ENABLED",
    "SOLVER.MAX_ITER": "use SOLVER.MAX_EPOCH; one epoch is (training drawings // IMS_PER_BATCH) iterations",
    "SOLVER.SWA": "use SOLVER.AVERAGE.METHOD swa and START_EPOCH",
    "SOLVER.WARMUP_EPOCHS": "use SOLVER.WARMUP_ITERS",
    "TEST.EVALUATOR": "remove it; the scores of retrieval are always computed",
    "TEST.SAVE_DISTMAT": "remove it; fastreid extract saves the features",
    "TEST.THRES": "attributes are not learned; remove it",
    "TEST.FLIP_ENABLED": "use TEST.FLIP.ENABLED",
}
