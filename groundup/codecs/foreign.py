"""The tokenizer of a model of another project: vocabulary, chat template and end-of-text ids as they come."""

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from groundup.codecs.call_format import of_template
from groundup.codecs.chat_template import ChatTemplate
from groundup.codecs.library import LibraryVocabulary
from groundup.codecs.normal import repair_surrogates
from groundup.codecs.text import CHAT_TEMPLATE, Tokenizer
from groundup.codecs.tokenizer_files import CONFIG, TokenizerFiles
from groundup.core.errors import InputError
from groundup.core.files import digest

_START, _END, _DOCUMENT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"


class ForeignTokenizer(Tokenizer):
    """A tokenizer that Hugging Face `tokenizers` applies. No normal form: text is encoded as it stands.

    Raises InputError for files that cannot be used, naming the file and its part.
    """

    template: ChatTemplate

    def __init__(self, files: TokenizerFiles):
        self._files, self._origin = files, files.origin
        named, templates = dict(_special_names(files)), "".join(files.templates.values())
        self._vocabulary = self.vocabulary = LibraryVocabulary(files.table, named.values(), templates, files.origin)
        self.size = max(self.vocabulary.tokens) + 1
        self.opens_with_space = self.vocabulary.opens_with_space
        self._ids = {each.content: each.id for each in self.vocabulary.added}
        self._named = {key: name for key, name in named.items() if name in self._ids}
        self.template = self._template()
        self.calls = of_template(self.template.tools_text)

    def encode(self, text: str, opens: bool = True) -> list[int]:
        """The ids of a text, as the file says; never a control token's, whatever the text contains."""
        return self.vocabulary.encode(repair_surrogates(text), opens)

    def encode_after(self, text: str) -> list[int]:
        """The ids of a text that goes on with another; a space that any text gets is not written twice."""
        doubled = text.startswith(" ") and self.token_bytes(self.encode("a", opens=False)[0]).startswith(b" ")
        return self.encode(text[1:] if doubled else text, opens=False)

    def spell(self, rendered: str, opens: bool, shown: Any) -> list[int]:
        """The ids of what a template wrote, its control tokens among them; `shown` gives hidden literals back."""
        ids: list[int] = []
        place = 0
        for match in [*self.vocabulary.pattern.finditer(rendered), None]:
            text = rendered[place : match.start() if match else None]
            ids += self.encode(shown(text), opens and not ids) if text else []
            if match:
                ids.append(int(str(match.lastgroup)[1:]))
                place = match.end()
        return ids

    def save(self, folder: Path) -> None:
        """Write the files as they came."""
        self._files.save(folder)

    @property
    def json(self) -> str:
        """The tokenizer.json, for grammars."""
        return json.dumps(self._files.table, ensure_ascii=False)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the files, for fingerprints."""
        return digest([self._files.table, self._files.config, self._files.templates, self._files.generation])

    @property
    def sees(self) -> bool:
        """No image: their templates show none."""
        return False

    @cached_property
    def begin(self) -> tuple[int, ...]:
        """The ids before a text: those of the post-processor. As in transformers, `add_bos_token` changes nothing here.

        Raises InputError for a file that puts something behind a text: nothing could be generated after it.
        """
        before, after = self.vocabulary.around()
        if after:
            raise InputError(f"{self._origin}: post_processor: puts the token {after[0]} behind each text; take it out")
        return tuple(before)

    @property
    def end(self) -> int:
        """The id that ends a document."""
        if self.knows(_DOCUMENT_END):
            return self.special(_DOCUMENT_END)
        return self._declared[0]

    @property
    def turn_end(self) -> int:
        """The id that ends an assistant's turn."""
        return self.ends[0]

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The ids at which generation stops: what the template writes behind an answer, and what the files declare."""
        return tuple(dict.fromkeys([*self._behind_an_answer(), *self._declared, self.end]))

    @property
    def pad(self) -> int:
        """The id of padding; the end of a document where none is declared."""
        return self._ids[self._named["pad_token"]] if "pad_token" in self._named else self.end

    @cached_property
    def _declared(self) -> list[int]:
        """The end-of-text ids of generation_config.json or config.json, and of the eos token."""
        found = self._files.generation.get("eos_token_id")
        ids = found if isinstance(found, list) else [] if found is None else [found]
        for id in ids:
            if type(id) is not int or id not in self.vocabulary.tokens:
                raise InputError(f"{self._origin}: no token has the id {id!r:.40}, which eos_token_id names")
        ids = [*ids, *(self._ids[name] for key, name in self._named.items() if key == "eos_token")]
        if not ids:
            raise InputError(f"{self._origin}: no token ends a text; name it as eos_token in {CONFIG}")
        return ids

    @cached_property
    def opens_thought(self) -> bool:  # type: ignore[override]
        """Whether a prompt ends with the mark that opens the reasoning."""
        return self._rendered([{"role": "user", "content": "1"}], True).rstrip().endswith("<think>")

    def _behind_an_answer(self) -> list[int]:
        """The first control token that the template writes behind an answer, if it writes one."""
        whole = self._rendered([{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}], False)
        found = self.vocabulary.pattern.search(whole, whole.rfind("2"))
        return [int(str(found.lastgroup)[1:])] if found else []

    def _rendered(self, messages: list[dict[str, str]], asks: bool) -> str:
        """What the template makes of a conversation; nothing where it fails, which is said when one is rendered."""
        try:
            return self.template.render([{"messages": messages, "add_generation_prompt": asks}])[0]
        except InputError:
            return ""

    def _template(self) -> ChatTemplate:
        """The model's chat template. Ours where it brings none, with the special tokens that it has."""
        texts = self._files.templates
        ours = CHAT_TEMPLATE.read_text(encoding="utf-8")
        if not texts and not (self.knows(_START) and self.knows(_END)):
            names = [self._named[key] for key in ("bos_token", "eos_token") if key in self._named]
            ours = ours.replace(_START, names[0] if names else _START).replace(_END, names[-1] if names else _END)
        text = texts.get("default", next(iter(texts.values()), ours))
        return ChatTemplate(text, texts.get("tool_use", text), tuple(self._named.items()), self._origin)


def _special_names(files: TokenizerFiles) -> Iterator[tuple[str, str]]:
    """The special tokens that tokenizer_config.json names by their roles, bos_token and eos_token among them."""
    for key, value in files.config.items():
        name = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(name, str):
            yield key, name
