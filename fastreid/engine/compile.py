"""Calls of a network through torch.compile, which give way to plain ones where they fail."""

import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import nn

from fastreid.utils.errors import FastreidError
from fastreid.utils.logger import get_logger
from fastreid.utils.text import summarize_error

Result = TypeVar("Result")
Network = Callable[..., Any]


class CompiledCaller:
    """Calls a network, compiled or plain. The network stays what it is: its tensors keep their names.

    What is asked for the first time, of another size or in another mode, is compiled then. If that fails, whatever the
    reason, the buffers are put back as they were, the log says why, and this and all further calls are plain.

    Args:
        wrap: gives what is called: the network, or what several processes wrap it in.
        compiled: go through torch.compile.
    """

    def __init__(self, wrap: Callable[[], nn.Module], *, compiled: bool = False):
        self.wrap = wrap
        self.compiled = compiled
        self.rewrap()

    def rewrap(self) -> None:
        """Wrap the network anew, for one whose parameters train otherwise than before."""
        self._plain = self.wrap()
        self._network: Network = torch.compile(self._plain) if self.compiled else self._plain
        self._known: set[Hashable] = set()

    def run(self, work: Callable[[Network], Result], *, kind: tuple[Hashable, ...] = ()) -> Result:
        """What `work` makes of the network.

        Args:
            work: calls the network it is given; if it fails it must be able to start again, but for the buffers.
            kind: what a compiled call depends on, such as mode and size; told in the log.
        """
        if not self.compiled or kind in self._known:
            return work(self._network)
        kept = [(buffer, buffer.clone()) for buffer in self._plain.buffers()]
        get_logger().info(f"compiling the network for {', '.join(map(str, kind))}; this may take minutes")
        start = time.perf_counter()
        try:
            answer = work(self._network)
        except (FastreidError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # compilers fail in many ways; where the fault is ours, the plain call shows it
            self._give_up(error)
            with torch.no_grad():
                for buffer, before in kept:
                    buffer.copy_(before)
            return work(self._network)
        self._known.add(kind)
        get_logger().info(f"compiled and done in {time.perf_counter() - start:.1f} s")
        return answer

    def _give_up(self, error: Exception) -> None:
        why = summarize_error(error).partition(" Set TORCH")[0]  # what torch says then is for those who mend it
        get_logger().warning(
            f"MODEL.COMPILE: the network cannot be compiled here ({type(error).__name__}: {why}); going on without"
        )
        self.compiled = False
        self.rewrap()
