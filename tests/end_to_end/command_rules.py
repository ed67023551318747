"""How each documented command is executed by a test, and why some are not."""

import dataclasses
import re

from command_exceptions import NOT_EXECUTED, NOT_EXECUTED_PAGES
from command_settings import (
    COLLECTION,
    CONFIG,
    DEFAULT_BACKBONE,
    DEMO,
    EXPORT,
    EXPORT_LINES,
    EXTRACT_DEMO,
    EXTRACT_OWN,
    EXTRACT_TINY,
    FEW_GENERATED,
    NUM_GENERATED,
    PRETRAINED,
    PROJECTED_TEST,
    PROJECTION,
    RESNET,
    SAVE_OWN,
    SEARCH,
    SERVE,
    TEST,
    TINY_NETWORK,
    TRAIN,
    both_sizes,
    use_network,
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """How the commands that fully match a pattern are executed.

    Args:
        pattern: regular expression for the whole command.
        files: names of `command_files.FILES` that are written first.
        before: commands that are executed first.
        settings: KEY VALUE pairs that are appended, to make the work small.
        replace: words of the command, and what replaces them.
        packages: Python packages without which the test is skipped.
        is_slow: whether the test is marked `slow`.
        how: "run", or another function of the test module.
    """

    pattern: str
    files: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    settings: tuple[object, ...] = ()
    replace: dict[str, str] = dataclasses.field(default_factory=dict)
    packages: tuple[str, ...] = ()
    is_slow: bool = False
    how: str = "run"


RULES = (
    # Networks of ResNet are replaced by a tiny one, except for one command; those of timm by a small one.
    Rule(
        rf"fastreid train {CONFIG}demo/stage1.yml SOLVER.MAX_EPOCH 3", ("datasets",), settings=(*TRAIN, *TINY_NETWORK)
    ),
    Rule(
        r"fastreid train .*sbs_R101-ibn_patent_256.yml MODEL.BACKBONE.PRETRAIN_PATH .*",
        ("datasets", "backbone"),
        settings=(*TRAIN, *RESNET, "MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.WITH_NL", False),
        replace={"FILE": "backbone.pth", "resnet101_ibn_a-59ea0ac6.pth": "backbone.pth"},  # a name has a digest
        is_slow=True,
    ),
    Rule(rf"fastreid train {CONFIG}Base-AGW.yml .*", ("datasets",), settings=(*TRAIN, *RESNET), is_slow=True),
    Rule(
        rf"fastreid train {CONFIG}generated/generated.*",
        ("datasets",),
        settings=(*TRAIN, *TINY_NETWORK, *FEW_GENERATED),
        is_slow=True,
    ),
    Rule(
        rf"fastreid train {CONFIG}((Base|demo|generated|patent|recipes/seed).*|own/.* DATASETS.NAMES Patent .*)",
        ("datasets",),
        settings=(*TRAIN, *TINY_NETWORK),
        is_slow=True,
    ),
    Rule(rf"fastreid train {CONFIG}own/.*", ("patents",), settings=(*TRAIN, *TINY_NETWORK), is_slow=True),
    Rule(
        rf"fastreid train {CONFIG}benchmarks/.*",
        ("public datasets",),
        settings=(*TRAIN, *TINY_NETWORK, "INPUT.CROP.SIZE", "[28,28]"),
        replace={"/data": "data"},
        is_slow=True,
    ),
    Rule(
        rf"fastreid train {CONFIG}recipes/efficientnet.*",
        ("datasets",),
        settings=use_network("test_efficientnet", 32),
        packages=("timm",),
        is_slow=True,
    ),
    Rule(
        rf"fastreid train {CONFIG}recipes/swinv2.*",
        ("datasets",),
        settings=use_network("swinv2_tiny_window8_256", 64),
        packages=("timm",),
        is_slow=True,
    ),
    Rule(
        rf"fastreid train {CONFIG}recipes/clip.*",
        ("datasets",),
        settings=use_network("test_vit", 32),
        packages=("timm",),
        is_slow=True,
    ),
    Rule(
        rf"fastreid train {CONFIG}recipes/head_only.yml .*",
        ("patents",),
        settings=PROJECTION,
        packages=PRETRAINED,
        is_slow=True,
    ),
    Rule(
        rf"fastreid train {CONFIG}recipes/.*",
        ("datasets",),
        settings=PROJECTION,
        replace={"/data/my-patents": "datasets"},
        packages=PRETRAINED,
        is_slow=True,
    ),
    Rule(
        r"fastreid train --config-file FILE --resume --num-gpus N KEY VALUE \.\.\.",
        ("datasets",),
        settings=("SOLVER.MAX_EPOCH", 1),
        replace={"...": ""},
        is_slow=True,
    ),
    Rule(
        rf"fastreid test {CONFIG}recipes/(small_cpu|generated_and_real).yml .*",
        ("datasets",),
        settings=PROJECTED_TEST,
        packages=PRETRAINED,
        is_slow=True,
    ),
    Rule(
        r"fastreid test .*--features logs/demo/test/features.*",
        ("datasets",),
        (EXTRACT_DEMO,),
        (*TEST, *TINY_NETWORK),
        is_slow=True,
    ),
    Rule(rf"fastreid test {CONFIG}demo/test.yml MODEL.WEIGHTS .*", ("datasets",), settings=(*TEST, *TINY_NETWORK)),
    Rule(r"fastreid test --features DIR", ("datasets", "model"), (EXTRACT_TINY,), replace={"DIR": "features"}),
    Rule(
        rf"fastreid test {CONFIG}(demo|patent)/.*",
        ("datasets",),
        settings=(*TEST, *TINY_NETWORK),
        replace={"FILE": "weights.pth"},
        is_slow=True,
    ),
    Rule(
        r"python tools/train_net.py --config-file FILE",
        ("datasets",),
        settings=("SOLVER.MAX_EPOCH", 1),
        how="run_tool",
        is_slow=True,
    ),
    Rule(
        r"python tools/test.py --config-file FILE --eval-only",
        ("datasets",),
        settings=("MODEL.WEIGHTS", "weights.pth"),
        how="run_tool",
    ),
    Rule(
        r"python tools/test.py .*",
        ("datasets",),
        settings=(*TEST, *TINY_NETWORK),
        replace={"FILE": "weights.pth"},
        how="run_tool",
        is_slow=True,
    ),
    Rule(
        r"fastreid ablate .*generator.yml .*",
        ("datasets",),
        settings=(*TRAIN, *TINY_NETWORK, *FEW_GENERATED),
        is_slow=True,
    ),
    Rule(
        r"fastreid ablate .*",
        ("datasets",),
        settings=(*TRAIN, *TINY_NETWORK, *both_sizes("[72,72]")),
        replace={"0,1,2": "0"},
        is_slow=True,
    ),
    Rule(r"fastreid average .*|fastreid compare .*", ("runs",)),
    Rule(
        r"fastreid batch-size .*", ("datasets",), settings=(*TRAIN, *TINY_NETWORK), replace={"512": "16"}, is_slow=True
    ),
    Rule(r"fastreid (completion|configs|models list|models show lines).*|fastreid --help", ("home",)),
    Rule(r"fastreid doctor .*", ("datasets",), replace={"/data": "datasets"}),
    Rule(r"fastreid data (cache|check) --config-file FILE .*", ("datasets",), settings=()),
    Rule(r"fastreid data (cache|check) .*", ("patents",), settings=TRAIN),
    Rule(r"fastreid data measure .*", ("datasets",), is_slow=True),
    Rule(r"fastreid data show .*", is_slow=True),
    Rule(
        r"fastreid data synth .*",
        replace={
            "200": "3",
            "1200": "3",
            "100": "2",
            "50": "2",
            "448": "64",
            "128": "64",
            "datasets/synthetic": "datasets/synthetic",  # written, not read
        },
        is_slow=True,
    ),
    Rule(r"fastreid extract .*demo/test.yml.*", ("datasets",), settings=(*TEST, *TINY_NETWORK)),
    Rule(r"fastreid extract --split all", ("datasets",), settings=("MODEL.WEIGHTS", "weights.pth"), is_slow=True),
    Rule(
        r"fastreid extract \.\.\. TEST.LOCAL.ENABLED True",
        ("datasets",),
        settings=("MODEL.WEIGHTS", "weights.pth"),
        replace={"...": ""},
        is_slow=True,
    ),
    Rule(
        r"fastreid extract .*head_only.yml .*",
        ("patents", "card"),
        SAVE_OWN,
        PROJECTION,
        packages=PRETRAINED,
        is_slow=True,
    ),
    Rule(r"fastreid tune .*demo.*", ("datasets",), (EXTRACT_DEMO,), (*TEST, *TINY_NETWORK), is_slow=True),
    Rule(
        r"fastreid tune .*",
        ("datasets",),
        (EXTRACT_DEMO,),
        (*TEST, *TINY_NETWORK),
        {**DEMO, "DIR": "logs/demo/test/features/Generated"},
        is_slow=True,
    ),
    Rule(
        r"fastreid models calibrate .*--evaluate",
        ("patents", "card"),
        (*EXTRACT_OWN, "fastreid models calibrate models/mine --features features/Folder"),
        replace={"DIR": "models/mine", "FEATURES": "features/Folder"},
        packages=PRETRAINED,
        is_slow=True,
    ),
    Rule(
        r"fastreid models calibrate .*",
        ("patents", "card"),
        EXTRACT_OWN,
        replace={"logs/test/features/Patent": "features/Folder"},
        packages=PRETRAINED,
        is_slow=True,
    ),
    Rule(
        r"fastreid models download (NAME|lines-mobilenetv2)",
        replace={"NAME": "lines-mobilenetv2"},
        packages=PRETRAINED,
        is_slow=True,
    ),
    Rule(r"fastreid models save .*", ("card",), settings=("MODEL.DEVICE", "cpu"), packages=PRETRAINED, is_slow=True),
    Rule(r"fastreid models show models/mine|fastreid predict --weights models/mine .*", ("model", "pages")),
    Rule(
        r"fastreid export .*own/small.yml .*",
        ("datasets",),
        settings=(*TEST, *TINY_NETWORK),
        packages=EXPORT,
        is_slow=True,
    ),
    Rule(
        r"fastreid export .*efficientnet_lite0.*",
        ("datasets",),
        settings=("MODEL.BACKBONE.TIMM_NAME", "mobilenetv2_100", *DEFAULT_BACKBONE, *TEST),
        packages=(*EXPORT, *PRETRAINED),
        is_slow=True,
    ),
    Rule(
        r"fastreid export .*",
        ("datasets",),
        settings=("INPUT.SIZE_TEST", "[64,64]", *NUM_GENERATED),
        packages=(*EXPORT, *PRETRAINED),
        is_slow=True,
    ),
    Rule(
        r"fastreid (predict|index add) .*exported/lines.*",
        ("pages", "datasets"),
        (EXPORT_LINES,),
        packages=(*EXPORT, *PRETRAINED, *SEARCH),
        is_slow=True,
    ),
    Rule(r"fastreid predict .*", ("pages",), packages=PRETRAINED, is_slow=True),
    Rule(r"fastreid index create .*", packages=(*SEARCH, *PRETRAINED), is_slow=True),
    Rule(
        r"fastreid (index add|search) https://.*", ("pages",), how="run_with_milvus", packages=PRETRAINED, is_slow=True
    ),
    Rule(r"fastreid index add patents.index drawings", ("pages",), packages=(*SEARCH, *PRETRAINED), is_slow=True),
    Rule(r"fastreid index .* --watch 60", **COLLECTION, how="follow", is_slow=True),
    Rule(r"fastreid (index|search) .*", **COLLECTION),
    Rule(r"fastreid serve .*", ("pages", "collection"), packages=SERVE, how="serve", is_slow=True),
    Rule(r"curl .*", ("pages", "collection"), packages=SERVE, how="request", is_slow=True),
    Rule(r"openssl .*|sha256sum .*", ("home",), how="run_in_shell"),
    Rule(r"(BENCH_SHARE=1 )?make .*", how="make"),
    Rule(r"([A-Z_]+=\d )?(.venv/bin/python -m )?pytest .*", how="find_tests"),
    Rule(r"pip install .*", how="find_extras"),
)


def find_rule(command):
    """Return the first rule of a command, or None."""
    return next((rule for rule in RULES if re.fullmatch(rule.pattern, command)), None)


def find_reason(command, source):
    """Return why a command is not executed, or None."""
    if source in NOT_EXECUTED_PAGES:
        return NOT_EXECUTED_PAGES[source]
    return next((reason for pattern, reason in NOT_EXECUTED.items() if re.fullmatch(pattern, command)), None)
