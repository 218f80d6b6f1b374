"""Clients of others as judges: OpenAI's own, LangChain's, and lm-eval over HTTP."""

import asyncio
import json
import re

import pytest
from pydantic import BaseModel

from groundup.evaluate.suites.choice import choices
from tests.evaluate.test_against_lm_eval import TASK, judge, questions
from tests.serve.serve_helpers import small_engine

pytestmark = pytest.mark.judge
USER = [{"role": "user", "content": "one two"}]
PATTERN = {"type": "regex", "pattern": "(one|two) (three|four)"}


class Sorted(BaseModel):
    bin: str
    sure: bool


class Sure(BaseModel):
    sure: bool


TOOL = {
    "type": "function",
    "function": {
        "name": "sort",
        "description": "Put it away.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"bin": {"enum": ["one", "two"]}},
            "required": ["bin"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def client(server):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as made:
        yield made


# --- OpenAI -------------------------------------------------------------------------------------------------


def test_openai_lists_models(client):
    assert [model.id for model in client.models.list()] == ["small"]
    assert client.models.retrieve("small").owned_by == "groundup"


def test_openai_chats(client):
    answer = client.chat.completions.create(
        model="small",
        messages=USER,
        n=3,
        seed=1,
        logprobs=True,
        top_logprobs=2,
        max_tokens=12,
        temperature=0.5,
        extra_body={"top_k": 20, "min_p": 0.01},
    )
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert [len(entry.top_logprobs) for entry in answer.choices[0].logprobs.content] == [2] * len(
        answer.choices[0].logprobs.content
    )
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details.cached_tokens >= 0
    assert answer.seed == 1


def test_openai_streams(client):
    fields = {"model": "small", "messages": USER, "seed": 2, "max_tokens": 30}
    whole = client.chat.completions.create(**fields).choices[0]
    chunks = [*client.chat.completions.create(**fields, stream=True, stream_options={"include_usage": True})]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole.message.content
    assert chunks[-1].usage.completion_tokens > 0


def test_openai_keeps_to_formats(client):
    answer = client.chat.completions.parse(
        model="small", messages=USER, response_format=Sorted, max_tokens=900, logit_bias={"34": 20}
    )
    assert isinstance(answer.choices[0].message.parsed, Sorted)
    answer = client.chat.completions.create(model="small", messages=USER, response_format=PATTERN)
    assert re.fullmatch(PATTERN["pattern"], answer.choices[0].message.content)


def test_openai_calls_tools_and_streams_the_calls(client):
    fields = {
        "model": "small",
        "messages": USER,
        "tools": [TOOL],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "seed": 3,
    }
    [call] = client.chat.completions.create(**fields).choices[0].message.tool_calls
    assert call.function.name == "sort"
    with client.chat.completions.stream(**fields) as stream:
        final = stream.get_final_completion().choices[0]
    assert final.finish_reason == "tool_calls"
    assert final.message.tool_calls[0].function.arguments == call.function.arguments
    assert final.message.tool_calls[0].function.parsed_arguments["bin"] in ("one", "two")


def test_openai_asks_from_a_loop(server):
    openai = pytest.importorskip("openai")

    async def ask() -> tuple[list[str], str]:
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
            payload = [
                client.chat.completions.create(model="small", messages=USER, seed=seed, max_tokens=10)
                for seed in range(4)
            ]
            texts = [answer.choices[0].message.content for answer in await asyncio.gather(*payload)]
            stream = await client.chat.completions.create(
                model="small", messages=USER, seed=0, max_tokens=10, stream=True
            )
            return texts, "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    texts, streamed = asyncio.run(ask())
    assert len(set(texts)) == 4
    assert streamed == texts[0]


def test_openai_completes_and_embeds(client, tokenizer):
    answer = client.completions.create(
        model="small", prompt=[tokenizer.encode("one two")], echo=True, logprobs=1, max_tokens=2, temperature=0
    )
    assert answer.choices[0].text.startswith("one two")
    assert answer.choices[0].logprobs.token_logprobs[0] is None
    text = "".join(
        chunk.choices[0].text for chunk in client.completions.create(model="small", prompt="one", seed=1, stream=True)
    )
    assert text == client.completions.create(model="small", prompt="one", seed=1).choices[0].text
    packed = client.embeddings.create(model="small", input=["one", "two"]).data
    plain = client.embeddings.create(model="small", input=["one", "two"], encoding_format="float").data
    assert [each.embedding for each in packed] == [pytest.approx(each.embedding) for each in plain]


def test_openai_understands_refusals(client):
    openai = pytest.importorskip("openai")
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="small", messages=USER, functions=[{"name": "f"}])
    assert (refused.value.param, refused.value.code) == ("functions", "unsupported_field")
    with pytest.raises(openai.NotFoundError, match="no model 'large'"):
        client.chat.completions.create(model="large", messages=USER)
    with pytest.raises(openai.APIError, match="grammar"):
        grammar = {"type": "grammar", "grammar": "start: <no_such_token>"}
        [*client.chat.completions.create(model="small", messages=USER, response_format=grammar, stream=True)]


FLAT_TOOL = {"type": "function", **TOOL["function"]}


def test_openai_responds_and_streams_the_same(client):
    fields = {"model": "small", "input": "one two", "instructions": "ten", "extra_body": {"seed": 2}}
    whole = client.responses.create(**fields, max_output_tokens=30, temperature=0.5)
    with client.responses.stream(**fields, max_output_tokens=30, temperature=0.5) as stream:
        events = [*stream]
        final = stream.get_final_response() if events[-1].type == "response.completed" else events[-1].response
    assert final.output_text == whole.output_text == "".join(
        event.delta for event in events if event.type == "response.output_text.delta"
    )  # fmt: skip
    assert (events[0].type, final.status) == ("response.created", whole.status)
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens


def test_openai_parses_a_response_in_a_format(client):
    found = client.responses.parse(model="small", input=USER, text_format=Sure)
    assert isinstance(found.output_parsed, Sure)
    form = {"type": "json_schema", "name": "bin", "schema": {"enum": ["one", "two"]}}
    assert json.loads(client.responses.create(model="small", input="one", text={"format": form}).output_text) in (
        "one",
        "two",
    )


def test_openai_goes_on_after_the_call_of_a_response(client):
    fields = {"model": "small", "tools": [FLAT_TOOL], "store": False, "parallel_tool_calls": False}
    with client.responses.stream(**fields, input=USER, tool_choice="required", extra_body={"seed": 3}) as stream:
        final = stream.get_final_response()
    [call] = final.output
    assert call.parsed_arguments["bin"] in ("one", "two")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
    again = client.responses.create(**fields, input=[*USER, call, result], max_output_tokens=5)
    assert again.output[0].type == "message"


def test_openai_understands_refusals_of_responses(client):
    openai = pytest.importorskip("openai")
    with pytest.raises(openai.BadRequestError, match="nothing is stored here"):
        client.responses.create(model="small", input="one", previous_response_id="resp_1")
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_1")


# --- LangChain ----------------------------------------------------------------------------------------------


@pytest.fixture
def langchain(server):
    module = pytest.importorskip("langchain_openai")
    return module.ChatOpenAI(
        base_url=server.url + "/v1", api_key="none", model="small", max_retries=0, seed=1, max_tokens=200
    )


def test_langchain_chats_and_streams(langchain):
    answer = langchain.invoke([("system", "one"), ("human", "two")])
    assert "".join(chunk.content for chunk in langchain.stream([("system", "one"), ("human", "two")])) == answer.content
    assert answer.usage_metadata["output_tokens"] > 0


def test_langchain_calls_tools_and_goes_on_with_the_result(langchain):
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool

    @tool
    def stop(now: bool) -> str:
        """Stop the belt."""
        return f"stopped: {now}"

    bound = langchain.bind_tools([stop], tool_choice="stop", parallel_tool_calls=False)
    question = HumanMessage("one")
    answer = bound.invoke([question])
    [call] = answer.tool_calls
    assert (call["name"], type(call["args"]["now"])) == ("stop", bool)
    result = stop.invoke(call)
    assert isinstance(result, ToolMessage)
    assert langchain.bind_tools([stop]).invoke([question, answer, result], max_tokens=5).content is not None


def test_langchain_uses_the_responses_api(langchain, server):
    module = pytest.importorskip("langchain_openai")
    fields = {"base_url": server.url + "/v1", "api_key": "none", "model": "small", "max_retries": 0, "temperature": 0}
    model = module.ChatOpenAI(**fields, max_tokens=20, use_responses_api=True, store=False)
    answer = model.invoke([("system", "one"), ("human", "two")])
    same = langchain.invoke([("system", "one"), ("human", "two")], temperature=0, max_tokens=20)
    assert answer.text == same.text
    assert "".join(chunk.text for chunk in model.stream([("system", "one"), ("human", "two")])) == answer.text
    longer = module.ChatOpenAI(**fields, use_responses_api=True)
    bound = longer.bind_tools([TOOL], tool_choice="sort", parallel_tool_calls=False).invoke("one")
    assert bound.tool_calls[0]["args"]["bin"] in ("one", "two")


def test_langchain_keeps_to_formats(langchain):
    schema = {
        "title": "Sure",
        "description": "Is it?",
        "type": "object",
        "properties": {"sure": {"type": "boolean"}},
        "required": ["sure"],
    }
    for method in ("json_schema", "function_calling"):
        answer = langchain.with_structured_output(schema | {"additionalProperties": False}, method=method).invoke("one")
        assert isinstance(answer["sure"], bool)


# --- lm-eval ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_lm_eval_over_http_finds_what_we_find(tmp_path, server, tokenizer):
    pytest.importorskip("lm_eval.models.api_models")
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in questions(40)))
    (tmp_path / "local.yaml").write_text(TASK.replace("QUESTIONS", str(path)))
    tokenizer.save(tmp_path / "tokenizer")
    tokenizer_facts = f"tokenizer={tmp_path / 'tokenizer'},tokenizer_backend=huggingface"
    facts = f"model=small,base_url={server.url}/v1/completions,{tokenizer_facts},max_length=1024"
    results, _ = judge(tmp_path, "--model", "local-completions", "--model_args", facts)
    found = choices(small_engine(tokenizer), path)[""]
    assert (found.raw.value, found.per_byte.value) == pytest.approx(
        (results["acc,none"], results["acc_norm,none"]), abs=1e-9
    )
    assert 0 < found.raw.value < 1
