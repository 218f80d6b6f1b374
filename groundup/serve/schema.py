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
MAX_FIELDS = 64  # of an object, more than any has: checking a million unknown fields would delay other requests
MAX_METADATA = 16  # metadata
MAX_IMAGES = 16  # of a request
MAX_IMAGE_BYTES = 8 << 20  # of an image, as a file
MAX_CHOICES = 128  # of one request: n times the prompts


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


class StreamOptions(RequestObject):
    """Options of a stream."""

    include_usage: bool = False


class Generation(RequestObject):
    """Fields that chat and completions share."""

    model: str
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    min_p: float = Field(0.0, ge=0, lt=1)
    repetition_penalty: float = Field(1.0, gt=0, le=10)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    logit_bias: Annotated[
        dict[str, Annotated[float, Field(ge=-100, le=100)]], BeforeValidator(_at_most(MAX_LOGIT_BIASES))
    ] = {}
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    n: int = Field(1, ge=1, le=MAX_N)
    stop: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]], BeforeValidator(_in_a_list)
    ] = Field([], max_length=MAX_STOPS)
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None  # this and the following fields are accepted and have no effect
    metadata: Annotated[dict[str, str], BeforeValidator(_at_most(MAX_METADATA))] = {}
    store: Literal[False] = False
    service_tier: Literal["auto"] = "auto"


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


class CompletionRequest(Generation):
    """POST /v1/completions. The prompt is a text, ids, or a list of either."""

    prompt: Any
    max_tokens: int = Field(16, ge=0)
    logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    echo: bool = False


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
