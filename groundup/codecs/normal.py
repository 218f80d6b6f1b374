"""The normal form of text: what training, every prompt and the exported tokenizer turn a text into before it becomes ids."""

import re
import unicodedata
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # every control character but tab and line feed
_MARK = "\ufeff"  # a byte-order mark: no text, wherever joined files have left it

# The same steps for Hugging Face tokenizers, in regular expressions that other readers of the file know as well.
NORMALIZER: dict[str, Any] = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Replace", "pattern": {"Regex": r"\r\n?"}, "content": "\n"},
        {"type": "Replace", "pattern": {"Regex": r"[^\P{Cc}\t\n]|\uFEFF"}, "content": ""},
        {"type": "NFC"},
    ],
}


def normalise(text: str) -> str:
    r"""Line ends as \n, no control characters but tab and line feed, no byte-order marks, then canonical composition (Unicode NFC).

    Nothing else: spaces at line ends, blank lines and compatibility forms carry meaning in Markdown, code and names. Composition
    comes last: a control character that goes may have kept a letter from its accent.

    >>> normalise("cafe\u0301\r\nbar\x07")
    'café\nbar'
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", _CONTROL.sub("", text.replace(_MARK, "")))


def mend(text: str) -> str:
    """The text with paired surrogates joined and lone ones, which are no text, as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")
    return text
