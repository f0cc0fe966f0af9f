"""Text that moves nobody's cursor, and turns nobody's lines."""

import json
import unicodedata
from collections.abc import Callable

_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_shown(char: str) -> bool:
    """On a terminal. Also a space of any width, as in names in Japanese, which Python does not call printable."""
    return char.isprintable() or char == "\t" or unicodedata.category(char) == "Zs"


def is_harmless(char: str) -> bool:
    """On a page, which joins letters and pictures by marks that a terminal knows nothing of."""
    return char == "\t" or (unicodedata.category(char) not in ("Cc", "Cs") and char not in _TURNS)


def plain(text: str, shown: Callable[[str], bool] = is_shown) -> str:
    """The text with other characters written out, not sent to the terminal."""
    return "".join(char if shown(char) else f"\\x{ord(char):02x}" for char in text)


def plain_json(text: str, shown: Callable[[str], bool] = is_shown) -> str:
    """The same JSON on its one line: other characters become its own escapes."""
    return "".join(char if shown(char) else json.dumps(char)[1:-1] for char in text)
