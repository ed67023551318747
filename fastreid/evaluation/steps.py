"""The post-processing steps of the package; `pipeline` has their interface."""

from dataclasses import asdict, dataclass, replace
from functools import cache

from fastreid.evaluation.features import as_features, to_tensor
from fastreid.evaluation.pipeline import (
    DISTANCES,
    FEATURES,
    LEARN_FROM,
    NOT_COMPARABLE,
    RANKINGS,
    RetrievalState,
    Step,
    StepInputs,
)
from fastreid.evaluation.postprocess.fusion import BestRankFusion, average_queries_by_object
from fastreid.evaluation.postprocess.local_rerank import LocalDistances, LocalSettings
from fastreid.evaluation.postprocess.negatives import NegativeSettings, subtract_negatives
from fastreid.evaluation.postprocess.query_expansion import ExpansionSettings, expand
from fastreid.evaluation.postprocess.rerank import DISTANCE_REQUIRED, KReciprocalDistances, RerankSettings
from fastreid.evaluation.postprocess.superglobal import SuperGlobalDistances, SuperGlobalSettings
from fastreid.evaluation.postprocess.whitening import Whitening, WhiteningSettings, learn_whitening
from fastreid.utils.errors import InputError

_NO_LOCAL_FEATURES = "TEST.LOCAL compares local features, but there are none; extract with TEST.LOCAL.ENABLED True"
_NO_TRAINING_FEATURES = "there are no features of training drawings; extract them with fastreid extract --split all"


@dataclass(frozen=True)
class Whiten(Step):
    """Whitens queries and gallery.

    Args:
        settings: settings of a whitening that is learned by this step.
        learn_from: "gallery": the gallery features at this step; "train": the training drawings.
        whitening: an existing whitening to use instead.
    """

    settings: WhiteningSettings
    learn_from: str = "gallery"
    whitening: Whitening | None = None
    name = "+ whitening"
    works_on = FEATURES

    def __post_init__(self) -> None:
        if self.whitening is None and self.learn_from not in LEARN_FROM:
            raise InputError(
                f"learn_from must be {' or '.join(LEARN_FROM)}, not {self.learn_from!r}, unless a whitening is given"
            )

    def check(self, inputs: StepInputs) -> None:
        self._check_features(
            width=inputs.width,
            num_gallery=inputs.num_gallery,
            num_training=inputs.num_training,
            model=inputs.model,
        )

    def _check_features(self, *, width: int, num_gallery: int, num_training: int | None, model: str) -> None:
        if self.whitening is not None:
            self.whitening.check(width=width, model=model)
            return
        if self.learn_from == "train" and num_training is None:
            raise InputError(f"TEST.WHITEN.LEARN_FROM is train, but {_NO_TRAINING_FEATURES}")
        num_features = num_gallery if self.learn_from == "gallery" else num_training
        self.settings.check(width=width, num_features=num_features or 0)

    def __call__(self, state: RetrievalState) -> RetrievalState:
        training, gallery = state.training, state.space.gallery
        num_training = None if training is None else 0
        self._check_features(
            width=state.space.width, num_gallery=len(gallery), num_training=num_training, model=state.model
        )
        whitening = self.whitening
        if whitening is None:
            features = gallery if training is None or self.learn_from == "gallery" else training()
            whitening = learn_whitening(features, self.settings, model=state.model)
        whitened = state.with_features(whitening(state.space.queries), whitening(state.space.gallery))
        if training is not None:
            whitened = replace(whitened, training=cache(lambda: whitening(training())))
        return whitened if self.whitening is whitening else replace(whitened, whitening=whitening)


@dataclass(frozen=True)
class SubtractNegatives(Step):
    """Moves queries and gallery away from their nearest training drawings.

    Args:
        settings: settings of the subtraction.
    """

    settings: NegativeSettings
    name = "- negatives"
    works_on = FEATURES
    keeps_width = True

    def check(self, inputs: StepInputs) -> None:
        if inputs.num_training is None:
            raise InputError(f"TEST.NEGATIVE subtracts features of training drawings, but {_NO_TRAINING_FEATURES}")

    def __call__(self, state: RetrievalState) -> RetrievalState:
        if state.training is None:
            raise InputError(f"TEST.NEGATIVE subtracts features of training drawings, but {_NO_TRAINING_FEATURES}")
        background = to_tensor(as_features(state.training(), "the training features")).to(state.space.queries.device)
        if background.shape[1] != state.space.width:
            raise InputError(
                f"TEST.NEGATIVE: the training features have {background.shape[1]} floats, but those of this step have "
                f"{state.space.width}; in TEST.STEPS, put NEGATIVE before the step that changes their width"
            )
        queries, gallery = (
            subtract_negatives(
                side,
                background,
                self.settings,
                memory_mb=state.search.memory_mb,
                precision=state.search.precision,
            )
            for side in (state.space.queries, state.space.gallery)
        )
        return state.with_features(queries, gallery)


@dataclass(frozen=True)
class FuseFeatures(Step):
    """Replaces each query's features by the mean over the queries of its object."""

    name = "+ queries fused"
    works_on = FEATURES
    keeps_width = True

    def __call__(self, state: RetrievalState) -> RetrievalState:
        queries = average_queries_by_object(state.space.queries, state.object_ids)
        return state.with_features(queries, state.space.gallery)


@dataclass(frozen=True)
class FuseRanks(Step):
    """Ranks each gallery drawing by its best rank over the queries of an object."""

    name = "+ ranks fused"
    works_on = RANKINGS

    def check(self, inputs: StepInputs) -> None:
        if inputs.scoring.roc:
            raise InputError(NOT_COMPARABLE)

    def __call__(self, state: RetrievalState) -> RetrievalState:
        return replace(state, source=BestRankFusion(state.source, state.object_ids))


@dataclass(frozen=True)
class Expand(Step):
    """Expands queries, gallery or both by their nearest neighbors.

    Args:
        settings: settings of the expansion.
    """

    settings: ExpansionSettings
    works_on = FEATURES
    keeps_width = True

    @property
    def name(self) -> str:
        if self.settings.queries_too and self.settings.gallery_too:
            return "+ AQE and DBA"
        return "+ AQE" if self.settings.queries_too else "+ DBA"

    def __call__(self, state: RetrievalState) -> RetrievalState:
        queries, gallery = expand(
            state.space.queries,
            state.space.gallery,
            memory_mb=state.search.memory_mb,
            precision=state.search.precision,
            **asdict(self.settings),
        )
        return state.with_features(queries, gallery)


def _check_reranking(inputs: StepInputs, *, top_n: int | None, key: str) -> None:
    """Check that the metric and the scores allow re-ranking of the first `top_n` drawings; None: of all."""
    if inputs.space.squared_l2_factor is None:
        raise InputError(DISTANCE_REQUIRED)
    top_k = inputs.scoring.top_k
    if top_n is not None and top_n < top_k:
        raise InputError(f"top_n ({key}) must be at least top_k (TEST.TOP_K) {top_k}, not {top_n}")
    if top_n is not None and inputs.scoring.roc:
        raise InputError(NOT_COMPARABLE)


@dataclass(frozen=True)
class Rerank(Step):
    """Re-ranks by k-reciprocal neighbors.

    Args:
        settings: settings of the re-ranking.
    """

    settings: RerankSettings
    name = "+ re-ranking"
    works_on = DISTANCES

    def check(self, inputs: StepInputs) -> None:
        _check_reranking(inputs, top_n=self.settings.top_n, key="TEST.RERANK.TOP_N")

    def __call__(self, state: RetrievalState) -> RetrievalState:
        source = KReciprocalDistances(
            state.space, self.settings, memory_mb=state.search.memory_mb, precision=state.search.precision
        )
        return replace(state, source=source)


@dataclass(frozen=True)
class RerankSuperGlobal(Step):
    """Re-ranks the nearest drawings by features that are refined by each other.

    Args:
        settings: settings of the re-ranking.
    """

    settings: SuperGlobalSettings
    name = "+ SuperGlobal"
    works_on = DISTANCES

    def check(self, inputs: StepInputs) -> None:
        _check_reranking(inputs, top_n=self.settings.top_n, key="TEST.SUPERGLOBAL.TOP_N")

    def __call__(self, state: RetrievalState) -> RetrievalState:
        source = SuperGlobalDistances(
            state.space, self.settings, memory_mb=state.search.memory_mb, precision=state.search.precision
        )
        return replace(state, source=source)


@dataclass(frozen=True)
class RerankLocal(Step):
    """Re-ranks the nearest drawings by their local features.

    Args:
        settings: settings of the re-ranking.
    """

    settings: LocalSettings
    name = "+ local features"
    works_on = DISTANCES

    def check(self, inputs: StepInputs) -> None:
        _check_reranking(inputs, top_n=self.settings.top_n, key="TEST.LOCAL.TOP_N")
        if not inputs.has_local:
            raise InputError(_NO_LOCAL_FEATURES)

    def __call__(self, state: RetrievalState) -> RetrievalState:
        if state.local is None:
            raise InputError(_NO_LOCAL_FEATURES)
        source = LocalDistances(
            state.space,
            state.local(),
            self.settings,
            memory_mb=state.search.memory_mb,
            precision=state.search.precision,
        )
        return replace(state, source=source)
