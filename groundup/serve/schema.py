"""Request schemas. Unknown fields are refused by name; null counts as absent."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

MAX_MESSAGES = 1024
MAX_N = 16  # n
MAX_STOPS = 4
MAX_STOP_LENGTH = 256  # characters
MAX_TOP_LOGPROBS = 20
MAX_PROMPTS = 64
MAX_EMBEDDINGS = 256  # texts to embed
MAX_TOOLS = 128
MAX_LOGIT_BIASES = 1024
MAX_FIELDS = 64  # of an object, more than any schema has: checking a million unknown fields would delay other requests
MAX_METADATA = 16  # metadata
MAX_IMAGES = 16  # of a request
MAX_IMAGE_BYTES = 8 << 20  # of an image, as a file
MAX_CHOICES = 128  # of one request: n times the prompts
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Verbosity = Literal["low", "medium", "high"]


def _at_most(count: int) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > count:
            raise PydanticCustomError("too_long", f"object has {len(value)} fields; the most is {count}")
        return value

    return checked


class RequestObject(BaseModel):
    """An object in a request: strict types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        few = _at_most(MAX_FIELDS)(value)
        return {key: item for key, item in few.items() if item is not None} if isinstance(few, dict) else few


def _in_a_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _by_type(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class ObfuscationOption(RequestObject):
    """Option of an event stream, accepted without effect: events are never padded."""

    include_obfuscation: Literal[False] = False


class StreamOptions(ObfuscationOption):
    """Options of a stream of chunks."""

    include_usage: bool = False


def _not_stored(value: Any) -> Any:
    if value is True:
        raise PydanticCustomError("not_stored", "nothing is stored here; leave it out, or send false")
    return value


class Harmless(RequestObject):
    """Fields of OpenAI's API that are accepted without effect."""

    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    metadata: Annotated[dict[str, Any], BeforeValidator(_at_most(MAX_METADATA))] = {}
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] = "auto"
    store: Annotated[bool, BeforeValidator(_not_stored)] = False


class Sampled(Harmless):
    """Fields shared by all endpoints that generate text."""

    model: str
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    min_p: float = Field(0.0, ge=0, lt=1)
    repetition_penalty: float = Field(1.0, gt=0, le=10)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stream: bool = False


class Generation(Sampled):
    """Fields shared by chat and completions."""

    logit_bias: Annotated[
        dict[str, Annotated[float, Field(ge=-100, le=100)]], BeforeValidator(_at_most(MAX_LOGIT_BIASES))
    ] = {}
    n: int = Field(1, ge=1, le=MAX_N)
    stop: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]], BeforeValidator(_in_a_list)
    ] = Field([], max_length=MAX_STOPS)
    stream_options: StreamOptions | None = None


class Function(RequestObject):
    """A function that the model may call; `parameters` is a JSON schema."""

    name: str = Field(pattern="^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool = False


class Tool(RequestObject):
    """A tool; functions are the only type."""

    type: Literal["function"]
    function: Function


class FunctionName(RequestObject):
    """The name of the function to call."""

    name: str


class ToolChoice(RequestObject):
    """Whether tools are called: a mode, or one function."""

    type: Literal["none", "auto", "required", "function"]
    function: FunctionName | None = None


class JsonSchema(RequestObject):
    """A JSON schema; the model does not see its name and description."""

    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool = True


class ResponseFormat(RequestObject):
    """The format of the answer (structured output)."""

    type: Literal["text", "json_object", "json_schema", "regex", "grammar"]
    json_schema: JsonSchema | None = None
    pattern: str | None = None
    grammar: str | None = None


class ChatRequest(Generation):
    """POST /v1/chat/completions. The chat template validates the messages."""

    messages: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    response_format: ResponseFormat | None = None
    tools: list[Tool] = Field([], max_length=MAX_TOOLS)
    tool_choice: Annotated[ToolChoice | None, BeforeValidator(_by_type)] = None
    parallel_tool_calls: bool = True
    reasoning_effort: Effort | None = None  # this and the following fields are accepted without effect
    verbosity: Verbosity | None = None
    modalities: list[Literal["text"]] = Field([], max_length=1)


class CompletionRequest(Generation):
    """POST /v1/completions. The prompt is a text, ids, or a list of either."""

    prompt: Any
    max_tokens: int = Field(16, ge=0)
    logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    echo: bool = False


# --- POST /v1/responses ------------------------------------------------------------------------------------------


def _without_history(value: Any) -> Any:
    raise PydanticCustomError("not_stored", "nothing is stored here; send the whole conversation as input")


class _OfTypeFunction(RequestObject):
    type: Literal["function"]


class FlatTool(Function, _OfTypeFunction):
    """A function that the model may call, without the nesting of chat completions."""


class FlatToolChoice(RequestObject):
    """Whether tools are called: a mode, or one function by its name."""

    type: Literal["none", "auto", "required", "function"]
    name: str | None = None


class TextFormat(RequestObject):
    """The format of the answer (structured output)."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    description: str | None = None
    strict: bool = True


class TextOptions(RequestObject):
    """Options of the answer's text; `verbosity` has no effect."""

    format: TextFormat = TextFormat(type="text", schema=None)
    verbosity: Verbosity | None = None


class ReasoningOptions(RequestObject):
    """Options of reasoning: accepted without effect."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class ResponsesRequest(Sampled):
    """POST /v1/responses. The input is a text or a list of items."""

    input: Any
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    text: TextOptions = TextOptions()
    tools: list[FlatTool] = Field([], max_length=MAX_TOOLS)
    tool_choice: Annotated[FlatToolChoice | None, BeforeValidator(_by_type)] = None
    parallel_tool_calls: bool = True
    previous_response_id: Annotated[str | None, BeforeValidator(_without_history)] = None
    stream_options: ObfuscationOption | None = None
    background: Literal[False] = False
    truncation: Literal["disabled"] = "disabled"
    reasoning: ReasoningOptions = ReasoningOptions()  # this and the following fields are accepted without effect
    include: list[Literal["reasoning.encrypted_content"]] = Field([], max_length=1)
    max_tool_calls: int | None = Field(None, ge=1)


# --- other endpoints ---------------------------------------------------------------------------------------------


class EmbeddingRequest(RequestObject):
    """POST /v1/embeddings. The input is a text, ids, an image, or a list of these."""

    model: str
    input: Any
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = None


class DetectionRequest(RequestObject):
    """POST /v1/detections. The input is an image or a list of images; `least` is the lowest score that is returned."""

    model: str
    input: Any
    least: float = Field(0.5, ge=0.05, le=1)
    user: str | None = None
