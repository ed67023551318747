"""Call a network through torch.compile, with a fallback to plain calls."""

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
    """Call a network, compiled or plain. The network itself does not change: its tensors keep their names.

    The network is compiled on the first call of each signature. If that fails, for any reason, the buffers are
    restored, the log contains the cause, and this and all further calls are plain.

    Args:
        wrap: returns the module to call: the network, or the network wrapped for several processes.
        compiled: use torch.compile.
    """

    def __init__(self, wrap: Callable[[], nn.Module], *, compiled: bool = False):
        self.wrap = wrap
        self.compiled = compiled
        self.rewrap()

    def rewrap(self) -> None:
        """Wrap the network again, for example after the set of trainable parameters has changed."""
        self._plain = self.wrap()
        self._network: Network = torch.compile(self._plain) if self.compiled else self._plain
        self._compiled_signatures: set[Hashable] = set()

    def run(self, function: Callable[[Network], Result], *, signature: tuple[Hashable, ...] = ()) -> Result:
        """Return `function(network)`.

        Args:
            function: calls the network; if the compiler fails, it is called again, so its only side effects may be on
                the buffers of the network.
            signature: what a compiled call depends on, such as mode and shape; part of the log line.
        """
        if not self.compiled or signature in self._compiled_signatures:
            return function(self._network)
        saved_buffers = [(buffer, buffer.clone()) for buffer in self._plain.buffers()]
        get_logger().info(f"compiling the network for {', '.join(map(str, signature))}; this may take minutes")
        start = time.perf_counter()
        try:
            result = function(self._network)
        except (FastreidError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # compilers fail in many ways; if the error is in our code, the plain call raises it
            self._disable(error)
            with torch.no_grad():
                for buffer, value in saved_buffers:
                    buffer.copy_(value)
            return function(self._network)
        self._compiled_signatures.add(signature)
        get_logger().info(f"compiled and called in {time.perf_counter() - start:.1f} s")
        return result

    def _disable(self, error: Exception) -> None:
        cause = summarize_error(error).partition(" Set TORCH")[0]  # the rest is for developers of the compiler
        get_logger().warning(
            f"MODEL.COMPILE: the network cannot be compiled on this system ({type(error).__name__}: {cause}); "
            "continuing without compilation"
        )
        self.compiled = False
        self.rewrap()
