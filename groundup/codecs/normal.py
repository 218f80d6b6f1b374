"""The normal form of text, applied before tokenisation: in training, in prompts and in the exported tokenizer."""

import re
import unicodedata
from functools import cache
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # every control character but tab and line feed
_MARK = "\ufeff"  # a byte-order mark: not text, also where joined files have left one inside

# The same steps for Hugging Face tokenizers, in regular expressions that other readers of the file support too.
NORMALIZER: dict[str, Any] = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Replace", "pattern": {"Regex": r"\r\n?"}, "content": "\n"},
        {"type": "Replace", "pattern": {"Regex": r"[^\P{Cc}\t\n]|\uFEFF"}, "content": ""},
        {"type": "NFC"},
    ],
}


def normalise(text: str) -> str:
    r"""Line ends as \n, no control characters but tab and line feed, no byte-order marks, then Unicode NFC.

    Nothing else changes: spaces at line ends, blank lines and compatibility forms have meaning in Markdown, code and
    names. NFC comes last: a removed control character may have separated a letter from its accent.

    >>> normalise("cafe\u0301\r\nbar\x07")
    'café\nbar'
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _CONTROL.sub("", text.replace(_MARK, ""))
    if unicodedata.is_normalized("NFC", text):
        return text
    return unicodedata.normalize("NFC", _many_accents().sub(_in_order, text))


@cache
def _many_accents() -> re.Pattern[str]:
    """Matches more accents on one letter than any script has: `unicodedata` sorts them in quadratic time."""
    known = range(0x300, 0x1F000)
    places = {place for place in known if unicodedata.combining(unicodedata.normalize("NFD", chr(place))[0])}
    first = sorted(places - {place + 1 for place in places})
    last = sorted(places - {place - 1 for place in places})
    ranges = "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(first, last, strict=True))
    return re.compile(f"[{ranges}]{{32,}}")


def _in_order(accents: re.Match[str]) -> str:
    """Accents one by one, in their canonical order."""
    apart = "".join(unicodedata.normalize("NFD", accent) for accent in accents[0])
    return "".join(sorted(apart, key=unicodedata.combining))


def repair_surrogates(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates, which are not text, replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")
    return text
