"""Post-processing steps: each takes the current retrieval state and returns an improved one.

Steps on features come first, then at most one step that computes new distances (re-ranking), then at most one that
fuses rankings.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

from fastreid.evaluation.features import Features, check_count
from fastreid.evaluation.postprocess.fusion import BestRankFusion, average_queries_by_object
from fastreid.evaluation.postprocess.query_expansion import ExpansionSettings, expand
from fastreid.evaluation.postprocess.rerank import DISTANCE_REQUIRED, KReciprocalDistances, RerankSettings
from fastreid.evaluation.postprocess.whitening import Whitening, WhiteningSettings, learn_whitening
from fastreid.evaluation.scoring.per_query import ScoreSettings
from fastreid.evaluation.search.distance_source import DistanceSource, FeatureDistances
from fastreid.evaluation.search.metric_space import MetricSpace
from fastreid.evaluation.search.nearest import ENGINES, check_precision
from fastreid.utils.errors import InputError

FEATURES, DISTANCES, RANKINGS = "features", "distances", "rankings"  # values of `Step.works_on`, in pipeline order
NOT_COMPARABLE = (
    "TEST.ROC needs distances that are comparable between queries, but after TEST.RERANK.TOP_N or TEST.FUSE.BY rank "
    "they only order each query's gallery; disable one of them"
)
LEARN_FROM = ("gallery", "train")
_PIPELINE_ORDER = (FEATURES, DISTANCES, RANKINGS)


@dataclass(frozen=True)
class SearchSettings:
    """Settings of the nearest-neighbor search.

    Args:
        memory_mb: working memory in MiB, in addition to the features.
        engine: engine that searches the candidates, as for `nearest`.
        precision: precision of the candidate search, as for `nearest`.

    Raises:
        InputError: an unknown name, or memory_mb below 1.
        EnvironmentSetupError: the engine's package is missing.
    """

    memory_mb: int = 1024
    engine: str = "torch"
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_count("memory_mb", self.memory_mb)
        check_precision(self.precision)
        ENGINES.get(self.engine)()


@dataclass(frozen=True)
class RetrievalState:
    """State of the retrieval between two steps.

    Args:
        space: queries, gallery and metric.
        search: settings of the search.
        source: distances that rank the gallery.
        object_ids: for each query the id of the object it shows; "" if unknown.
        training: returns the features of the training drawings; None: there are none.
        whitening: whitening learned by a step; None: nothing was learned, or an existing whitening was used.
        model: sha256 of the weights that computed the features; "" if unknown.
    """

    space: MetricSpace
    search: SearchSettings
    source: DistanceSource
    object_ids: Sequence[str]
    training: Callable[[], Features] | None = None
    whitening: Whitening | None = None
    model: str = ""

    def with_features(self, queries: Features, gallery: Features) -> "RetrievalState":
        """Return this state with other features, ranked by their distances."""
        space = type(self.space)(queries, gallery)
        return replace(self, space=space, source=FeatureDistances(space, **asdict(self.search)))


@dataclass(frozen=True)
class StepInputs:
    """The known properties of a step's input, for `Step.check`.

    Args:
        space: class of the metric space.
        scoring: settings of the scores.
        width: floats per feature; 0: unknown.
        num_gallery: number of gallery drawings; 0: unknown.
        num_training: number of training features; None: there are none; 0: unknown.
        model: sha256 of the weights that computed the features; "" if unknown.
    """

    space: type[MetricSpace]
    scoring: ScoreSettings
    width: int = 0
    num_gallery: int = 0
    num_training: int | None = 0
    model: str = ""


class Step(ABC):
    """Base class of the post-processing steps.

    Attributes:
        keeps_width: whether the step's output features are as wide as its input.
    """

    keeps_width = False

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in the table of scores, such as "+ whitening"."""

    @property
    @abstractmethod
    def works_on(self) -> str:
        """FEATURES, DISTANCES or RANKINGS; determines the step's place in the pipeline."""

    def check(self, inputs: StepInputs) -> None:  # noqa: B027 - optional to override
        """Check that the step can process its input; the default accepts any.

        It is called before any work: when the evaluator is built, with only the metric and the scoring settings, and
        again as soon as the features' properties are known.

        Args:
            inputs: the known properties of the input.

        Raises:
            InputError: the step cannot process this input.
        """

    @abstractmethod
    def __call__(self, state: RetrievalState) -> RetrievalState:
        """Return the state after this step."""


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
            raise InputError(
                "TEST.WHITEN.LEARN_FROM is train, but there are no features of training drawings; extract them with "
                "fastreid extract --split all"
            )
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
        return whitened if self.whitening is whitening else replace(whitened, whitening=whitening)


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
        if inputs.space.squared_l2_factor is None:
            raise InputError(DISTANCE_REQUIRED)
        top_n, top_k = self.settings.top_n, inputs.scoring.top_k
        if top_n is not None and top_n < top_k:
            raise InputError(f"top_n (TEST.RERANK.TOP_N) must be at least top_k (TEST.TOP_K) {top_k}, not {top_n}")
        if top_n is not None and inputs.scoring.roc:
            raise InputError(NOT_COMPARABLE)

    def __call__(self, state: RetrievalState) -> RetrievalState:
        source = KReciprocalDistances(
            state.space, self.settings, memory_mb=state.search.memory_mb, precision=state.search.precision
        )
        return replace(state, source=source)


def check_steps(steps: Sequence[Step], *, space: type[MetricSpace], scoring: ScoreSettings) -> None:
    """Check each step and the order of the steps before any work.

    Args:
        steps: the pipeline, in order.
        space: class of the metric space.
        scoring: settings of the scores.

    Raises:
        InputError: a step does not support the metric or the scoring settings, or it would discard the result of the
            step before it.
    """
    inputs = StepInputs(space, scoring)
    for step in steps:
        step.check(inputs)
    for before, after in pairwise(steps):
        position, next_position = _PIPELINE_ORDER.index(before.works_on), _PIPELINE_ORDER.index(after.works_on)
        if next_position < position or (next_position == position and position > 0):
            raise InputError(
                f"'{after.name}' works on {after.works_on} and would discard the result of '{before.name}'; in "
                "TEST.STEPS, put steps on features first, then RERANK, then FUSE by rank"
            )
