"""What a folder says about its tokenizer: tokenizer.json, tokenizer_config.json, chat template and end-of-text ids."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from groundup.core.errors import InputError
from groundup.core.files import read_json, write_json, write_with
from groundup.core.gguf_file import SUFFIX, GGUFFile

TOKENIZER, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
GENERATION = "generation_config.json"
NAMES = (TOKENIZER, CONFIG, TEMPLATE, GENERATION)
VERSION = 1  # of what is written of a tokenizer that comes with weights
MOST_BYTES = 256 << 20  # of one of these files; a vocabulary of 262,144 tokens takes 33 million


@dataclass(frozen=True)
class TokenizerFiles:
    """The content of a tokenizer's files, as Hugging Face writes them; `origin` is the name that errors give it.

    `templates` are chat templates by name, as of transformers: "default", and "tool_use" where tools have one of their
    own. `generation` is that of generation_config.json; where there is none, what config.json says of end-of-text ids.
    """

    origin: str
    table: Any
    config: dict[str, Any]
    templates: dict[str, str]
    generation: dict[str, Any]

    @staticmethod
    def read(folder: Path) -> "TokenizerFiles":
        """The files of a folder, or what a GGUF file holds in their place.

        Raises InputError for one that is missing, too large, damaged or of another form.
        """
        if folder.suffix == SUFFIX:
            from groundup.codecs import gguf_tokenizer  # which makes them

            return gguf_tokenizer.files(GGUFFile.open(folder))
        if not (folder / TOKENIZER).exists() and (folder / "tokenizer.model").exists():
            raise InputError(
                f"{folder}: holds tokenizer.model and no {TOKENIZER}; load it with transformers' AutoTokenizer and"
                " save_pretrained it, which writes one"
            )
        config = _object(folder / CONFIG)
        generation = _object(folder / GENERATION)
        if "eos_token_id" not in generation and "eos_token_id" in (model := _object(folder / "config.json")):
            generation |= {"eos_token_id": model["eos_token_id"]}
        return TokenizerFiles(
            str(folder / TOKENIZER), _json(folder / TOKENIZER), config, _templates(folder, config), generation
        )

    def save(self, folder: Path) -> None:
        """Write them into a folder, the chat templates into tokenizer_config.json."""
        found: Any = {"chat_template": self.templates.get("default")} if self.templates else {}
        if self.templates.keys() - {"default"}:
            found = {"chat_template": [{"name": name, "template": text} for name, text in self.templates.items()]}
        write_json(folder / TOKENIZER, self.table)
        write_json(folder / CONFIG, self.config | found)
        if self.generation:
            write_json(folder / GENERATION, self.generation)


def files_of(folder: Path) -> list[Path]:
    """The files of a folder that decide ids and renderings."""
    return [path for name in NAMES if (path := folder / name).exists()]


def copy(source: Path, target: Path) -> list[str]:
    """Copy the tokenizer's files of a folder to another; returns their names."""
    for file in files_of(source):
        write_with(target / file.name, partial(shutil.copyfile, file))
    return [file.name for file in files_of(source)]


def _templates(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """The chat templates of a folder by name; a file of its own precedes tokenizer_config.json, as in transformers."""
    if (path := folder / TEMPLATE).exists():
        try:
            return {"default": _bounded(path).read_text(encoding="utf-8")}
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); write it as UTF-8") from None
    found = config.get("chat_template")
    if found is None:
        return {}
    named = {"default": found} if isinstance(found, str) else _named(found)
    if not named or not all(isinstance(text, str) for pair in named.items() for text in pair):
        raise InputError(
            f"{folder / CONFIG}: chat_template is {type(found).__name__}; it must be a text, or a list of objects with"
            " name and template"
        )
    return named


def _named(found: Any) -> dict[Any, Any]:
    entries = found if isinstance(found, list) and all(isinstance(each, dict) for each in found) else []
    return {str(each.get("name")): each.get("template") for each in entries}


def _object(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file."""
    if not path.exists():
        return {}
    if not isinstance(found := _json(path), dict):
        raise InputError(f"{path}: holds {type(found).__name__}; it must be a JSON object")
    return found


def _json(path: Path) -> Any:
    try:
        return read_json(_bounded(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a folder that holds a {TOKENIZER}") from None


def _bounded(path: Path) -> Path:
    if (size := path.stat().st_size) > MOST_BYTES:
        raise InputError(f"{path}: has {size:,} bytes, the most is {MOST_BYTES:,}; it is no tokenizer's")
    return path
