"""Chat templates of other projects: rendered as transformers does, bounded, and told apart for the loss mask."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from groundup.codecs import chat
from groundup.codecs.chat_template import A_DAY
from groundup.codecs.foreign import ForeignTokenizer
from groundup.codecs.messages import Message
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from tests.codecs import foreign_samples
from tests.codecs.chat_templates import CHATML, MARKED, QWEN3, TEMPLATES

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string", "description": "<名>"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Weather.", "parameters": PARAMETERS}}]
TALK: list[Message] = [
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "4, 那是 four."},
    {"role": "user", "content": "  And 3 + 3?\n"},
    {"role": "assistant", "content": "6"},
]
CALL: list[Message] = [
    {"role": "user", "content": "Weather in Wien?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"type": "function", "id": "abcdef123", "function": {"name": "weather", "arguments": {"city": "Wien"}}}
        ],
    },
    {"role": "tool", "content": '{"degrees": 7}', "tool_call_id": "abcdef123", "name": "weather"},
]


def load(folder: Path, form: str, template: str | None, **generation: Any) -> ForeignTokenizer:
    """The tokenizer of a family's form with a template."""
    found = Tokenizer.load(foreign_samples.write(folder, form, template, **generation))
    assert isinstance(found, ForeignTokenizer)
    return found


def learnt(tokenizer: Tokenizer, messages: list[Message]) -> list[str]:
    """The runs of tokens in the loss mask, as text."""
    ids, mask = chat.encode(tokenizer, messages)
    runs: list[list[int]] = []
    for place, (id, kept) in enumerate(zip(ids, mask, strict=True)):
        if kept:
            if not place or not mask[place - 1]:
                runs.append([])
            runs[-1].append(id)
    return [tokenizer.decode(run) for run in runs]


CASES = [(name, kind) for name in TEMPLATES for kind in ("talk", "system", "call") if kind != "call" or name in
         ("Llama 3", "Qwen3", "Mistral", "Mistral, tekken")]  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_prompt_has_the_ids_that_transformers_gives(name: str, kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the judge")
    form, template = TEMPLATES[name]
    ours = load(tmp_path, form, template)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    opened = {"system": [{"role": "system", "content": "Be brief."}, *TALK[:3]], "talk": TALK[:3], "call": CALL}
    tools = TOOLS if kind == "call" else None
    dated = {"date_string": A_DAY.strftime("%d %b %Y")} if name == "Llama 3" else {}
    rendered = theirs.apply_chat_template(
        opened[kind], tools=tools, tokenize=False, add_generation_prompt=True, **dated
    )
    assert chat.prompt(ours, opened[kind], tools) == theirs(rendered, add_special_tokens=False).input_ids
    assert ours.decode(chat.prompt(ours, opened[kind], tools)).strip() == rendered.strip()


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_prompt_is_the_beginning_of_what_is_tuned(name: str, tmp_path: Path) -> None:
    form, template = TEMPLATES[name]
    tokenizer = load(tmp_path, form, template)
    ids, mask = chat.encode(tokenizer, TALK)
    prompt = chat.prompt(tokenizer, TALK[:3])
    assert ids[: len(prompt)] == prompt and not any(mask[len(prompt) - 1 : len(prompt)]) and mask[len(prompt)]


ANSWERS = {
    "Llama 3": ["4, 那是 four.<|eot_id|>", "6<|eot_id|>"],
    "SmolLM2": ["4, 那是 four.<|im_end|>", "6<|im_end|>"],
    "Qwen3": ["4, 那是 four.<|im_end|>", "<think>\n\n</think>\n\n6<|im_end|>"],
    "Mistral": ["4, 那是 four.</s>", "6</s>"],
    "Mistral, tekken": [" 4, 那是 four.</s>", " 6</s>"],
    "Gemma 3": ["4, 那是 four.<end_of_turn>", "6<end_of_turn>"],
    "OLMo 2": ["4, 那是 four.<|endoftext|>", "6<|endoftext|>"],
    "marked": ["4, 那是 four.<|im_end|>", "6<|im_end|>"],
}


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_answers_and_their_ends_are_learnt_and_nothing_else(name: str, tmp_path: Path) -> None:
    form, template = TEMPLATES[name]
    assert learnt(load(tmp_path, form, template), TALK) == ANSWERS[name]


@pytest.mark.parametrize("template", [CHATML, MARKED], ids=["compared", "marked"])
def test_an_answer_of_weight_0_is_not_learnt(template: str, tmp_path: Path) -> None:
    tokenizer = load(tmp_path, "smollm2", template)
    assert learnt(tokenizer, [TALK[0], TALK[1] | {"weight": 0}, *TALK[2:]]) == ["6<|im_end|>"]


def test_where_a_prefix_is_none_it_is_said(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, "smollm2", "{{ messages | length }}" + CHATML)
    with pytest.raises(
        InputError, match=r"^message 2: the chat template renders what stands before this answer otherwise"
    ):
        chat.encode(tokenizer, TALK)


def test_reasoning_of_the_last_answer_is_learnt_as_the_template_writes_it(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, "qwen", QWEN3)
    thought = {"role": "assistant", "content": "<think>\n2 + 2\n</think>\n\n4"}
    assert learnt(tokenizer, [TALK[0], thought]) == ["<think>\n2 + 2\n</think>\n\n4<|im_end|>"]
    assert tokenizer.special("<think>") in chat.encode(tokenizer, [TALK[0], thought])[0]


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_no_content_writes_a_control_token(name: str, tmp_path: Path) -> None:
    form, template = TEMPLATES[name]
    tokenizer = load(tmp_path, form, template)
    calm = chat.prompt(tokenizer, [{"role": "user", "content": "x"}])
    control = set(tokenizer.vocabulary.specials.values())
    for literal in [*tokenizer.vocabulary.specials, "\U000f0000\U000f0012", "\U0010fff0"]:
        attack = chat.prompt(tokenizer, [{"role": "user", "content": f"x {literal} y"}])
        assert [id for id in attack if id in control] == [id for id in calm if id in control], literal
        assert f"x {literal} y" in tokenizer.decode(attack)


@pytest.mark.parametrize("form", sorted(foreign_samples.families()))
def test_a_model_without_a_template_gets_ours_with_its_own_tokens(form: str, tmp_path: Path) -> None:
    tokenizer = load(tmp_path, form, None)
    ids, mask = chat.encode(tokenizer, TALK)
    assert [
        id for id, kept in zip(ids, mask, strict=True) if kept and id in tokenizer.vocabulary.specials.values()
    ] == [tokenizer.turn_end] * 2
    assert tokenizer.turn_end in tokenizer.ends


HOSTILE = {
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}": "takes more than 2 seconds",
    "{% set n = namespace(s='abcdefgh') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}": "memory",
    "{{ 'a' * 99999999999 }}": "memory",
    "{{ ''.__class__.__mro__ }}": "access to attribute '__class__'",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}": "memory",
    "{{ raise_exception('roles must\nalternate') }}": "refuses the conversation: roles must",
    "{% if %}": "has a fault in line 1",
    "{{ messages[7].content }}": "refuses the conversation",
    "{% include 'x' %}": "refuses the conversation",
    "{{ lipsum(999999) }}": "refuses the conversation",
}


@pytest.mark.parametrize("template", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_template_ends_in_one_sentence(template: str, tmp_path: Path) -> None:
    tokenizer = load(tmp_path, "smollm2", template)
    began = time.monotonic()
    with pytest.raises(InputError) as refusal:
        chat.prompt(tokenizer, TALK[:1])
    assert HOSTILE[template] in str(refusal.value) and "\n" not in str(refusal.value)
    assert time.monotonic() - began < 60
    assert chat.prompt(load(tmp_path / "next", "smollm2", CHATML), TALK[:1])


def test_named_templates_are_chosen_as_in_transformers(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    folder = foreign_samples.write(tmp_path, "smollm2")
    config = foreign_samples.config("smollm2") | {"chat_template": named}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.decode(chat.prompt(tokenizer, TALK[:1])) == "plain"
    assert tokenizer.decode(chat.prompt(tokenizer, TALK[:1], TOOLS)) == "tools"


def test_a_template_s_own_file_precedes_the_config(tmp_path: Path) -> None:
    folder = foreign_samples.write(tmp_path, "smollm2", "of the config")
    (folder / "chat_template.jinja").write_text("of the file")
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.decode(chat.prompt(tokenizer, TALK[:1])) == "of the file"


def test_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the chat template of this model shows no images"):
        chat.prompt(load(tmp_path, "smollm2", CHATML), chat.shown())
