"""The file format of a tokenizer: `tokenizer.json` as Hugging Face `tokenizers` reads and writes it.

Only byte-level BPE after one Split pattern is supported, as in Qwen's and in every tokenizer learned here. Anything
else that would change the ids is refused.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictInt, ValidationError

from groundup.codecs.bpe import halves, reachable
from groundup.codecs.normal import NORMALIZER
from groundup.core.errors import InputError


def _alphabet() -> list[str]:
    """The character of each byte (byte-level alphabet of GPT-2, 2019): printable Latin-1, else from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


_CHARACTERS = _alphabet()
BYTE_OF = {character: byte for byte, character in enumerate(_CHARACTERS)}


def _written(token: bytes) -> str:
    return "".join(map(_CHARACTERS.__getitem__, token))


def _read(name: str) -> bytes:
    return bytes(map(BYTE_OF.__getitem__, name))


# --- the parts of the file that decide ids ------------------------------------------------------------------


_Id = Annotated[StrictInt, Field(ge=0, lt=1 << 31)]


class _Added(BaseModel):
    id: _Id
    content: str = Field(min_length=1)


class _Normalizer(BaseModel):
    type: Literal["NFC"]


class _Regex(BaseModel):
    regex: str = Field(alias="Regex", min_length=1)


class _Split(BaseModel):
    type: Literal["Split"]
    pattern: _Regex
    behavior: Literal["Isolated"]
    invert: Literal[False]


class _ByteLevel(BaseModel):
    type: Literal["ByteLevel"]
    add_prefix_space: Literal[False]
    use_regex: Literal[False]


class _Sequence(BaseModel):
    type: Literal["Sequence"]
    pretokenizers: tuple[_Split, _ByteLevel]


class _Decoder(BaseModel):
    type: Literal["ByteLevel"]


class _Model(BaseModel):
    type: Literal["BPE"]
    dropout: None = None
    continuing_subword_prefix: Literal[""] | None = None
    end_of_word_suffix: Literal[""] | None = None
    ignore_merges: bool = False
    vocab: dict[str, _Id]
    merges: list[str] | list[tuple[str, str]]


class _File(BaseModel):
    truncation: None = None
    padding: None = None
    normalizer: _Normalizer | None = None
    pre_tokenizer: _Sequence
    decoder: _Decoder
    model: _Model
    added_tokens: list[_Added] = []


@dataclass(frozen=True)
class Vocabulary:
    """The content of a tokenizer.json."""

    pattern: str  # regular expression that splits text into the pieces inside which bytes merge
    ranks: dict[bytes, int]  # ids of the tokens that merging can produce, bytes included; a lower id merges first
    specials: dict[str, int]  # ids of the added tokens, which no text encodes to
    tokens: dict[int, bytes]  # the bytes of every id

    @staticmethod
    def of(pattern: str, ranks: dict[bytes, int], specials: dict[str, int]) -> "Vocabulary":
        """A vocabulary whose ids are these ranks and specials."""
        return Vocabulary(pattern, ranks, specials, _tokens(ranks, specials))


def _tokens(ids: dict[bytes, int], specials: dict[str, int]) -> dict[int, bytes]:
    return {id: token for token, id in ids.items()} | {id: name.encode() for name, id in specials.items()}


def read(table: dict[str, Any], origin: str) -> Vocabulary:
    """Check a tokenizer.json; `codecs.normal` replaces its normalizer. Raises InputError with `origin` and fault."""
    try:
        file = _File.model_validate(_without_own_normalizer(table))
    except ValidationError as error:
        first = error.errors()[0]
        found = "" if isinstance(first["input"], dict | list) else f", found {first['input']!r}"
        raise _refusal(origin, f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}{found}") from None
    specials = {token.content: token.id for token in file.added_tokens}
    try:
        spelled = {name: _read(name) for name in file.model.vocab if name not in specials}
    except KeyError as error:
        raise _refusal(origin, f"model.vocab: the character {error.args[0]!r} stands for no byte") from None
    ids = {token: file.model.vocab[name] for name, token in spelled.items()}
    if missing := [byte for byte in range(256) if bytes([byte]) not in ids]:
        raise _refusal(origin, f"model.vocab: {len(missing)} of the 256 bytes are missing, byte {missing[0]} first")
    taken = Counter([*ids.values(), *specials.values()])
    if len(taken) < taken.total():
        raise _refusal(origin, f"two tokens have the id {taken.most_common(1)[0][0]}")
    ranks = _ranks(ids, _pairs(file.model.merges, spelled, origin), file.model.ignore_merges, origin)
    pattern = file.pre_tokenizer.pretokenizers[0].pattern.regex
    return Vocabulary(pattern, ranks, specials, _tokens(ids, specials))


def _without_own_normalizer(table: Any) -> Any:
    return table | {"normalizer": None} if isinstance(table, dict) and table.get("normalizer") == NORMALIZER else table


def _pairs(
    merges: list[str] | list[tuple[str, str]], spelled: dict[str, bytes], origin: str
) -> list[tuple[bytes, bytes]]:
    pairs = []
    for number, merge in enumerate(merges):
        left, right = merge.partition(" ")[::2] if isinstance(merge, str) else merge
        if left not in spelled or right not in spelled:
            raise _refusal(origin, f"model.merges.{number}: {merge!r} is not two tokens of the vocabulary")
        pairs.append((spelled[left], spelled[right]))
    return pairs


def _ranks(
    ids: dict[bytes, int], pairs: list[tuple[bytes, bytes]], ignore_merges: bool, origin: str
) -> dict[bytes, int]:
    try:
        ranks = reachable(ids, pairs)
    except ValueError as error:
        raise _refusal(origin, f"model.merges: {error}") from None
    if ignore_merges and len(ranks) < len(ids):
        raise _refusal(origin, f"model.ignore_merges: {len(ids) - len(ranks)} tokens are not made by merges")
    return ranks


def _refusal(origin: str, what: str) -> InputError:
    return InputError(
        f"{origin}: {what}; only byte-level BPE behind one Split pattern can be read, as in the tokenizer.json of Qwen"
    )


def compose(vocabulary: Vocabulary, plain: tuple[str, ...]) -> dict[str, Any]:
    """The tokenizer.json of a learned vocabulary; decoders that skip special tokens keep the `plain` ones."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": vocabulary.pattern}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(id, name, name not in plain) for name, id in vocabulary.specials.items()],
        "normalizer": NORMALIZER,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {_written(token): id for token, id in sorted(vocabulary.ranks.items(), key=lambda item: item[1])},
            "merges": [[_written(left), _written(right)] for left, right in halves(vocabulary.ranks)],
        },
    }


def _added(id: int, name: str, special: bool) -> dict[str, Any]:
    return {
        "id": id,
        "content": name,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }
