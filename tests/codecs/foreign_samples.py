"""Tokenizers in the public forms of open-weights families, each with a small vocabulary trained here, and templates."""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "The quick brown fox jumps over the lazy dog. It's 2026, they'll say; we've 1,234,567 reasons!\n\n",
    "def f(x):\n    return {'a': x ** 2}  # 100%\n\t\tpass\r\n",
    "今天天气很好，我们去公园散步。人工智能正在改变世界。",
    "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "Η γρήγορη αλεπού. Žluťoučký kůň. Größe naïve café. İstanbul.",
    "السلام عليكم ورحمة الله. שלום עולם. नमस्ते दुनिया। สวัสดีชาวโลก. 안녕하세요 세계. こんにちは世界",
]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


class Family(NamedTuple):
    """The parts of a tokenizer.json, the special tokens with their roles, and added tokens that are not special."""

    pre: Any
    specials: tuple[str, ...]
    bos: str | None
    eos: str
    normalizer: Any = None
    fallback: bool = False
    decoder: Any = None
    opens: bool = False  # whether the post-processor puts bos before a text
    ignore_merges: bool = False
    plain: tuple[str, ...] = ()


def _split(pattern: str) -> Any:
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _spaces(*more: Any) -> Any:
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *more])


def families() -> dict[str, Family]:
    """The forms, by the name of a family that has them."""
    chatml = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    calls = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
    headers = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    mistral = ("<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]")
    gemma = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
    digits = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    strip = _spaces(decoders.Strip(" ", 1, 0))
    llama2 = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    runs = tuple("\n" * count for count in range(2, 6)) + tuple("▁" * count for count in range(2, 6))
    metaspace = pre_tokenizers.Metaspace("▁", "first", split=False)
    return {
        "llama3": Family(_split(LLAMA3), headers, headers[0], "<|eot_id|>", opens=True, ignore_merges=True),
        "smollm2": Family(digits, (*chatml, "<repo_name>"), "<|im_start|>", "<|im_end|>"),
        "qwen": Family(_split(QWEN), chatml, None, "<|im_end|>", normalizers.NFC(), plain=calls),
        "tekken": Family(_split(TEKKEN), mistral, "<s>", "</s>", opens=True, ignore_merges=True),
        "olmo2": Family(_split(LLAMA3), chatml, "<|endoftext|>", "<|endoftext|>"),
        "gemma": Family(
            pre_tokenizers.Split(" ", "merged_with_previous"), gemma, "<bos>", "<eos>", normalizers.Replace(" ", "▁"),
            True, _spaces(), True, plain=(*runs, "<table>"),
        ),
        "llama2": Family(None, ("<unk>", "<s>", "</s>"), "<s>", "</s>", llama2, True, strip, True),
        "mistral": Family(metaspace, ("<unk>", *mistral), "<s>", "</s>", None, True, strip, True),
    }  # fmt: skip


@cache
def table(name: str) -> dict[str, Any]:
    """The tokenizer.json of a family's form."""
    family = families()[name]
    made = Tokenizer(
        models.BPE(byte_fallback=family.fallback, fuse_unk=True, unk_token="<unk>" if family.fallback else None)
    )
    if family.normalizer is not None:
        made.normalizer = family.normalizer
    if family.pre is not None:
        made.pre_tokenizer = family.pre
    made.decoder = family.decoder or decoders.ByteLevel()
    alphabet = [] if family.fallback else sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*family.specials, *(BYTES if family.fallback else [])]
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=names, initial_alphabet=alphabet, show_progress=False, max_token_length=12
    )
    made.train_from_iterator(TEXTS * 3, trainer)
    made.add_tokens([*family.plain])
    if family.opens:
        bos = str(family.bos)
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, made.token_to_id(bos))]
        )
    found: dict[str, Any] = json.loads(made.to_str())
    found["added_tokens"] = [each for each in found["added_tokens"] if each["content"] not in BYTES]
    for each in found["added_tokens"]:
        each["normalized"] = False
    found["model"]["ignore_merges"] = family.ignore_merges
    return found


def config(name: str, template: str | None = None) -> dict[str, Any]:
    """The tokenizer_config.json of a family's form."""
    family = families()[name]
    found: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": family.eos}
    if family.bos is not None:
        found["bos_token"] = family.bos
    return found if template is None else found | {"chat_template": template}


def write(folder: Path, name: str, template: str | None = None, **generation: Any) -> Path:
    """A folder with the tokenizer's files of a family's form."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"tokenizer.json": table(name), "tokenizer_config.json": config(name, template)}
    for file, content in (contents | ({"generation_config.json": generation} if generation else {})).items():
        (folder / file).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder
