"""Tokenizers of other projects, applied by Hugging Face `tokenizers`: BPE on bytes, or with byte fallback.

The library does what tokenizer.json says, whatever its normalizer and its splits. What is checked here is what it needs
to be a tokenizer of a language model that generates: every id has its bytes, no piece depends on chance.
"""

import json
import re
from collections.abc import Collection
from functools import cached_property
from typing import Annotated, Any, Literal

import tokenizers
from pydantic import BaseModel, Field, StrictInt, ValidationError

from groundup.codecs.tokenizer_json import BYTE_OF
from groundup.core.errors import InputError

MOST_ID = 1 << 22
_BREAK = "\U0010fffe"  # no character: stands before text in the middle of a sequence
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")

_Id = Annotated[StrictInt, Field(ge=0, lt=MOST_ID)]


class AddedToken(BaseModel):
    """An added token: matched before text is split, with the spaces beside it where `lstrip` and `rstrip` say so."""

    id: _Id
    content: str = Field(min_length=1)
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False


class _Model(BaseModel):
    type: Literal["BPE"]
    dropout: float | None = Field(None, ge=0, le=0)
    continuing_subword_prefix: Literal[""] | None = None
    end_of_word_suffix: Literal[""] | None = None
    byte_fallback: bool = False
    unk_token: str | None = None
    vocab: dict[str, _Id] = Field(min_length=1)


class _Step(BaseModel):
    """A step of a decoder: those that give a token the same bytes wherever it stands, and a space that opens a text."""

    type: Literal["ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"]
    content: str = ""
    start: int = Field(0, ge=0, le=1)
    stop: Literal[0] = 0
    replacement: str = "▁"
    prepend_scheme: Literal["always", "first", "never"] = "always"
    pattern: dict[str, str] = {}


class _Decoder(BaseModel):
    type: Literal["Sequence"]
    decoders: list[_Step] = Field(min_length=1)


class _File(BaseModel):
    model: _Model
    decoder: _Decoder | _Step = Field(discriminator=None)
    added_tokens: list[AddedToken] = []


class LibraryVocabulary:
    """A tokenizer.json that the library applies. `control` are the added tokens that no text encodes to.

    Those are the special ones, those that tokenizer_config.json names, and those that `template` writes, the chat
    template: <tool_call> and <think> are often no special tokens. Raises InputError with `origin` for a file that
    cannot be used, naming its part.
    """

    def __init__(self, table: Any, named: Collection[str], template: str, origin: str):
        file = _checked(table, origin)
        known = {each.content for each in file.added_tokens}
        for name in sorted(set(named) & file.model.vocab.keys() - known):
            file.added_tokens.append(AddedToken(id=file.model.vocab[name], content=name, special=True))
        self.added = file.added_tokens
        steps = file.decoder.decoders if isinstance(file.decoder, _Decoder) else [file.decoder]
        self.control = {each.content: each for each in self.added if each.special or _written(each.content, template)}
        self._library = _loaded(table, self.added, self.control.keys(), origin)
        self.tokens = {id: _bytes(name, steps) for name, id in file.model.vocab.items()}
        self.tokens |= {each.id: _bytes(each.content, steps) for each in self.added}
        self.opens_with_space = any(
            (step.type == "Strip" and step.start == 1) or (step.type == "Metaspace" and step.prepend_scheme != "never")
            for step in steps
        )
        self._require_one_id_each(file, origin)

    @property
    def specials(self) -> dict[str, int]:
        """The ids of the control tokens."""
        return {name: token.id for name, token in self.control.items()}

    def encode(self, text: str, opens: bool = True) -> list[int]:
        """The ids of a text, never of a control token; `opens` says whether it stands at the start of a sequence."""
        if opens:
            return self._library.encode(text, add_special_tokens=False).ids
        return self._library.encode(_BREAK + text, add_special_tokens=False).ids[1:]

    def around(self) -> tuple[list[int], list[int]]:
        """The ids that the file's post-processor puts before and after a text."""
        plain = self._library.encode("a", add_special_tokens=False).ids
        whole = self._library.encode("a").ids
        places = [at for at in range(len(whole) - len(plain) + 1) if whole[at : at + len(plain)] == plain]
        return (whole[: places[0]], whole[places[0] + len(plain) :]) if places and plain else ([], [])

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The control tokens in a rendered template, the longest first, with the spaces that they swallow."""
        longest_first = sorted(self.control.values(), key=lambda token: -len(token.content))
        first = "".join({re.escape(token.content[0]) for token in longest_first}) + r"\s" * any(
            token.lstrip for token in longest_first
        )
        return re.compile(f"(?=[{first}])(?:{'|'.join(map(_alternative, longest_first))})" if first else r"(?!)")

    def _require_one_id_each(self, file: _File, origin: str) -> None:
        taken: dict[int, str] = {}
        for name, id in [*file.model.vocab.items(), *((each.content, each.id) for each in self.added)]:
            if taken.setdefault(id, name) != name:
                raise InputError(f"{origin}: the tokens {taken[id]!r:.60} and {name!r:.60} have the same id {id}")
            if (known := self._library.token_to_id(name)) != id:
                raise InputError(f"{origin}: the token {name!r:.60} has the id {id}, where {known} would follow")


def _checked(table: Any, origin: str) -> _File:
    try:
        return _File.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        found = "" if isinstance(first["input"], dict | list) else f", found {first['input']!r:.60}"
        where = ".".join(map(str, first["loc"])) or "content"
        raise InputError(
            f"{origin}: {where}: {first['msg']}{found}; read is BPE on bytes, or with byte fallback, as of Llama, Qwen,"
            " Mistral, Gemma and OLMo"
        ) from None


def _loaded(
    table: dict[str, Any], added_tokens: list[AddedToken], control: Collection[str], origin: str
) -> tokenizers.Tokenizer:
    """The library's tokenizer, in which control tokens are text."""
    added = [token.model_dump() | {"special": token.content in control} for token in added_tokens]
    ours = table | {"truncation": None, "padding": None, "added_tokens": added}
    try:
        library = tokenizers.Tokenizer.from_str(json.dumps(ours))
    except Exception as error:  # noqa: BLE001 - the library's own class is this one
        raise InputError(f"{origin}: is no tokenizer that can be used ({str(error)[:200]})") from None
    library.encode_special_tokens = True
    library.add_tokens([tokenizers.AddedToken(_BREAK, normalized=False, special=False)])
    return library


def _written(name: str, template: str) -> bool:
    """Whether a chat template writes an added token; runs of spaces and line ends are text."""
    return bool(name.strip(" \n\t▁")) and name in template


def _alternative(token: AddedToken) -> str:
    left, right = (r"\s*" if token.lstrip else ""), (r"\s*" if token.rstrip else "")
    edge = (r"(?<!\w)", r"(?!\w)") if token.single_word else ("", "")
    return f"{left}{edge[0]}(?P<t{token.id}>{re.escape(token.content)}){edge[1]}{right}"


def _bytes(name: str, steps: list[_Step]) -> bytes:
    """The bytes of a token of the vocabulary, as its decoder's steps write them."""
    for step in steps:
        match step.type:
            case "ByteLevel":
                return bytes(map(BYTE_OF.__getitem__, name)) if BYTE_OF.keys() >= set(name) else name.encode()
            case "Replace":
                name = name.replace(step.pattern.get("String", ""), step.content) if "String" in step.pattern else name
            case "Metaspace":
                name = name.replace(step.replacement, " ")
            case "ByteFallback" if found := _BYTE.fullmatch(name):
                return bytes([int(found[1], 16)])
    return name.encode()
