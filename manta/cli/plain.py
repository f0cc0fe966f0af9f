"""Text that moves nobody's cursor."""

import json
import unicodedata


def plain(text: str) -> str:
    """The text with control characters shown, not sent to the terminal."""
    return "".join(char if is_shown(char) else f"\\x{ord(char):02x}" for char in text)


def plain_json(text: str) -> str:
    """The same JSON on its one line: control characters become its own escapes."""
    return "".join(char if is_shown(char) else json.dumps(char)[1:-1] for char in text)


def is_shown(char: str) -> bool:
    """Also a space of any width, as in names in Japanese, which Python does not call printable."""
    return char.isprintable() or char == "\t" or unicodedata.category(char) == "Zs"
