"""Fonts for text in figures: names and ids may be written in any script."""

import functools

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Tried after the font that Pillow contains (Latin only), in this order; Pillow searches the font folders of the system.
SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "wqy-microhei.ttc",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "arial.ttf",
    "msyh.ttc",
    "malgun.ttf",
    "msgothic.ttc",
    "unifont.otf",
)
_MISSING = "\uffff"  # no font has a glyph for it, so it is drawn as the glyph of missing characters


def choose_font(text: str, size_px: float) -> tuple[Font, str]:
    """Return the first font that has all characters of a text, and the text to draw with it.

    If no font of the system has all of them, the one that has most is used, and the others are written as their code
    points, such as "\\u4e2d".

    Args:
        text: one line.
        size_px: font size in px.
    """
    fonts = _load_fonts(size_px)
    font = min(fonts, key=lambda candidate: sum(not _has_glyph(candidate, character) for character in set(text)))
    return font, _escape_missing(text, font)


def shorten_text(text: str, *, size_px: float, width_px: float) -> tuple[Font, str]:
    """Return a font and a text to draw with it, shortened in the middle if it is wider than `width_px`.

    The end takes up to half the width, because names of files differ there; the start takes the rest.

    Args:
        text: one line, which may be in any script.
        size_px: font size in px.
        width_px: maximum width of the result in px.
    """
    font, shown = choose_font(text, size_px)
    if font.getlength(shown) <= width_px:
        return font, shown
    pieces = [_escape_missing(character, font) for character in text]
    start, end, num_end = "", "", 0
    while num_end < len(pieces):
        longer = pieces[-1 - num_end] + end
        # The last character is shown even if its code point is wider than half.
        if font.getlength(f"…{longer}") > (width_px / 2 if num_end else width_px):
            break
        end, num_end = longer, num_end + 1
    for piece in pieces[: len(pieces) - num_end]:
        if font.getlength(f"{start}{piece}…{end}") > width_px:
            break
        start += piece
    return font, f"{start}…{end}"


def _escape_missing(text: str, font: Font) -> str:
    return "".join(character if _has_glyph(font, character) else ascii(character)[1:-1] for character in text)


@functools.lru_cache(maxsize=8)
def _load_fonts(size_px: float) -> list[Font]:
    """Return Pillow's font and the fonts of SYSTEM_FONTS that are installed."""
    fonts: list[Font] = [ImageFont.load_default(size=size_px)]
    for name in SYSTEM_FONTS:
        try:
            fonts.append(ImageFont.truetype(name, size_px))
        except OSError:
            continue
    return fonts


@functools.lru_cache(maxsize=4096)
def _has_glyph(font: Font, character: str) -> bool:
    if character.isspace():
        return True
    plain = _without_shaping(font)
    mask = plain.getmask(character)
    return mask.getbbox() is not None and bytes(mask) != bytes(plain.getmask(_MISSING))


@functools.lru_cache(maxsize=64)
def _without_shaping(font: Font) -> Font:
    """Return a font that draws each character alone; shaping adds a dotted circle to accents, also to missing ones."""
    if isinstance(font, ImageFont.FreeTypeFont):
        return font.font_variant(layout_engine=ImageFont.Layout.BASIC)
    return font
