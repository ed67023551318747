"""The steps of post-processing: each takes what was found so far and gives something better to rank by.

Steps on features come first, then at most one that makes distances of its own (re-ranking), then at most one that fuses
rankings.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Protocol

from fastreid.evaluation.features import Features, check_count
from fastreid.evaluation.postprocess.fusion import BestOfRanks, mean_of_objects
from fastreid.evaluation.postprocess.query_expansion import ExpansionSettings, expand
from fastreid.evaluation.postprocess.rerank import NO_DISTANCE, KReciprocal, RerankSettings
from fastreid.evaluation.postprocess.whitening import Whitening, WhiteningSettings, learn_whitening
from fastreid.evaluation.scoring.per_query import ScoreSettings
from fastreid.evaluation.search.distance_source import FromFeatures, Source
from fastreid.evaluation.search.metric_space import Space
from fastreid.evaluation.search.nearest import ENGINES, check_precision
from fastreid.utils.errors import InputError

FEATURES, DISTANCES, RANKINGS = "features", "distances", "rankings"  # what a step works on, in the order they may come
NOT_COMPARABLE = (
    "TEST.ROC compares distances of all queries, and after TEST.RERANK.TOP_N or TEST.FUSE by rank they only order each "
    "query's gallery; leave one of them out"
)
LEARN_FROM = ("database", "train")
_ORDER = (FEATURES, DISTANCES, RANKINGS)


@dataclass(frozen=True)
class Search:
    """How to search.

    Args:
        memory_mb: MiB to work in beside the features.
        engine: who chooses candidates, as for `nearest`.
        precision: of the product that chooses them.

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
class Found:
    """What the steps have come to.

    Args:
        space: queries, gallery and metric.
        search: how to search.
        source: what ranks now.
        objects: for each query the object it shows, one word a query; "" where that is not known.
        training: gives the training drawings' features; None where there are none.
        whitening: what was learnt on the way; None where nothing was, or what is used was learnt before.
        model: the sha256 of the weights that gave the features; "" where that is not known.
    """

    space: Space
    search: Search
    source: Source
    objects: Sequence[str]
    training: Callable[[], Features] | None = None
    whitening: Whitening | None = None
    model: str = ""

    def with_features(self, queries: Features, gallery: Features) -> "Found":
        """The same with other features, ranked by themselves."""
        space = type(self.space)(queries, gallery)
        return replace(self, space=space, source=FromFeatures(space, **asdict(self.search)))


class Step(Protocol):
    """A step: its name for the report, what it works on, and the work."""

    @property
    def name(self) -> str: ...

    @property
    def works_on(self) -> str: ...

    def __call__(self, found: Found) -> Found: ...


@dataclass(frozen=True)
class Whiten:
    """Whitens queries and gallery.

    Args:
        settings: the choices, where it is learnt here.
        learn_from: "database": the gallery as it comes; "train": the training drawings.
        ready: what was learnt before, instead.
    """

    settings: WhiteningSettings
    learn_from: str = "database"
    ready: Whitening | None = None
    name = "+ whitening"
    works_on = FEATURES

    def __post_init__(self) -> None:
        if self.ready is None and self.learn_from not in LEARN_FROM:
            raise InputError(
                f"learn_from is {' or '.join(LEARN_FROM)}, or what was learnt is given, not {self.learn_from!r}"
            )

    def check(self, *, width: int, num_gallery: int, num_training: int | None, model: str) -> None:
        """Refuse features it could not whiten; arguments as for `Evaluator.check`."""
        if self.ready is not None:
            self.ready.check(width=width, model=model)
            return
        if self.learn_from == "train" and num_training is None:
            raise InputError(
                "TEST.WHITEN.LEARN_FROM is train, but there are no features of training drawings; "
                "tools/extract.py --split all saves them with the others"
            )
        self.settings.check(
            width=width, num_features=(num_gallery if self.learn_from == "database" else num_training) or 0
        )

    def __call__(self, found: Found) -> Found:
        training, gallery = found.training, found.space.gallery
        num_training = None if training is None else 0
        self.check(width=found.space.width, num_gallery=len(gallery), num_training=num_training, model=found.model)
        whitening = self.ready
        if whitening is None:
            lessons = gallery if training is None or self.learn_from == "database" else training()
            whitening = learn_whitening(lessons, self.settings, model=found.model)
        turned = found.with_features(whitening(found.space.queries), whitening(found.space.gallery))
        return turned if self.ready is whitening else replace(turned, whitening=whitening)


@dataclass(frozen=True)
class FuseFeatures:
    """Takes the mean of the features of an object's queries for each of them."""

    name = "+ queries fused"
    works_on = FEATURES

    def __call__(self, found: Found) -> Found:
        return found.with_features(mean_of_objects(found.space.queries, found.objects), found.space.gallery)


@dataclass(frozen=True)
class FuseRanks:
    """Takes the best of the ranks that a drawing has for an object's queries."""

    name = "+ ranks fused"
    works_on = RANKINGS

    def __call__(self, found: Found) -> Found:
        return replace(found, source=BestOfRanks(found.source, found.objects))


@dataclass(frozen=True)
class Expand:
    """Expands queries, gallery or both."""

    settings: ExpansionSettings
    works_on = FEATURES

    @property
    def name(self) -> str:
        if self.settings.queries_too and self.settings.gallery_too:
            return "+ AQE and DBA"
        return "+ AQE" if self.settings.queries_too else "+ DBA"

    def __call__(self, found: Found) -> Found:
        search = found.search
        sides = expand(
            found.space.queries,
            found.space.gallery,
            memory_mb=search.memory_mb,
            precision=search.precision,
            **asdict(self.settings),
        )
        return found.with_features(*sides)


@dataclass(frozen=True)
class Rerank:
    """Ranks by k-reciprocal neighbours."""

    settings: RerankSettings
    name = "+ re-ranking"
    works_on = DISTANCES

    def __call__(self, found: Found) -> Found:
        search = found.search
        source = KReciprocal(found.space, self.settings, memory_mb=search.memory_mb, precision=search.precision)
        return replace(found, source=source)


def check_steps(steps: Sequence[Step], *, space: type[Space], scoring: ScoreSettings) -> None:
    """Refuse what would come to nothing, before there is any work in it.

    Args:
        steps: in order; one that would throw away what another made is refused.
        space: the metric; re-ranking asks for a distance.
        scoring: accept rates compare distances of all queries, and what is ranked anew must fill `top_k` columns.
    """
    for step in steps:
        if scoring.roc and isinstance(step, FuseRanks):
            raise InputError(NOT_COMPARABLE)
        if isinstance(step, Rerank):
            _check_reranking(step.settings, space=space, scoring=scoring)
    for before, after in pairwise(steps):
        now, then = _ORDER.index(before.works_on), _ORDER.index(after.works_on)
        if then < now or (then == now and now > 0):
            raise InputError(
                f"'{after.name}' works on {after.works_on} and would undo '{before.name}'; in TEST.STEPS what works on "
                f"features comes first, then RERANK, then FUSE by rank"
            )


def _check_reranking(settings: RerankSettings, *, space: type[Space], scoring: ScoreSettings) -> None:
    if space.squares_per_distance is None:
        raise InputError(NO_DISTANCE)
    if settings.top_n is not None and settings.top_n < scoring.top_k:
        raise InputError(
            f"top_n (TEST.RERANK.TOP_N) is {settings.top_n} and top_k (TEST.TOP_K) {scoring.top_k}; what is ranked anew "
            "must fill a result"
        )
    if settings.top_n is not None and scoring.roc:
        raise InputError(NOT_COMPARABLE)
