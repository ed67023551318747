"""Messages of libtiff, which it would print to the terminal: collected per thread, and damage becomes an error."""

import contextlib
import ctypes
import functools
import logging
import re
import threading
from collections.abc import Iterator

from PIL import _imaging

# A damaged fax or packed strip is decoded to a page with wrong lines, and Pillow reports no error.
_DAMAGE = re.compile(r"\w*Decode\w*: |JPEGLib: |TIFFFill(Strip|Tile): ")
_MAX_MESSAGES = 20
_MAX_CHARACTERS = 200


@contextlib.contextmanager
def raise_libtiff_errors() -> Iterator[None]:
    """Raise OSError with the first message of libtiff in the block that reports damaged pixels; print none.

    The handler is set once per process and costs nothing while there are no messages.
    """
    collector = _install_collector()
    messages = collector.start()
    try:
        yield
    except Exception as error:
        if messages:
            raise OSError(messages[0]) from error
        raise
    damage = [message for message in messages if _DAMAGE.match(message)]
    if damage:
        raise OSError(damage[0])


class _Collector:
    """Collects the messages of libtiff in the thread that decodes."""

    _HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)

    def __init__(self) -> None:
        self._local = threading.local()
        self._handler = self._HANDLER(self._collect)  # kept alive, because libtiff holds only a pointer
        self._format = None
        logging.getLogger("PIL").addHandler(logging.NullHandler())  # its errors are raised too
        with contextlib.suppress(OSError, AttributeError, TypeError):  # another system, or Pillow without libtiff
            # Symbols are looked up in Pillow's module and in the libraries it was linked with.
            set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
            self._format = ctypes.CDLL(None).vsnprintf
            set_handler.argtypes, set_handler.restype = [self._HANDLER], ctypes.c_void_p
            set_handler(self._handler)

    def start(self) -> list[str]:
        """Return the new list of messages of this thread."""
        self._local.messages = messages = list[str]()
        return messages

    def _collect(self, module: bytes | None, text: bytes, arguments: int) -> None:
        messages = getattr(self._local, "messages", None)
        if messages is None or len(messages) >= _MAX_MESSAGES or self._format is None:
            return
        buffer = ctypes.create_string_buffer(_MAX_CHARACTERS)
        self._format(buffer, ctypes.c_size_t(len(buffer)), text, ctypes.c_void_p(arguments))
        messages.append(f"{(module or b'').decode(errors='replace')}: {buffer.value.decode(errors='replace')}")


@functools.cache
def _install_collector() -> _Collector:
    return _Collector()
