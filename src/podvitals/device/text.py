"""Text that came from another party (a driver, a kernel log), made safe to store and to print."""

import unicodedata

LONGEST_MESSAGE = 1024
"""Bytes; the kubelet cuts longer messages, even inside a character (CONTRACT §3), so podvitals cuts first."""
_ELLIPSIS = "..."


def clean(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """One line without control, format or bidirectional characters (they are escaped: \\xNN, \\uNNNN), cut at a character to `limit` bytes.

    Lone surrogates (what is left of bad UTF-8) become U+FFFD. Idempotent."""
    # Beyond `limit` characters nothing can survive the cut: a 10 MB message must not cost 10 MB of work.
    text = text[: limit + 1]
    if not (text.isascii() and text.isprintable()):
        text = "".join(_visible(character) for character in text)
    if len(text) <= limit // 4 or len(data := text.encode()) <= limit:
        return text
    return data[: limit - len(_ELLIPSIS)].decode(errors="ignore") + _ELLIPSIS


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs":
        return "�"
    if category in ("Cc", "Cf", "Zl", "Zp", "Co", "Cn"):
        code = ord(character)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return character
