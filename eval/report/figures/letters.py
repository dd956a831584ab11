"""Texts of figures whose letters the default font lacks: in installed fonts that have them, or as code points.

A letter that no installed font has is written as its code point, <U+65E5>, and one line says so: matplotlib by itself
draws the same box for all of them and prints a warning for each.
"""

import functools
import logging
import re
import unicodedata
from collections.abc import Sequence

import matplotlib
from matplotlib import font_manager, ft2font
from matplotlib.figure import Figure
from matplotlib.text import Text

# matplotlib's own fonts whose code points are not what their glyphs show: TeX's symbols, and boxes for all of Unicode.
_NO_TEXT = re.compile(r"cm[a-z]+10|STIX(NonUnicode|Size).*|Last Resort.*")
_SHAPED = hasattr(
    ft2font, "__libraqm_version__"
)  # older versions of matplotlib set letters from left to right, unjoined
_SHOWN = 10

_log = logging.getLogger(__name__)


def fit_letters(figure: Figure) -> None:
    """Give every text of `figure` fonts that have its letters; those that none has become code points, with a warning.

    Called when all texts are set, before the figure is saved. (Tick labels are numbers.)
    """
    lacking: dict[str, None] = {}
    for text in figure.findobj(Text):
        written = text.get_text()
        if written.isascii() and written.replace("\n", "").isprintable():
            continue
        families, absent = covering(written, tuple(text.get_fontfamily()))
        text.set_fontfamily(list(families))
        text.set_text("".join(f"<U+{ord(letter):04X}>" if letter in absent else letter for letter in written))
        lacking |= dict.fromkeys(absent)
    if lacking:
        _report("".join(lacking))


def covering(text: str, families: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`families` and the installed ones that add letters of `text`; and the letters that cannot be shown, in order."""
    letters = dict.fromkeys(text.replace("\n", ""))
    unshown = {letter for letter in letters if _cannot_be_set(letter)}
    missing = letters.keys() - unshown - _letters_of(_default(tuple(families)))
    chosen = list(families)
    for name, path in _installed():
        if not missing:
            break
        if found := missing & _letters_of(path):
            chosen.append(name)
            missing -= found
    return tuple(chosen), tuple(letter for letter in letters if letter in missing | unshown)


def _cannot_be_set(letter: str) -> bool:
    """Whether no font helps: control characters, and what is written from right to left by an older matplotlib."""
    backwards = unicodedata.bidirectional(letter) in ("R", "AL")
    return unicodedata.category(letter) == "Cc" or (backwards and not _SHAPED)


def _default(families: tuple[str, ...]) -> str:
    return font_manager.findfont(font_manager.FontProperties(family=list(families)))


@functools.cache
def _installed() -> tuple[tuple[str, str], ...]:
    """Families with the file of their most regular face, by name: the same on every run."""
    faces: dict[str, font_manager.FontEntry] = {}
    for face in sorted(font_manager.fontManager.ttflist, key=_irregularity):
        if not _NO_TEXT.fullmatch(face.name):
            faces.setdefault(face.name, face)
    return tuple((name, faces[name].fname) for name in sorted(faces))


def _irregularity(face: font_manager.FontEntry) -> tuple:
    return face.style != "normal", abs(int(face.weight) - 400), face.stretch != "normal", face.fname


@functools.cache
def _letters_of(path: str) -> frozenset[str]:
    """The letters that a font file has outlines for; none of bitmaps, as in fonts of coloured emoji."""
    try:
        font = ft2font.FT2Font(path)
    except (OSError, RuntimeError):  # listed in matplotlib's cache and gone since, or not a font that it reads
        return frozenset()
    return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()


@functools.cache
def _report(letters: str) -> None:
    """Once for the same letters, however many figures have them."""
    named = ", ".join(f"{letter!r} (U+{ord(letter):04X})" for letter in letters[:_SHOWN])
    more = f" and {len(letters) - _SHOWN} more" if len(letters) > _SHOWN else ""
    _log.warning(
        "The installed fonts lack %s%s, so figures show code points; install a font that has them, such as Noto, and "
        "delete %s/fontlist-*.json, where matplotlib remembers the fonts.",
        named,
        more,
        matplotlib.get_cachedir(),
    )
