import pytest

from fastreid.config import get_cfg
from fastreid.experiments.variants import Variant, read_variants, select_variants
from fastreid.utils.errors import InputError

TEXT = "turns:\n  INPUT:\n    LINE_AUG: {OPS: [rot90], PROB: 0.2}\nlarge-lr:\n  SOLVER: {BASE_LR: 0.1}\n"


def read(tmp_path, text):
    path = tmp_path / "variants.yml"
    path.write_text(text)
    return read_variants(path)


def test_baseline_comes_first_then_file_order(tmp_path):
    turns = Variant("turns", ("INPUT.LINE_AUG.OPS", ["rot90"], "INPUT.LINE_AUG.PROB", 0.2))
    assert read(tmp_path, TEXT) == [Variant("baseline"), turns, Variant("large-lr", ("SOLVER.BASE_LR", 0.1))]
    cfg = get_cfg()
    cfg.merge_from_list(list(turns.opts))
    assert cfg.INPUT.LINE_AUG.PROB == 0.2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SEED: 3\n", "variants.yml:1: SEED is not a variant; write a name with settings below it"),
        ("baseline: {SOLVER: {BASE_LR: 1.0}}\n", "variants.yml:1: 'baseline' is not a valid name for a variant"),
        (
            "v1.0: {SOLVER: {BASE_LR: 1.0}}\n",
            "variants.yml:1: 'v1.0' contains a dot; if it is the name of a variant, use at most",
        ),
        ("lr:\n  SOLVER.BASE_LR: 1.0\n", "variants.yml:2: 'SOLVER.BASE_LR' contains a dot; write the section"),
        ("a/b: {INPUT: {FILL: 1}}\n", "'a/b' is not a valid name for a variant"),
        ("_BASE_: other.yml\n", "_BASE_ is not a variant"),
        ("turns:\n", "variants.yml:1: turns is not a variant"),
        ("", "contains no settings"),
        (
            "lr:\n  SEED: 3\n",
            "variants.yml:2: variant 'lr' cannot set SEED, since each variant is trained with every seed of --seeds",
        ),
        ("lr: {OUTPUT_DIR: a}\n", "variant 'lr' cannot set OUTPUT_DIR, since each run has its own folder"),
        (
            "lr: {TEST: {SCORE: {PER_QUERY_FILE: a.csv}}}\n",
            r"variant 'lr' cannot set TEST\.SCORE\.PER_QUERY_FILE, since each run writes",
        ),
    ],
)
def test_invalid_variant_file_is_rejected(text, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_select_variants_by_name(tmp_path):
    variants = read(tmp_path, TEXT)
    assert [variant.name for variant in select_variants(variants, ["large-lr"])] == ["baseline", "large-lr"]
    assert select_variants(variants, []) == variants
    with pytest.raises(InputError, match=r"--only: no variant is named 'turn'\. Did you mean 'turns'"):
        select_variants(variants, ["turn"])
