"""POST /v1/responses: OpenAI's Responses API, answered as a chat completion. Nothing is stored."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from groundup.serve import body, chat, tools
from groundup.serve.errors import ApiError
from groundup.serve.models import ServedModel
from groundup.serve.response_events import EventWriter
from groundup.serve.response_items import Conversation, conversation
from groundup.serve.schema import (
    ChatRequest,
    Function,
    FunctionName,
    JsonSchema,
    ResponseFormat,
    ResponsesRequest,
    Sampled,
    TextFormat,
    Tool,
    ToolChoice,
)
from groundup.serve.serving import Serving

_MESSAGE = re.compile(r"^(?:messages\[(\d+)\]|message (\d+)\b)")
_FIELDS = {"messages": "input", "response_format": "text.format"}


def routes(serving: Serving) -> APIRouter:
    """The endpoint."""
    router = APIRouter()

    @router.post("/v1/responses")
    async def respond(request: Request) -> Response:
        payload = await body.read(request, ResponsesRequest)
        return await serving.with_model(request, payload.model, partial(_answer, serving, request, payload))

    return router


async def _answer(serving: Serving, request: Request, payload: ResponsesRequest, model: ServedModel) -> Response:
    found = conversation(payload.input, payload.instructions)
    with _in_fields_of_responses(found):
        asked = chat_request(payload, found)
        engine_requests = await chat.prepare(serving, request, asked, model)
    calls = tools.resolve_tool_choice(asked).type != "none"
    writer = EventWriter(payload, engine_requests[0].sampling, model.service.tokenizer, calls)
    return await serving.respond(request, model, engine_requests, writer, payload.stream)


def chat_request(payload: ResponsesRequest, found: Conversation) -> ChatRequest:
    """The chat completion that answers a payload with this conversation. Raises ApiError (400)."""
    shared = payload.model_dump(include=set(Sampled.model_fields), exclude_unset=True)
    try:
        return ChatRequest(
            **shared,
            messages=found.messages,
            max_completion_tokens=payload.max_output_tokens,
            response_format=_response_format(payload.text.format),
            tools=[Tool(type="function", function=_function(tool)) for tool in payload.tools],
            tool_choice=_tool_choice(payload),
            parallel_tool_calls=payload.parallel_tool_calls,
        )
    except ValidationError as error:
        raise body.refusal(error) from None


def _function(tool: Function) -> Function:
    return Function(**{name: getattr(tool, name) for name in Function.model_fields})


def _tool_choice(payload: ResponsesRequest) -> ToolChoice | None:
    choice = payload.tool_choice
    if choice is None or (choice.type == "auto" and not payload.tools):
        return None
    return ToolChoice(type=choice.type, function=None if choice.name is None else FunctionName(name=choice.name))


def _response_format(form: TextFormat) -> ResponseFormat | None:
    if form.type == "text":
        return None
    if form.type == "json_object":
        return ResponseFormat(type="json_object")
    if form.name is None or form.schema_ is None:
        raise ApiError(400, "text.format of type 'json_schema' needs a name and a schema", "text.format")
    return ResponseFormat(type="json_schema", json_schema=JsonSchema(name=form.name, schema=form.schema_))


@contextmanager
def _in_fields_of_responses(found: Conversation) -> Iterator[None]:
    """Name the fields and items of the Responses API in errors about those of the chat completion made from it."""
    try:
        yield
    except ApiError as error:
        text = _MESSAGE.sub(lambda match: found.places[int(match[1] or int(match[2]) - 1)], str(error))
        param = error.param and _MESSAGE.sub(lambda match: found.places[int(match[1])], error.param)
        raise ApiError(error.status, text, _FIELDS.get(param or "", param), error.code, error.headers) from None
