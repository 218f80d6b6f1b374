"""The tokenizer in a GGUF file, as the files of a Hugging Face tokenizer, and back.

Byte-level BPE is named by its pre-tokenizer, `tokenizer.ggml.pre`; SentencePiece's BPE has a score a token. Source:
llama.cpp, whose loader is the format's definition, and the tokenizer.json files of the models that it names.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np

from groundup.codecs.text import PATTERN, Tokenizer
from groundup.codecs.tokenizer_files import TokenizerFiles
from groundup.core.errors import InputError
from groundup.core.gguf_file import GGUFFile

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # token types
ROLES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}  # of Hugging Face, and of the keys here
_KEY = "tokenizer.ggml."
_WHOLE = "tokenizer.huggingface.json"  # the tokenizer.json itself, where a file carries it
_TEMPLATE = "tokenizer.chat_template"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a token of SentencePiece for a byte

_CASED = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
_UPPER = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _bytes(regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": regex}


def _split(pattern: str) -> list[dict[str, Any]]:
    return [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}, _bytes(False)]


_THREE_DIGITS = _split(PATTERN.replace(r"\p{N}|", r"\p{N}{1,3}|"))
_DIGITS = [{"type": "Digits", "individual_digits": True}, _bytes(True)]
PRE_TOKENIZERS = {
    "qwen2": _split(PATTERN),
    "llama-bpe": _THREE_DIGITS,
    "dbrx": _THREE_DIGITS,
    "smaug-bpe": _THREE_DIGITS,
    "smollm": _DIGITS,
    "gpt-2": [_bytes(True)],
    "olmo": [_bytes(True)],
    "tekken": _split(rf"{_CASED}|{_UPPER}|\p{{N}}{_REST}"),
    "gpt-4o": _split(rf"{_CASED}{_SHORT}|{_UPPER}{_SHORT}|\p{{N}}{{1,3}}{_REST}"),
}
_WHOLE_WORDS = ("llama-bpe", "tekken")  # a piece that is a token is not merged; and a text begins with bos


def files(file: GGUFFile) -> TokenizerFiles:
    """The tokenizer's files. Raises InputError for a tokenizer that is missing, damaged or of another kind."""
    found = _Metadata(file)
    model, tokens = found.text("model"), found.texts("tokens")
    [(most, times)] = Counter(tokens).most_common(1)
    if times > 1:
        raise InputError(f"{file.path}: the token {most!r:.60} stands {times} times in {_KEY}tokens")
    pre = found.text("pre") if model == "gpt2" else ""
    ids = {key: id for key in (*ROLES.values(), "eot", "eom") if (id := found.id(key, len(tokens))) is not None}
    roles = {f"{name}_token": tokens[ids[key]] for name, key in ROLES.items() if key in ids}
    begins = bool(file.metadata.get(f"{_KEY}add_bos_token", model == "llama" or pre in _WHOLE_WORDS)) and "bos" in ids
    ends = [ids[key] for key in ("eos", "eot", "eom") if key in ids]
    return TokenizerFiles(
        str(file.path),
        _table(found, model, pre, tokens)
        | ({"post_processor": _before(tokens[ids["bos"]], ids["bos"])} if begins else {}),
        roles,
        _templates(file),
        {"eos_token_id": list(dict.fromkeys(ends))},
    )


class _Metadata:
    """The values under `tokenizer.ggml.`, by type. Each raises InputError that names the key."""

    def __init__(self, file: GGUFFile):
        self.file = file

    def fault(self, key: str, wanted: str) -> InputError:
        """The error for a key that is missing or holds something else."""
        value = self.file.metadata.get(_KEY + key)
        found = "missing" if value is None else f"of type {type(value).__name__}"
        return InputError(f"{self.file.path}: {_KEY}{key} is {found}; expected {wanted}")

    def text(self, key: str) -> str:
        """A text."""
        if not isinstance(value := self.file.metadata.get(_KEY + key), str):
            raise self.fault(key, "a text")
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts."""
        if not isinstance(value := self.file.metadata.get(_KEY + key), list) or not value:
            raise self.fault(key, "a list of texts")
        return value

    def numbers(self, key: str, count: int, default: float | None = None) -> list[Any]:
        """A list of so many numbers, all `default` where it is missing and may be."""
        value = self.file.metadata.get(_KEY + key)
        if value is None and default is not None:
            return [default] * count
        if not isinstance(value, np.ndarray) or len(value) != count or not np.isfinite(value).all():
            raise self.fault(key, f"{count:,} numbers, one a token")
        found: list[Any] = value.tolist()
        return found

    def id(self, role: str, count: int) -> int | None:
        """The id of a special token, if there is one."""
        value = self.file.metadata.get(f"{_KEY}{role}_token_id")
        if value is None or (type(value) is int and 0 <= value < count):
            return value
        raise self.fault(f"{role}_token_id", f"an id below {count:,}")


def _templates(file: GGUFFile) -> dict[str, str]:
    """The chat templates by name."""
    named = {key.removeprefix(_TEMPLATE).removeprefix(".") or "default": text for key, text in file.metadata.items()
             if key == _TEMPLATE or key.startswith(f"{_TEMPLATE}.")}  # fmt: skip
    if other := [name for name, text in named.items() if not isinstance(text, str)]:
        raise InputError(f"{file.path}: the chat template {other[0]!r:.40} is no text")
    return named


def _table(found: _Metadata, model: str, pre: str, tokens: list[str]) -> Any:
    """The tokenizer.json: the one that the file carries, or one of its vocabulary."""
    if isinstance(whole := found.file.metadata.get(_WHOLE), str):
        try:
            return json.loads(whole)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{found.file.path}: {_WHOLE} is not valid JSON ({error})") from None
    kinds = found.numbers("token_type", len(tokens), NORMAL)
    if model == "gpt2":
        return _byte_level(found, pre, tokens, kinds)
    if model == "llama":
        return _sentencepiece(found, tokens, kinds)
    raise InputError(
        f"{found.file.path}: the tokenizer is {model!r:.40}; read are gpt2 (BPE on bytes) and llama (SentencePiece's)"
    )


def _before(name: str, id: int) -> dict[str, Any]:
    """The post-processor that puts a token before a text."""
    token, text, other = (
        {"SpecialToken": {"id": name, "type_id": 0}},
        *({"Sequence": {"id": key, "type_id": 0}} for key in "AB"),
    )
    known = {name: {"id": name, "ids": [id], "tokens": [name]}}
    return {
        "type": "TemplateProcessing",
        "single": [token, text],
        "pair": [token, text, other],
        "special_tokens": known,
    }


def _byte_level(found: _Metadata, pre: str, tokens: list[str], kinds: list[int]) -> dict[str, Any]:
    if pre not in PRE_TOKENIZERS:
        raise InputError(f"{found.file.path}: {_KEY}pre is {pre!r:.40}; read are {', '.join(PRE_TOKENIZERS)}")
    merges = found.texts("merges") if f"{_KEY}merges" in found.file.metadata else []
    return _composed(
        tokens,
        kinds,
        {"merges": merges, "ignore_merges": pre in _WHOLE_WORDS},
        normalizer={"type": "NFC"} if pre == "qwen2" else None,
        pre_tokenizer={"type": "Sequence", "pretokenizers": deepcopy(PRE_TOKENIZERS[pre])},
        decoder=_bytes(True),
    )


def _sentencepiece(found: _Metadata, tokens: list[str], kinds: list[int]) -> dict[str, Any]:
    """BPE on characters, in which the pair whose token has the highest score is merged first."""
    scores = found.numbers("scores", len(tokens))
    spaced = found.file.metadata.get(f"{_KEY}add_space_prefix", True)
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    text = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    first = [{"type": "Prepend", "prepend": "▁"}] if spaced else []
    last = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if spaced else []
    unknown = next((token for token, kind in zip(tokens, kinds, strict=True) if kind == UNKNOWN), None)
    return _composed(
        tokens,
        kinds,
        {
            "merges": _pairs({tokens[id]: score for id, score in enumerate(scores) if kinds[id] == NORMAL}),
            "unk_token": unknown,
            "fuse_unk": True,
            "byte_fallback": True,
        },
        normalizer={"type": "Sequence", "normalizers": [*first, space]},
        pre_tokenizer=None,
        decoder={"type": "Sequence", "decoders": [text, {"type": "ByteFallback"}, {"type": "Fuse"}, *last]},
    )


def _pairs(scores: Mapping[str, float]) -> list[list[str]]:
    """All pairs of tokens that make a token, that of the highest score first; equal ones in the order of the tokens."""
    return [
        [token[:cut], token[cut:]]
        for token in sorted(scores, key=lambda token: -scores[token])
        for cut in range(1, min(len(token), 200))
        if token[:cut] in scores and token[cut:] in scores
    ]


def _composed(tokens: list[str], kinds: list[int], model: dict[str, Any], **parts: Any) -> dict[str, Any]:
    added = [
        {"id": id, "content": token, "special": kind != USER_DEFINED, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        for id, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (UNKNOWN, CONTROL, USER_DEFINED) and token
    ]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    bpe = {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False}
    nothing = dict.fromkeys(("truncation", "padding", "post_processor"))
    return {"version": "1.0", **nothing, **parts, "added_tokens": added, "model": bpe | model | {"vocab": vocabulary}}


# --- out ----------------------------------------------------------------------------------------------------


def metadata(found: TokenizerFiles, size: int) -> dict[str, Any]:
    """The metadata of a tokenizer in a GGUF file of `size` embeddings, as llama.cpp needs it.

    Raises InputError for a vocabulary that does not fit, and for splits that llama.cpp has no name for.
    """
    model, added = found.table["model"], {each["content"]: each for each in found.table.get("added_tokens", ())}
    ids = model["vocab"] | {name: each["id"] for name, each in added.items()}
    if (last := max(ids.values())) >= size:
        raise InputError(f"{found.origin}: a token has the id {last}, and the model {size} embeddings; they differ")
    tokens, kinds = [f"[PAD{id}]" for id in range(size)], [UNUSED] * size
    for name, id in ids.items():
        tokens[id], kinds[id] = name, _kind(name, added.get(name), model)
    merges = [each if isinstance(each, str) else " ".join(each) for each in model["merges"]]
    if model.get("byte_fallback"):
        spaced = "Prepend" in str(found.table["normalizer"])
        own = {"model": "llama", "scores": _scores(tokens, merges), "add_space_prefix": spaced}
    else:
        own = {"model": "gpt2", "pre": _pre(found), "merges": merges}
    values = own | {"tokens": tokens, "token_type": kinds} | _roles(found, ids)
    template = {} if (text := found.templates.get("default")) is None else {_TEMPLATE: plain_template(text)}
    whole = json.dumps(found.table, ensure_ascii=False)
    return {_KEY + key: value for key, value in values.items()} | template | {_WHOLE: whole}


def _kind(name: str, added: Mapping[str, Any] | None, model: Mapping[str, Any]) -> int:
    if added is not None:
        return UNKNOWN if name == model.get("unk_token") else CONTROL if added.get("special") else USER_DEFINED
    return BYTE if model.get("byte_fallback") and _BYTE.fullmatch(name) else NORMAL


def _roles(found: TokenizerFiles, ids: Mapping[str, int]) -> dict[str, Any]:
    """The ids of special tokens. Where a text begins with none, bos is named all the same: else id 11 is taken."""
    names = {role: found.config.get(f"{role}_token") for role in ROLES}
    texts = {role: name["content"] if isinstance(name, dict) else name for role, name in names.items()}
    known = {role: ids[name] for role, name in texts.items() if isinstance(name, str) and name in ids}
    last, begin = known.get("pad", known.get("eos", 0)), Tokenizer.of(found).begin
    known = {"bos": last, "eos": last} | known | ({"bos": begin[0]} if begin else {})
    return {f"{ROLES[role]}_token_id": id for role, id in known.items()} | {"add_bos_token": bool(begin)}


def _scores(tokens: list[str], merges: list[str]) -> list[float]:
    """A score a token: the earlier a merge makes it, the higher."""
    made: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        made.setdefault(merge.replace(" ", "", 1), rank)
    return [-float(made.get(token, len(merges))) for token in tokens]


def _pre(found: TokenizerFiles) -> str:
    """llama.cpp's name of the splits."""
    steps = found.table.get("pre_tokenizer") or {}
    wanted = [_essence(step) for step in steps.get("pretokenizers", [steps])]
    whole = bool(found.table["model"].get("ignore_merges"))
    for name, known in PRE_TOKENIZERS.items():
        if wanted == [_essence(step) for step in known] and whole == (name in _WHOLE_WORDS):
            return name
    names = ", ".join(PRE_TOKENIZERS)
    raise InputError(f"{found.origin}: pre_tokenizer: llama.cpp has no name for these splits; known are {names}")


def _essence(step: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides the ids of a step."""
    return tuple(step.get(key) for key in ("type", "pattern", "behavior", "invert", "individual_digits", "use_regex"))


def plain_template(text: str) -> str:
    """A chat template whose tags of training, {% generation %} around answers, are such as every renderer knows."""
    tags = r"(\{%[-+]?\s*)(end)?generation(?=\s*[-+]?%\})"
    return re.sub(tags, lambda tag: tag[1] + ("endif" if tag[2] else "if true"), text)
