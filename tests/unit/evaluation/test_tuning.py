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
from fastreid.evaluation.pipeline import Expand, FuseRanks, Rerank, Whiten
from fastreid.evaluation.postprocess.tuning import Grid, tune
from fastreid.structures import Embeddings
from fastreid.utils.errors import InputError

GRID = Grid(
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
    words = tuple(f"D{number}" if known else "" for number in patents.tolist())
    names = tuple(f"{row}.png" for row in range(120))
    return Embeddings(features[:40], words[:40], names[:40]), Embeddings(features[40:], words[40:], names[40:])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_every_trial_scores_as_the_steps_it_stands_for(metric):
    told = []
    trials = tune(
        Evaluator(metric=metric),
        *embeddings(),
        grid=GRID,
        on_trial=lambda trial, number, most: told.append((trial, number, most)),
    )
    assert [number for _, number, _ in told] == list(range(1, len(trials) + 1))
    assert len(trials) <= told[0][2] == 1 + 8 + 2 * 6  # k2 6 goes with k1 8 alone
    assert len({str(trial) for trial in trials}) == len(trials)
    for trial in trials:
        steps = [Expand(trial.expansion)] if trial.expansion else []
        steps += [Rerank(trial.reranking)] if trial.reranking else []
        assert Evaluator(metric=metric, steps=steps)(*embeddings()).scores == trial.scores.means()


def test_the_best_comes_first_and_its_gain_is_beside_plain_search():
    trials = tune(Evaluator(), *embeddings(), grid=GRID, select_by="mAP")
    values = [trial.scores.means()["mAP"] for trial in trials]
    assert values == [trial.value for trial in trials] == sorted(values, reverse=True)
    plain = next(trial for trial in trials if trial.expansion is None and trial.reranking is None)
    assert plain.gain == (0, 0)
    assert trials[0].gain == trials[0].scores.difference(plain.scores)["mAP"]


def test_plain_search_wins_where_nothing_is_better():
    rows = torch.eye(8).repeat(3, 1)
    words, names = tuple("abcdefgh" * 3), tuple(f"{row}.png" for row in range(24))
    sides = Embeddings(rows[:8], words[:8], names[:8]), Embeddings(rows[8:], words[8:], names[8:])
    best = tune(Evaluator(), *sides, grid=GRID)[0]
    assert (str(best), best.value) == ("plain search", 100)


def test_steps_of_the_evaluator_come_before_what_is_tried():
    whiten = Whiten(WhiteningSettings(), "file", Whitening(torch.zeros(16), torch.eye(16)[:, :4]))
    trials = tune(Evaluator(steps=[whiten]), *embeddings(), grid=GRID)
    plain = next(trial for trial in trials if str(trial) == "plain search")
    assert plain.scores.means() == Evaluator(steps=[whiten])(*embeddings()).scores


def test_a_trial_tells_what_was_chosen():
    trials = tune(
        Evaluator(),
        *embeddings(),
        grid=Grid(("AQE", "RERANK"), (3,), (2.0,), 1, ("database",), k1=(6,), k2=(2,), lambda_value=(0.3,)),
    )
    both = "expansion of database, k 3, alpha 2, re-ranking k1 6, k2 2, lambda 0.3"
    assert both in {str(trial) for trial in trials}
    chosen = next(trial for trial in trials if str(trial) == both)
    assert chosen.expansion == ExpansionSettings(k=3, alpha=2.0, queries_too=False)
    assert chosen.reranking == RerankSettings(k1=6, k2=2, lambda_value=0.3)


@pytest.mark.parametrize(
    ("evaluator", "options", "words"),
    [
        (Evaluator(), {"select_by": "mAP@11"}, "there is no score 'mAP@11' to choose by. Did you mean 'mAP@10'"),
        (Evaluator(), {"select_by": "TPR@FPR=1e-02"}, "there is no score 'TPR@FPR=1e-02' to choose by"),
        (Evaluator(metric="inner_product"), {}, "re-ranking asks for a distance"),
        (Evaluator(), {"grid": Grid(top_n=4)}, r"TOP_N\) is 4 and top_k \(TEST.TOP_K\) 10"),
        (Evaluator(scoring=ScoreSettings(roc=True)), {"grid": Grid(top_n=12)}, "TEST.ROC compares distances of all"),
        (Evaluator(steps=[FuseRanks()]), {}, r"'\+ ranks fused' works on rankings, so nothing can be tried after it"),
    ],
)
def test_tuning_refuses_what_it_cannot_do(evaluator, options, words):
    with pytest.raises(InputError, match=words):
        tune(evaluator, None, None, **({"grid": GRID} | options))  # before it looks at the features


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"sides": ("queires",)}, "no side to expand is called 'queires'; there are both, queries, database"),
        ({"steps": ("DBA",)}, "no step to try is called 'DBA'; there are AQE, RERANK"),
        ({"steps": ()}, "no step would be tried; name some of AQE, RERANK"),
        ({"expansion_k": ()}, "nothing of AQE would be tried"),
        ({"lambda_value": ()}, "nothing of RERANK would be tried"),
        ({"expansion_k": (0,)}, "k is an integer of at least 1, not 0"),
        ({"k1": (0,), "k2": (0,)}, "k1 is an integer of at least 1, not 0"),
        ({"k1": (0, 5), "k2": (1,)}, "of 0,5 and 1 not all can"),
        ({"k1": (2,), "k2": (5,)}, "nothing of RERANK would be tried"),
        ({"k1": (4, 8), "k2": (2, 9)}, "of 4,8 and 2,9 not all can"),
        ({"steps": ("AQE",), "lambda_value": (2,)}, "a share 0..1, not 2"),
        ({"form": "mine"}, "is fast-reid or paper, not 'mine'"),
        ({"top_n": -1}, "top_n is an integer of at least 1, not -1"),
    ],
)
def test_a_grid_refuses_what_would_not_be_tried(choices, words):
    with pytest.raises(InputError, match=words):
        Grid(**choices)


def test_one_step_alone_can_be_tried():
    expanded = tune(Evaluator(metric="inner_product"), *embeddings(), grid=replace(GRID, steps=("AQE",)))
    assert [trial.reranking for trial in expanded] == [None] * 9
    again = tune(Evaluator(), *embeddings(), grid=replace(GRID, steps=("RERANK",), form="paper", top_n=30))
    assert {trial.expansion for trial in again} == {None}
    assert {trial.reranking.form for trial in again if trial.reranking} == {"paper"}
    assert {trial.reranking.top_n for trial in again if trial.reranking} == {30}


def test_steps_that_learn_get_the_training_features_and_refuse_other_weights():
    sides, whiten = embeddings(), Whiten(WhiteningSettings(), "train")
    training = torch.randn(50, 16, generator=torch.Generator().manual_seed(1))
    trials = tune(Evaluator(steps=[whiten]), *sides, grid=GRID, training=lambda: training)
    plain = next(trial for trial in trials if str(trial) == "plain search")
    assert plain.scores.means() == Evaluator(steps=[whiten])(*sides, training=lambda: training).scores
    ready = Whiten(WhiteningSettings(), "file", Whitening(torch.zeros(16), torch.eye(16), model="abc"))
    with pytest.raises(InputError, match="learnt with other weights"):
        tune(Evaluator(steps=[ready]), *sides, grid=GRID, model="xyz")


@pytest.mark.parametrize(("num_draws", "num_queries"), [(0, 40), (1000, 1)])
def test_a_gain_that_cannot_be_told_or_is_not_wanted_is_none(num_draws, num_queries):
    queries, gallery = embeddings()
    trials = tune(Evaluator(), queries.select(torch.arange(num_queries)), gallery, grid=GRID, num_draws=num_draws)
    assert {trial.gain for trial in trials} == {None}
    assert trials[0].told_gain() == ""


def test_features_whose_patents_are_unknown_cannot_be_tuned_on():
    with pytest.raises(InputError, match="the patents of these features are not known"):
        tune(Evaluator(), *embeddings(known=False), grid=GRID)
