"""Post-processing steps: each takes the current retrieval state and returns an improved one.

Steps on features come first, then at most one step that computes new distances (re-ranking), then at most one that
fuses rankings.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

from fastreid.evaluation.features import Features, check_count
from fastreid.evaluation.postprocess.local_rerank import LocalFeatures
from fastreid.evaluation.postprocess.whitening import Whitening
from fastreid.evaluation.scoring.per_query import ScoreSettings
from fastreid.evaluation.search.distance_source import DistanceSource, FeatureDistances
from fastreid.evaluation.search.metric_space import MetricSpace
from fastreid.evaluation.search.nearest import ENGINES, check_precision
from fastreid.utils.errors import InputError

FEATURES, DISTANCES, RANKINGS = "features", "distances", "rankings"  # values of `Step.works_on`, in pipeline order
NOT_COMPARABLE = (
    "TEST.ROC needs distances that are comparable between queries, but after TEST.RERANK.TOP_N, TEST.SUPERGLOBAL, "
    "TEST.LOCAL or TEST.FUSE.BY rank they only order each query's gallery; disable one of them"
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
        training: returns the features of the training drawings, after the steps that change the width of features;
            None: there are none.
        whitening: whitening learned by a step; None: nothing was learned, or an existing whitening was used.
        model: sha256 of the weights that computed the features; "" if unknown.
        local: returns the local features; None: there are none.
    """

    space: MetricSpace
    search: SearchSettings
    source: DistanceSource
    object_ids: Sequence[str]
    training: Callable[[], Features] | None = None
    whitening: Whitening | None = None
    model: str = ""
    local: Callable[[], LocalFeatures] | None = None

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
        has_local: whether there are local features, or it is unknown.
    """

    space: type[MetricSpace]
    scoring: ScoreSettings
    width: int = 0
    num_gallery: int = 0
    num_training: int | None = 0
    model: str = ""
    has_local: bool = True


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
                "TEST.STEPS, put steps on features first, then RERANK, SUPERGLOBAL or LOCAL, then FUSE by rank"
            )
