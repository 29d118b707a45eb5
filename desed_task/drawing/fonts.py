"""Characters missing from the pictures' font: another installed font, or the code in brackets."""

import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VISIBLE = "LMNPS"  # of Unicode's categories: letters, marks, numbers, punctuation, symbols
STYLE_SELECTORS = str.maketrans("", "", "\ufe0e\ufe0f")  # of the character before: text or emoji


def drawable(text: str) -> str:
    """The text; a visible character that no installed font has is replaced by its code, `[72AC]`.

    So two names in a script without a font differ in a picture. (matplotlib draws equal boxes.)
    """
    return "".join(
        f"[{ord(character):X}]"
        if unicodedata.category(character)[0] in VISIBLE and _family_with(character) is None
        else character
        for character in text.translate(STYLE_SELECTORS)
    )


def add_fallback_fonts(figure: "Figure") -> None:
    """Give the figure's texts the fonts they need beyond the default."""
    from matplotlib import rcParams
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    families = fallback_families("".join(text.get_text() for text in texts))
    if families:
        for text in texts:
            text.set_fontfamily([*rcParams["font.family"], *families])


def fallback_families(characters: Iterable[str]) -> list[str]:
    """Names of the installed fonts with the characters that the default font does not have."""
    families = {_family_with(character): None for character in set(characters)}
    return sorted(family for family in families if family)


def font_runs(text: str) -> list[tuple[str, str | None]]:
    """Parts of a text, and the file of the font that each needs; None: the default font."""
    parts = [(family, "".join(part)) for family, part in groupby(text, _family_with)]
    return [(part, _font_file(family) if family else None) for family, part in parts]


@cache
def default_font() -> str:
    """The file of the default font, which comes with matplotlib; imports nothing."""
    spec = find_spec("matplotlib")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


@cache
def _font_file(family: str) -> str:
    from matplotlib.font_manager import findfont

    return str(findfont(family))


@cache
def _family_with(character: str) -> str | None:
    """The font that has this character: "" for the default, None if no installed font has it."""
    if ord(character) < 128:
        return ""
    from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

    if get_font(findfont(FontProperties())).get_char_index(ord(character)):
        return ""
    entries = sorted(
        (entry for entry in fontManager.ttflist if "last resort" not in entry.name.lower()),
        key=lambda entry: (entry.style != "normal", entry.weight != 400, entry.name),
    )
    return next((e.name for e in entries if get_font(e.fname).get_char_index(ord(character))), None)
