"""Gradient checkpointing: recompute activations in the backward pass, for less memory and a third more compute."""

import contextlib
from collections.abc import Iterator

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpoint_block(block: nn.Module, maps: Tensor) -> Tensor:
    """Apply a block, keeping only its input for the backward pass.

    Chen et al.: Training deep nets with sublinear memory cost (2016). Gradients and batch-norm statistics equal those
    of a normal call: the second update of the statistics is reverted.

    Args:
        block: module without random operations.
        maps: its input.

    Returns:
        The output of the block.
    """
    output: Tensor = checkpoint(
        block,
        maps,
        use_reentrant=False,
        preserve_rng_state=False,  # blocks contain no random operation
        context_fn=lambda: (contextlib.nullcontext(), _restore_buffers(block)),
    )
    return output


@contextlib.contextmanager
def _restore_buffers(block: nn.Module) -> Iterator[None]:
    before = [buffer.clone() for buffer in block.buffers()]
    try:
        yield
    finally:
        for buffer, saved in zip(block.buffers(), before, strict=True):
            buffer.copy_(saved)
