from dataclasses import replace

import pytest
import torch

from fastreid.evaluation import (
    Evaluator,
    ExpansionSettings,
    RerankSettings,
    ScoreSettings,
    Whitening,
    WhiteningSettings,
)
from fastreid.evaluation.postprocess.local_rerank import LocalFeatures
from fastreid.evaluation.postprocess.negatives import NegativeSettings
from fastreid.evaluation.postprocess.superglobal import SuperGlobalSettings
from fastreid.evaluation.postprocess.tuning import tune
from fastreid.evaluation.postprocess.tuning_grid import Grid
from fastreid.evaluation.steps import (
    Expand,
    FuseRanks,
    Rerank,
    RerankLocal,
    RerankSuperGlobal,
    SubtractNegatives,
    Whiten,
)
from fastreid.structures import Embeddings
from fastreid.utils.errors import InputError

GRID = Grid(
    ("AQE", "RERANK"),
    expansion_k=(2, 4),
    expansion_alpha=(1.0, 3.0),
    sides=("both", "queries"),
    k1=(5, 8),
    k2=(1, 6),
    lambda_value=(0.1, 0.5),
)


def embeddings(known=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    patents = torch.arange(20).repeat(6)
    features = torch.randn(20, 16, generator=generator)[patents] + 1.2 * torch.randn(120, 16, generator=generator)
    patent_ids = tuple(f"D{patent}" if known else "" for patent in patents.tolist())
    names = tuple(f"{row}.png" for row in range(120))
    return Embeddings(features[:40], patent_ids[:40], names[:40]), Embeddings(
        features[40:], patent_ids[40:], names[40:]
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_trial_scores_equal_those_of_its_steps(metric):
    calls = []
    trials = tune(
        Evaluator(metric=metric),
        *embeddings(),
        grid=GRID,
        on_trial=lambda trial, index, max_trials: calls.append((trial, index, max_trials)),
    )
    assert [index for _, index, _ in calls] == list(range(1, len(trials) + 1))
    assert len(trials) <= calls[0][2] == 1 + 8 + 2 * 6  # k2 6 is only valid with k1 8
    assert len({str(trial) for trial in trials}) == len(trials)
    for trial in trials:
        steps = [Expand(trial.expansion)] if trial.expansion else []
        steps += [Rerank(trial.reranking)] if trial.reranking else []
        assert Evaluator(metric=metric, steps=steps)(*embeddings()).scores == trial.scores.means()


def test_new_steps_are_tried_before_and_after_expansion():
    training = 2 * torch.randn(30, 16, generator=torch.Generator().manual_seed(5))
    grid = replace(GRID, steps=("NEGATIVE", "AQE", "RERANK", "SUPERGLOBAL"), superglobal_top_n=40, negative_times=1)
    calls = []
    trials = tune(
        Evaluator(),
        *embeddings(),
        grid=grid,
        training=lambda: training,
        on_trial=lambda trial, index, max_trials: calls.append((trial, max_trials)),
    )
    assert len(trials) <= calls[0][1] == 1 + 4 + 2 * 8 + 2 * (6 + 4)
    assert len({str(trial) for trial in trials}) == len(trials)
    assert {trial.negatives for trial, _ in calls[1:5]} == {
        NegativeSettings(k, beta, 1) for k in (5, 10) for beta in (0.2, 0.35)
    }
    super_globals = {trial.reranking for trial in trials if isinstance(trial.reranking, SuperGlobalSettings)}
    assert super_globals == {SuperGlobalSettings(40, k, beta) for k in (5, 9) for beta in (0.15, 0.5)}
    for trial in trials:
        steps = [SubtractNegatives(trial.negatives)] if trial.negatives else []
        steps += [Expand(trial.expansion)] if trial.expansion else []
        if trial.reranking:
            is_super_global = isinstance(trial.reranking, SuperGlobalSettings)
            steps.append((RerankSuperGlobal if is_super_global else Rerank)(trial.reranking))
        result = Evaluator(steps=steps)(*embeddings(), training=lambda: training)
        assert result.scores == trial.scores.means()
    feature_trials = [trial for trial, _ in calls if trial.reranking is None]
    best = max(feature_trials, key=lambda trial: trial.value)
    before = {(trial.negatives, trial.expansion) for trial in trials if trial.reranking}
    assert before == {(None, None), (best.negatives, best.expansion)}


def test_negatives_without_training_features_fail_before_any_work():
    with pytest.raises(InputError, match=r"TEST\.NEGATIVE subtracts features of training drawings, but there are no"):
        tune(Evaluator(), None, None, grid=replace(GRID, steps=("NEGATIVE",)))


def test_best_trial_is_first_and_gain_is_over_plain_search():
    trials = tune(Evaluator(), *embeddings(), grid=GRID, select_by="mAP")
    values = [trial.scores.means()["mAP"] for trial in trials]
    assert values == [trial.value for trial in trials] == sorted(values, reverse=True)
    plain = next(trial for trial in trials if trial.expansion is None and trial.reranking is None)
    assert plain.gain == (0, 0)
    assert trials[0].gain == trials[0].scores.difference(plain.scores)["mAP"]


def test_plain_search_is_best_if_nothing_improves_it():
    rows = torch.eye(8).repeat(3, 1)
    patents, names = tuple("abcdefgh" * 3), tuple(f"{row}.png" for row in range(24))
    sides = Embeddings(rows[:8], patents[:8], names[:8]), Embeddings(rows[8:], patents[8:], names[8:])
    trials = tune(Evaluator(), *sides, grid=GRID)
    assert (str(trials[0]), trials[0].value) == ("plain search", 100)
    assert {trial.expansion for trial in trials if trial.reranking} == {None}


def test_steps_of_the_evaluator_run_before_tuned_steps():
    whiten = Whiten(WhiteningSettings(), "file", Whitening(torch.zeros(16), torch.eye(16)[:, :4]))
    trials = tune(Evaluator(steps=[whiten]), *embeddings(), grid=GRID)
    plain = next(trial for trial in trials if str(trial) == "plain search")
    assert plain.scores.means() == Evaluator(steps=[whiten])(*embeddings()).scores


def test_trial_describes_its_settings():
    trials = tune(
        Evaluator(),
        *embeddings(),
        grid=Grid(("AQE", "RERANK"), (3,), (2.0,), 1, ("gallery",), k1=(6,), k2=(2,), lambda_value=(0.3,)),
    )
    both = "expansion of gallery, k 3, alpha 2, re-ranking k1 6, k2 2, lambda 0.3"
    assert both in {str(trial) for trial in trials}
    chosen = next(trial for trial in trials if str(trial) == both)
    assert chosen.expansion == ExpansionSettings(k=3, alpha=2.0, queries_too=False)
    assert chosen.reranking == RerankSettings(k1=6, k2=2, lambda_value=0.3)


@pytest.mark.parametrize(
    ("evaluator", "options", "message"),
    [
        (Evaluator(), {"select_by": "mAP@11"}, "TEST.SELECT_BY 'mAP@11' is unknown. Did you mean 'mAP@10'"),
        (Evaluator(), {"select_by": "TPR@FPR=1e-02"}, "TEST.SELECT_BY 'TPR@FPR=1e-02' is unknown"),
        (Evaluator(metric="inner_product"), {}, "re-ranking needs a distance"),
        (Evaluator(), {"grid": replace(GRID, top_n=4)}, r"TOP_N\) must be at least top_k \(TEST.TOP_K\) 10, not 4"),
        (
            Evaluator(scoring=ScoreSettings(roc=True)),
            {"grid": replace(GRID, top_n=12)},
            "TEST.ROC needs distances that are comparable",
        ),
        (Evaluator(steps=[FuseRanks()]), {}, r"'\+ ranks fused' works on rankings, so no step can be tuned after it"),
    ],
)
def test_tune_rejects_incompatible_settings(evaluator, options, message):
    with pytest.raises(InputError, match=message):
        tune(evaluator, None, None, **({"grid": GRID} | options))  # fails before it reads the features


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"sides": ("queires",)}, "side to expand 'queires' is unknown. Did you mean 'queries'"),
        ({"steps": ("DBA",)}, "step to tune 'DBA' is unknown"),
        ({"steps": ()}, "no step to tune; name at least one of NEGATIVE, AQE, RERANK, SUPERGLOBAL, LOCAL"),
        ({"expansion_k": ()}, "expansion_k is empty; give at least one value"),
        ({"lambda_value": ()}, "lambda_value is empty; give at least one value"),
        ({"expansion_k": (0,)}, "k must be an integer of at least 1, not 0"),
        ({"k1": (0,), "k2": (0,)}, "k1 must be an integer of at least 1, not 0"),
        ({"k1": (0, 5), "k2": (1,)}, "some values of k1 0,5 and k2 1 are never used"),
        ({"k1": (2,), "k2": (5,)}, "k2 must be at most k1, so some values of k1 2 and k2 5 are never used"),
        ({"k1": (4, 8), "k2": (2, 9)}, "some values of k1 4,8 and k2 2,9 are never used"),
        ({"steps": ("AQE",), "lambda_value": (2,)}, "must be a number from 0 to 1, not 2"),
        ({"form": "mine"}, "must be fast-reid or paper, not 'mine'"),
        ({"top_n": -1}, "top_n must be an integer of at least 1, not -1"),
        ({"negative_k": ()}, "negative_k is empty; give at least one value"),
        ({"negative_beta": (1.1,)}, r"TEST.NEGATIVE.BETA\) must be a number from 0 to 1, not 1.1"),
        ({"steps": ("AQE",), "superglobal_k": (0,)}, r"TEST.SUPERGLOBAL.K\) must be an integer of at least 1, not 0"),
    ],
)
def test_grid_rejects_invalid_or_unused_values(choices, message):
    with pytest.raises(InputError, match=message):
        Grid(**choices)


def test_one_step_can_be_tuned_without_the_other():
    expanded = tune(Evaluator(metric="inner_product"), *embeddings(), grid=replace(GRID, steps=("AQE",)))
    assert [trial.reranking for trial in expanded] == [None] * 9
    again = tune(Evaluator(), *embeddings(), grid=replace(GRID, steps=("RERANK",), form="paper", top_n=30))
    assert {trial.expansion for trial in again} == {None}
    assert {trial.reranking.form for trial in again if trial.reranking} == {"paper"}
    assert {trial.reranking.top_n for trial in again if trial.reranking} == {30}


def test_whitening_step_gets_training_features_and_weights():
    sides, whiten = embeddings(), Whiten(WhiteningSettings(), "train")
    training = torch.randn(50, 16, generator=torch.Generator().manual_seed(1))
    trials = tune(Evaluator(steps=[whiten]), *sides, grid=GRID, training=lambda: training)
    plain = next(trial for trial in trials if str(trial) == "plain search")
    assert plain.scores.means() == Evaluator(steps=[whiten])(*sides, training=lambda: training).scores
    whiten = Whiten(WhiteningSettings(), "file", Whitening(torch.zeros(16), torch.eye(16), model="abc"))
    with pytest.raises(InputError, match="learned with other weights"):
        tune(Evaluator(steps=[whiten]), *sides, grid=GRID, model="xyz")


@pytest.mark.parametrize(("num_draws", "num_queries"), [(0, 40), (1000, 1)])
def test_gain_is_none_if_disabled_or_undefined(num_draws, num_queries):
    queries, gallery = embeddings()
    trials = tune(Evaluator(), queries.select(torch.arange(num_queries)), gallery, grid=GRID, num_resamples=num_draws)
    assert {trial.gain for trial in trials} == {None}
    assert trials[0].format_gain() == ""


def test_tune_rejects_features_with_unknown_patents():
    with pytest.raises(InputError, match="the patents of these features are unknown"):
        tune(Evaluator(), *embeddings(known=False), grid=GRID)


def test_trials_with_local_features_equal_their_step():
    queries, gallery = embeddings()
    generator = torch.Generator().manual_seed(0)
    rows = torch.cat([torch.ones(120, 5), torch.randn(120, 12, generator=generator)], dim=1)
    local = LocalFeatures(rows[:40], rows[40:], 4)
    grid = replace(GRID, steps=("AQE", "LOCAL"), local_dim=(2, 3), local_top_n=30)
    trials = tune(Evaluator(), queries, gallery, grid=grid, num_resamples=0, local=lambda: local)
    tried = [trial for trial in trials if trial.reranking is not None]
    assert len(tried) in (6, 12)  # without and with the best expansion, if one is better
    for trial in tried:
        steps = [Expand(trial.expansion)] if trial.expansion else []
        evaluation = Evaluator(steps=[*steps, RerankLocal(trial.reranking)])(queries, gallery, local=lambda: local)
        assert evaluation.scores == trial.scores.means()
    with pytest.raises(InputError, match=r"there are none; extract with TEST.LOCAL.ENABLED True; or leave LOCAL out"):
        tune(Evaluator(), queries, gallery, grid=grid)
