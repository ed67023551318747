from dataclasses import replace

import pytest
import torch
from random_embeddings import make_embeddings

from fastreid.config import get_cfg
from fastreid.evaluation import (
    Evaluator,
    ExpansionSettings,
    RerankSettings,
    ScoreSettings,
    Whitening,
    WhiteningSettings,
)
from fastreid.evaluation.build import STEPS, build_evaluator
from fastreid.evaluation.pipeline import Step, StepInputs
from fastreid.evaluation.search.nearest import METRICS
from fastreid.evaluation.steps import Expand, FuseFeatures, FuseRanks, Rerank, Whiten
from fastreid.utils.errors import InputError

EXPANSION = Expand(ExpansionSettings(k=4, alpha=2.0))
RERANKING = Rerank(RerankSettings(k1=8, k2=3, lambda_value=0.3))


def test_registered_step_runs_in_the_pipeline():
    class Flip(Step):
        name, works_on = "+ flipped", "features"

        def __call__(self, state):
            return state.with_features(state.space.queries.flip(1), state.space.gallery.flip(1))

    cfg = get_cfg()
    cfg.merge_from_list(["TEST.STEPS", ["AQE", "FLIP"]])
    STEPS.register("FLIP")(lambda test: Flip())
    try:
        result = build_evaluator(cfg)(*make_embeddings())
    finally:
        del STEPS._builders["FLIP"]
    assert [name for name, _ in result.steps] == ["search", "+ flipped"]
    assert result.steps[0][1] == pytest.approx(result.steps[1][1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["TEST.STEPS", ["AQEE"]], "TEST.STEPS 'AQEE' is unknown. Did you mean 'AQE'"),
        (["TEST.STEPS", ["AQE", "AQE"]], "contains a step twice"),
        (
            ["TEST.STEPS", ["WHITEN", "AQE"], "TEST.SUPERGLOBAL.ENABLED", True],
            r"SUPERGLOBAL.ENABLED is True, but TEST.STEPS \['WHITEN', 'AQE'\] does not contain SUPERGLOBAL; add it",
        ),
        (
            ["TEST.SUPERGLOBAL.ENABLED", True, "TEST.RERANK.ENABLED", True],
            "'\\+ SuperGlobal' works on distances and would discard the result of '\\+ re-ranking'",
        ),
        (
            ["TEST.SUPERGLOBAL.ENABLED", True, "TEST.SUPERGLOBAL.TOP_N", 5],
            r"TEST.SUPERGLOBAL.TOP_N\) must be at least top_k \(TEST.TOP_K\) 10, not 5",
        ),
        (["TEST.FUSE.ENABLED", True, "TEST.FUSE.BY", "rnk"], "TEST.FUSE.BY 'rnk' is unknown. Did you mean 'rank'"),
        (
            ["TEST.RERANK.ENABLED", True, "TEST.RERANK.TOP_N", 5],
            r"TOP_N\) must be at least top_k \(TEST.TOP_K\) 10, not 5",
        ),
        (
            ["TEST.RERANK.ENABLED", True, "TEST.WHITEN.ENABLED", True, "TEST.STEPS", ["RERANK", "WHITEN"]],
            "'\\+ whitening' works on features and would discard the result of '\\+ re-ranking'",
        ),
        (
            ["TEST.FUSE.ENABLED", True, "TEST.FUSE.BY", "rank", "TEST.AQE.ENABLED", True],
            "'\\+ AQE and DBA' works on features",
        ),
    ],
)
def test_build_evaluator_rejects_invalid_steps(settings, message):
    cfg = get_cfg()
    cfg.merge_from_list(settings)
    with pytest.raises(InputError, match=message):
        build_evaluator(cfg)


WHITENING_OF_ABC = Whitening(torch.zeros(32), torch.eye(32)[:, :8], model="abc")


@pytest.mark.parametrize(
    ("step", "model", "message"),
    [
        (
            Whiten(WhiteningSettings(), "f", WHITENING_OF_ABC),
            "xyz",
            r"weights \(sha256 abc\) than those of the features \(xyz\)",
        ),
        (
            Whiten(WhiteningSettings(), "f", replace(WHITENING_OF_ABC, mean=torch.zeros(9))),
            "",
            "from features of 9 floats, not 32",
        ),
        (
            Whiten(WhiteningSettings(dim=33)),
            "",
            "DIM\\) is 33, but 100 features of 32 floats have at most 32 components",
        ),
        (
            Whiten(WhiteningSettings(dim=100), "train"),
            "",
            "no features of training drawings; extract them with fastreid extract --split all",
        ),
    ],
)
def test_steps_reject_features_before_the_search(step, model, message, monkeypatch):
    monkeypatch.delattr("fastreid.evaluation.evaluator.FeatureDistances")  # the search
    with pytest.raises(InputError, match=message):
        Evaluator(steps=[FuseFeatures(), step])(*make_embeddings(), model=model)


class KeepHalf(Step):
    """Keeps half of each feature."""

    name, works_on = "+ half", "features"

    def __call__(self, state):
        return state.with_features(state.space.queries[:, :16], state.space.gallery[:, :16])


def test_whitening_is_checked_after_a_change_of_width():
    whiten = Whiten(WhiteningSettings(), "f", replace(WHITENING_OF_ABC, mean=torch.zeros(16), matrix=torch.eye(16)))
    result = Evaluator(steps=[KeepHalf(), whiten])(*make_embeddings())
    assert result.whitening is None  # nothing was learned
    with pytest.raises(InputError, match="from features of 16 floats, not 32"):
        Evaluator(steps=[whiten])(*make_embeddings())


def test_whiten_rejects_unknown_source():
    with pytest.raises(
        InputError, match="learn_from must be gallery or train, not 'trian', unless a whitening is given"
    ):
        Whiten(WhiteningSettings(), "trian")


def test_evaluator_rejects_two_rerankings():
    with pytest.raises(InputError, match="would discard the result of"):
        Evaluator(steps=[RERANKING, RERANKING])


def test_roc_rejects_reranking_of_top_n():
    steps = [Rerank(RerankSettings(k1=8, k2=3, lambda_value=0.3, top_n=25))]
    with pytest.raises(InputError, match=r"TEST\.ROC needs distances that are comparable"):
        Evaluator(steps=steps, scoring=ScoreSettings(roc=True))


def test_reranking_must_fill_the_ranking():
    steps = [Rerank(RerankSettings(k1=8, k2=3, lambda_value=0.3, top_n=25))]
    result = Evaluator(steps=steps, scoring=ScoreSettings(top_k=25))(*make_embeddings())
    assert result.ranking.indices.shape == (20, 25)
    with pytest.raises(InputError, match=r"must be at least top_k \(TEST\.TOP_K\) 26, not 25"):
        Evaluator(steps=steps, scoring=ScoreSettings(top_k=26))


def test_reranking_rejects_inner_products():
    with pytest.raises(InputError, match="re-ranking needs a distance"):
        Evaluator(metric="inner_product", steps=[RERANKING])


def test_roc_rejects_incomparable_distances_of_user_steps():
    class Shuffle(Step):
        name, works_on = "+ shuffled", "rankings"

        def __call__(self, state):
            return FuseRanks()(state)

    with pytest.raises(InputError, match=r"TEST\.ROC needs distances that are comparable"):
        Evaluator(steps=[Shuffle()], scoring=ScoreSettings(roc=True))(*make_embeddings())


class AtLeast(Step):
    """Accepts only features that are wide enough."""

    name, works_on = "+ nothing", "features"

    def __init__(self, min_width):
        self.min_width, self.inputs = min_width, []

    def check(self, inputs):
        self.inputs.append(inputs)
        if 0 < inputs.width < self.min_width:
            raise InputError(f"features of {inputs.width} floats are too narrow")

    def __call__(self, state):
        return state


def test_user_step_rejects_its_input_before_the_search(monkeypatch):
    evaluator = Evaluator(steps=[FuseFeatures(), AtLeast(33)])
    assert Evaluator(steps=[AtLeast(32)])(*make_embeddings()).steps[1][0] == "+ nothing"
    monkeypatch.delattr("fastreid.evaluation.evaluator.FeatureDistances")  # the search
    with pytest.raises(InputError, match="features of 32 floats are too narrow"):
        evaluator(*make_embeddings())


def test_user_step_rejects_settings_when_the_evaluator_is_built():
    class NeedsCosine(AtLeast):
        def check(self, inputs):
            if inputs.space is not METRICS.get("cosine"):
                raise InputError("this step needs the metric cosine")

    Evaluator(steps=[NeedsCosine(1)])
    with pytest.raises(InputError, match="this step needs the metric cosine"):
        Evaluator(metric="euclidean", steps=[NeedsCosine(1)])


def test_check_passes_all_known_properties_to_each_step():
    scoring, step = ScoreSettings(top_k=7), AtLeast(1)
    evaluator = Evaluator(
        metric="euclidean", scoring=scoring, steps=[FuseFeatures(), step, EXPANSION, KeepHalf(), step]
    )
    evaluator.check(width=32, num_gallery=100, num_training=5, model="abc")
    known = {"space": METRICS.get("euclidean"), "scoring": scoring}
    expected = StepInputs(**known, width=32, num_gallery=100, num_training=5, model="abc")
    assert step.inputs == [StepInputs(**known), StepInputs(**known), expected, replace(expected, width=0)]
