"""Text in figures: any script, and never wider than its cell."""

import pytest
from PIL import ImageFont

from fastreid.utils import fonts
from fastreid.utils.fonts import choose_font, shorten_text


@pytest.fixture
def use_fonts(monkeypatch):
    """Return a function that makes only Pillow's own font and the given fonts available."""

    def use(*names):
        monkeypatch.setattr(fonts, "SYSTEM_FONTS", names)
        fonts._load_fonts.cache_clear()

    yield use
    fonts._load_fonts.cache_clear()


@pytest.fixture
def latin_only(use_fonts):
    use_fonts()


def test_latin_text_is_unchanged_in_the_first_font():
    font, text = choose_font("D0812345 front_1.png", 14)
    assert (text, font.getname()) == ("D0812345 front_1.png", ImageFont.load_default(14).getname())


@pytest.mark.usefixtures("latin_only")
@pytest.mark.parametrize(
    ("text", "shown"), [("特許", "\\u7279\\u8a31"), ("a\x1b[31m", "a\\x1b[31m"), ("\N{GRINNING FACE}1", "\\U0001f6001")]
)
def test_characters_without_glyph_are_code_points(text, shown):
    assert choose_font(text, 14)[1] == shown


def test_cyrillic_text_takes_a_font_of_the_system():
    try:
        ImageFont.truetype("DejaVuSans.ttf", 14)
    except OSError:
        pytest.skip("the font DejaVu Sans is not installed")
    font, text = choose_font("Патент", 14)
    assert (text, font.getname()[0]) == ("Патент", "DejaVu Sans")


def test_accents_without_glyph_are_code_points(use_fonts):
    use_fonts("DejaVuSans.ttf")
    thai = "\u0e40\u0e01\u0e49\u0e32\u0e2d\u0e35"
    font, text = choose_font(f"\u0416{thai}", 14)
    if font.getname()[0] != "DejaVu Sans":
        pytest.skip("the font DejaVu Sans is not installed")
    assert text == "\u0416" + ascii(thai)[1:-1]


@pytest.mark.parametrize("text", ["x" * 120, "W" * 30, "特許" * 40, "Патент" * 30])
def test_shortened_text_fits_and_keeps_both_ends(text):
    font, shown = shorten_text(text, size_px=14, width_px=160)
    assert font.getlength(shown) <= 160
    assert (shown[0], shown[-1]) == (choose_font(text, 14)[1][0], choose_font(text, 14)[1][-1])


@pytest.mark.usefixtures("latin_only")
@pytest.mark.parametrize("name", ["特許一二三四五六七_12.png", "USD081 " + "特" * 30 + "_12.png", "特" * 60 + "12.png"])
def test_end_of_a_name_stays_visible_without_a_font(name):
    font, shown = shorten_text(name, size_px=12, width_px=146)
    assert font.getlength(shown) <= 146
    assert shown.endswith("12.png")
    assert shown.partition("…")[0]


def test_last_character_is_shown_in_a_narrow_cell():
    font, shown = shorten_text("abcdW", size_px=14, width_px=28)
    assert shown == "…W"
    assert font.getlength(shown) <= 28


def test_text_that_fits_is_not_shortened():
    assert shorten_text("D1", size_px=14, width_px=160)[1] == "D1"
