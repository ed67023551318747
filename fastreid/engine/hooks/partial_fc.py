"""Sample the classes of each iteration for Partial FC."""

from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.modeling.heads import EmbeddingHead


class SampleClasses(Hook):
    """Sample the classes of the classifier that each iteration uses.

    The sample depends only on the seed and the iteration, so a resumed run samples the same classes.
    An et al., Partial FC: Training 10 Million Identities on a Single Machine, 2021.

    Args:
        heads: head with the classifier.
        seed: seed of the run.
    """

    def __init__(self, heads: EmbeddingHead, seed: int):
        self.heads = heads
        self.seed = seed

    def before_step(self, loop: TrainLoop) -> None:
        self.heads.sample_classes(self.seed, loop.iteration)
