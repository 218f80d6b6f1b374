"""The tokenizer: text to ids and back by byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019).

rustbpe learns the merges and tiktoken applies them: each is several times as fast as Hugging Face tokenizers
(`benchmarks/tokenizer.py`), which reads the same file and gives the same ids.
"""

import json
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import rustbpe
import tiktoken

from groundup.codecs import tokenizer_json
from groundup.codecs.call_format import CallFormat
from groundup.codecs.call_formats.hermes import HERMES
from groundup.codecs.chat_template import ChatTemplate
from groundup.codecs.detections import LOCATIONS
from groundup.codecs.library import LibraryVocabulary
from groundup.codecs.normal import NORMALIZER, normalise, repair_surrogates
from groundup.codecs.tokenizer_files import TokenizerFiles
from groundup.codecs.tokenizer_json import Vocabulary
from groundup.core.errors import InputError
from groundup.core.files import digest, write_json

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>")
IMAGE_TOKENS = (
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
)  # image tokens: around an image, and one a patch
VISION_TOKENS = (*SPECIAL_TOKENS, *IMAGE_TOKENS, *LOCATIONS)  # special tokens of a vision-language vocabulary
ANSWER_TOKENS = (*SPECIAL_TOKENS[3:], *LOCATIONS)  # special tokens inside an assistant's answer
CHAT_TEMPLATE = Path(__file__).with_name("chat.jinja")
BYTES = 256

# The pre-tokeniser of Qwen2 ("qwen2" in llama.cpp): a word with the punctuation mark before it, a digit, punctuation,
# line ends; then spaces, without the last one if text follows.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
_SPACES = r"|\s+(?!\S)|"
PATTERN = _WORDS + _SPACES + r"\s+"

# In _SPACES the regex engine stores a backtrack entry for each space, and fails at a million. This needs one for 256:
_MANY_SPACES = r"|(?=\s{512})(?:(?>\s+)(?!\S)|(?:\s{256})*(?:\s(?=\s))+)" + _SPACES


class Tokenizer:
    """A vocabulary of `size` ids: bytes, merged bytes, and special tokens that no text encodes to.

    Made by `learn` or `load`; `origin` is the name that errors give it, `table` the tokenizer.json it was read from.
    `template` is the chat template that a model brings; None for ours.
    """

    template: ChatTemplate | None = None
    calls: CallFormat | None = HERMES  # how the model writes calls of tools; None: it writes none
    opens_thought = False  # whether a prompt ends with what opens the reasoning
    opens_with_space = False  # whether a text's first token begins with a space that is none of the text's

    _vocabulary: Vocabulary | LibraryVocabulary

    def __init__(self, vocabulary: Vocabulary, origin: str, table: dict[str, Any] | None = None):
        self._vocabulary = vocabulary
        self._origin = origin
        self._loaded = table
        self.size = max(vocabulary.tokens) + 1
        try:
            self._encoding = tiktoken.Encoding(
                origin, pat_str=_engine_pattern(vocabulary.pattern), mergeable_ranks=vocabulary.ranks, special_tokens={}
            )
        except ValueError as error:
            raise InputError(
                f"{origin}: pre_tokenizer: the pattern is not a regular expression that can be used ({error})"
            ) from None

    @staticmethod
    def learn(texts: Iterable[str], vocab_size: int, specials: Sequence[str] = SPECIAL_TOKENS) -> "Tokenizer":
        """Learn a vocabulary of `vocab_size` ids, or fewer if the texts do not support that many merges.

        The result is the same for the same texts, on any number of threads. Texts are streamed: memory grows with the
        number of different words. Raises InputError if `vocab_size` cannot hold the bytes and the `specials`.
        """
        merged = vocab_size - len(specials)
        if merged < BYTES:
            raise InputError(
                f"a vocabulary of {vocab_size} ids is too small; the bytes and special tokens alone are"
                f" {BYTES + len(specials)}"
            )
        trainer = rustbpe.Tokenizer()
        # The trainer holds this many texts at once.
        trainer.train_from_iterator(
            (normalise(repair_surrogates(text)) for text in texts),
            merged,
            buffer_size=256,
            pattern=_engine_pattern(PATTERN),
        )
        ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
        ids = {name: len(ranks) + place for place, name in enumerate(specials)}
        return Tokenizer(Vocabulary.of(PATTERN, ranks, ids), "the learned vocabulary")

    @staticmethod
    def load(folder: Path) -> "Tokenizer":
        """Read the tokenizer of a folder or a GGUF file: ours, or another project's as it comes (`codecs.foreign`).

        Raises InputError as `TokenizerFiles.read`, and for a tokenizer.json that cannot be used.
        """
        return Tokenizer.of(TokenizerFiles.read(folder))

    @staticmethod
    def of(files: TokenizerFiles) -> "Tokenizer":
        """The same of files that are read. Ours are those that declare our normal form."""
        from groundup.codecs.foreign import ForeignTokenizer  # which is made of this class

        if isinstance(files.table, dict) and files.table.get("normalizer") != NORMALIZER:
            return ForeignTokenizer(files)
        return Tokenizer.read(files.table, files.origin)

    @staticmethod
    def read(table: Any, origin: str = "tokenizer.json") -> "Tokenizer":
        """The vocabulary of a tokenizer.json, behind our normal form and our chat template.

        Raises InputError that names `origin` for any other sort than byte-level BPE behind one Split pattern.
        """
        return Tokenizer(tokenizer_json.read(table, origin), origin, table)

    def save(self, folder: Path) -> None:
        """Write tokenizer.json (a loaded one with our normalizer) and tokenizer_config.json with the chat template."""
        write_json(folder / "tokenizer.json", self._table)
        write_json(
            folder / "tokenizer_config.json",
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "eos_token": "<|im_end|>" if "<|im_end|>" in self._vocabulary.specials else None,
                "pad_token": "<|endoftext|>" if "<|endoftext|>" in self._vocabulary.specials else None,
                "clean_up_tokenization_spaces": False,
                "chat_template": CHAT_TEMPLATE.read_text(encoding="utf-8"),
            },
        )

    @cached_property
    def _table(self) -> dict[str, Any]:
        if self._loaded is None:
            assert isinstance(self._vocabulary, Vocabulary), "another project's comes with its table"
            return tokenizer_json.compose(self._vocabulary, ANSWER_TOKENS)
        return self._loaded | {"normalizer": NORMALIZER}

    @property
    def json(self) -> str:
        """The tokenizer.json without its normalizer, for grammars, which constrain answers byte by byte."""
        return json.dumps(self._table | {"normalizer": None}, ensure_ascii=False)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the vocabulary, for fingerprints."""
        return digest(self._table)

    def encode(self, text: str, opens: bool = True) -> list[int]:
        """The ids of a text in its normal form (`codecs.normal`); never a special id, whatever the text contains.

        Training and prompts both encode here, so they agree. Decoding gives the normal form back. `opens` says whether
        the text stands at the start of a sequence, which is the same to a vocabulary of ours.
        """
        return self._encoding.encode_ordinary(normalise(repair_surrogates(text)))

    def encode_start(self, text: str) -> list[int]:
        """The ids of a text that begins a sequence, behind what stands before each (`begin`)."""
        return [*self.begin, *self.encode(text)]

    def encode_after(self, text: str) -> list[int]:
        """The ids of a text, a space at its beginning included, that goes on with another."""
        return self.encode(text, opens=False)

    def encode_batch(self, texts: Sequence[str], threads: int = 1) -> list[list[int]]:
        """The ids of each text, on parallel threads: the encoder releases the interpreter's lock."""
        if threads == 1 or len(texts) < 2:
            return [self.encode(text) for text in texts]
        step = -(-len(texts) // (8 * threads))  # eight chunks a thread, so that all threads end at nearly the same time
        shares = [texts[start : start + step] for start in range(0, len(texts), step)]
        with ThreadPoolExecutor(threads) as pool:
            return [ids for share in pool.map(self.encode_batch, shares) for ids in share]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; invalid UTF-8 becomes U+FFFD. Raises InputError for an id outside the vocabulary."""
        text = self.decode_bytes(ids).decode("utf-8", errors="replace")
        return text.removeprefix(" ") if self.opens_with_space else text

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of ids, special tokens as they are written. Raises InputError for an id outside the vocabulary."""
        try:
            return b"".join(map(self._vocabulary.tokens.__getitem__, ids))
        except KeyError as error:
            raise InputError(f"{self._origin}: no token has the id {error.args[0]}; there are {self.size}") from None

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one id. Raises InputError for an id outside the vocabulary."""
        return self.decode_bytes((id,))

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of ids as they come, a character only once it is whole; together equal to `decode`."""
        decoder, opening = getincrementaldecoder("utf-8")(errors="replace"), self.opens_with_space
        for id in ids:
            text = decoder.decode(self.token_bytes(id))
            if opening and text:
                text, opening = text.removeprefix(" "), False
            if text:
                yield text
        if rest := decoder.decode(b"", final=True):
            yield rest

    def special(self, name: str) -> int:
        """The id of a special token. Raises InputError if this tokenizer has none of that name."""
        try:
            return self._vocabulary.specials[name]
        except KeyError:
            raise InputError(
                f"{self._origin}: there is no special token {name}; add it to added_tokens or learn a tokenizer"
            ) from None

    def knows(self, name: str) -> bool:
        """Whether it has a special token of that name."""
        return name in self._vocabulary.specials

    @property
    def sees(self) -> bool:
        """Whether it has the special tokens of images."""
        return all(map(self.knows, IMAGE_TOKENS))

    @property
    def begin(self) -> tuple[int, ...]:
        """The ids that stand before a text."""
        return ()

    @property
    def end(self) -> int:
        """The id that ends a document."""
        return self.special("<|endoftext|>")

    @property
    def turn_end(self) -> int:
        """The id that ends an assistant's turn."""
        return self.im_end

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids at which generation stops, the end of a turn first."""
        return (self.im_end, self.end)

    @property
    def pad(self) -> int:
        """The id of padding."""
        return self.end

    @property
    def im_start(self) -> int:
        """The id that starts a turn of a conversation."""
        return self.special("<|im_start|>")

    @property
    def im_end(self) -> int:
        """The id that ends a turn of a conversation."""
        return self.special("<|im_end|>")


def _engine_pattern(pattern: str) -> str:
    """The same pattern for rustbpe and tiktoken: they match _WORDS in one step if it is a group.

    They drop text that no alternative matches; Hugging Face tokenizers keeps it as a piece. So an unknown pattern gets
    one more alternative.
    """
    whole = f"(?:{_WORDS}){_SPACES}\\s+" if pattern == PATTERN else rf"{pattern}|(?:(?!{pattern})[\s\S])+"
    return whole.replace(_SPACES, _MANY_SPACES)
