"""The page reader: pages of drawings from files or from a renderer."""

from collections.abc import Callable

from fastreid.data.io.image import Array
from fastreid.structures import SYNTHETIC_PREFIX, Drawing

ReadPage = Callable[[Drawing], Array]  # drawing -> page, uint8 (H, W), or (H, W, 3) RGB with INPUT.COLOR rgb
RenderPage = Callable[[str, int], Array]  # (address of a synthetic drawing, longest side in px or 0) -> page


class DrawingReader:
    """Read the page of any drawing: render synthetic drawings, read files for the others.

    A rendered page is uint8 (H, W), also if the others have color; `Pipeline` repeats its channel.

    Args:
        read_file: reads drawings that have a file.
        render: renders synthetic drawings.
        longest_px: longest side of a rendered page at most; 0: the size in its list.
        on_close: called when a loader that uses this reader ends.
    """

    def __init__(
        self,
        read_file: ReadPage,
        *,
        render: RenderPage,
        longest_px: int = 0,
        on_close: Callable[[], None] | None = None,
    ):
        self.read_file = read_file
        self.on_close = on_close
        self.render = render
        self.longest_px = longest_px

    def __call__(self, drawing: Drawing) -> Array:
        if drawing.is_synthetic:
            return self.render(drawing.path.removeprefix(SYNTHETIC_PREFIX), self.longest_px)
        return self.read_file(drawing)

    def close(self) -> None:
        """Report what a run should know at the end, such as pages that the cache could not deliver."""
        if self.on_close is not None:
            self.on_close()
