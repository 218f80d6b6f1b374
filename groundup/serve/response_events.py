"""Output of the Responses API: the typed events of a stream, and the response object that results from them."""

import secrets
import time
from typing import Any

from groundup.codecs.text import Tokenizer
from groundup.generate.request import OutputDelta
from groundup.generate.sampling import Sampling
from groundup.serve.chat import MessageDeltas
from groundup.serve.errors import ApiError
from groundup.serve.schema import ResponsesRequest
from groundup.serve.stream import ResponseWriter

Json = dict[str, Any]
ECHOED = (  # fields of a request that its response repeats
    *("model", "instructions", "max_output_tokens", "parallel_tool_calls", "truncation", "background"),
    *("tools", "text", "reasoning", "metadata", "user", "store", "top_p"),
)
_CUT_OFF = {"reason": "max_output_tokens"}


class EventWriter(ResponseWriter):
    """Writes one answer as events, each with its type and a sequence number, or as the response that they end in."""

    end = ""

    def __init__(self, payload: ResponsesRequest, sampling: Sampling, tokenizer: Tokenizer, calls: bool):
        self._response = _new_response(payload, sampling)
        self._deltas = MessageDeltas(tokenizer, calls)
        self._output: list[Json] = self._response["output"]
        self._text: str | None = None  # of the message that is being written; the last of the output
        self._number, self._finish = 0, "stop"

    def first_chunks(self) -> list[Json]:
        """The events before the first delta."""
        return [self._about_all("response.created"), self._about_all("response.in_progress")]

    def chunks(self, index: int, delta: OutputDelta) -> list[Json]:
        """The events of an output delta."""
        events: list[Json] = []
        for each in self._deltas.add(delta):
            if each.get("content"):
                events += self._write(each["content"])
            for call in each.get("tool_calls", ()):
                events += self._close("completed") + self._call(call)
        if delta.finish:
            self._finish = delta.finish
            events += [] if self._output else self._open()
            events += self._close("incomplete" if delta.finish == "length" else "completed")
        return events

    def last_chunks(self, usage: Json) -> list[Json]:
        """The event with the whole response."""
        return [self._about_all(f"response.{self._complete(usage)['status']}")]

    def error_chunks(self, error: ApiError) -> list[Json]:
        """The events of a failure."""
        self._response |= {"status": "failed", "error": {"code": error.code or "server_error", "message": str(error)}}
        event = self._event("error", code=error.code, message=str(error), param=error.param)
        return [event, self._about_all("response.failed")]

    def response(self, outputs: list[list[OutputDelta]], usage: Json) -> Json:
        """The whole response."""
        for delta in outputs[0]:
            self.chunks(0, delta)
        return self._complete(usage)

    def _complete(self, usage: Json) -> Json:
        cut_off = self._finish == "length"
        ended = {"status": "incomplete", "incomplete_details": _CUT_OFF} if cut_off else {"status": "completed"}
        self._response |= ended | {"usage": _usage(usage)}
        return self._response

    # --- events ------------------------------------------------------------------------------------------------

    def _event(self, kind: str, **fields: Any) -> Json:
        event = {"type": kind, "sequence_number": self._number} | fields
        self._number += 1
        return event

    def _about_all(self, kind: str) -> Json:
        return self._event(kind, response=self._response | {"output": list(self._output)})

    def _about_item(self, kind: str, **fields: Any) -> Json:
        """An event about the last item of the output."""
        return self._event(
            f"response.{kind}", item_id=self._output[-1]["id"], output_index=len(self._output) - 1, **fields
        )

    def _about_text(self, kind: str, **fields: Any) -> Json:
        return self._about_item(kind, content_index=0, **fields)

    def _item(self, kind: str, item: Json) -> Json:
        return self._event(f"response.output_item.{kind}", output_index=len(self._output) - 1, item=item)

    # --- messages ----------------------------------------------------------------------------------------------

    def _open(self) -> list[Json]:
        """Begin a message."""
        self._text = ""
        self._output.append(_message(f"msg_{secrets.token_hex(12)}", "in_progress", []))
        return [
            self._item("added", self._output[-1]),
            self._about_text("content_part.added", part=_text_part("")),
        ]

    def _write(self, text: str) -> list[Json]:
        events = self._open() if self._text is None else []
        self._text = (self._text or "") + text
        return [*events, self._about_text("output_text.delta", delta=text, logprobs=[])]

    def _close(self, status: str) -> list[Json]:
        """End the message that is being written, if one is."""
        if self._text is None:
            return []
        part, self._text = _text_part(self._text), None
        self._output[-1] = _message(self._output[-1]["id"], status, [part])
        return [
            self._about_text("output_text.done", text=part["text"], logprobs=[]),
            self._about_text("content_part.done", part=part),
            self._item("done", self._output[-1]),
        ]

    def _call(self, call: Json) -> list[Json]:
        """The events of a complete tool call."""
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        item = {"id": f"fc_{secrets.token_hex(12)}", "type": "function_call", "call_id": call["id"], "name": name}
        self._output.append(item | {"arguments": arguments, "status": "completed"})
        return [
            self._item("added", item | {"arguments": "", "status": "in_progress"}),
            self._about_item("function_call_arguments.delta", delta=arguments),
            self._about_item("function_call_arguments.done", name=name, arguments=arguments),
            self._item("done", self._output[-1]),
        ]


def _message(id: str, status: str, content: list[Json]) -> Json:
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": content}


def _text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: Json) -> Json:
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": usage["prompt_tokens_details"],
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }


def _new_response(payload: ResponsesRequest, sampling: Sampling) -> Json:
    """A response without output: what was requested, and the sampling parameters that are used."""
    given = payload.model_dump(by_alias=True, mode="json")
    given["text"]["format"] = payload.text.format.model_dump(by_alias=True, exclude_none=True)
    return {name: given[name] for name in ECHOED} | {
        "id": f"resp_{secrets.token_hex(12)}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "previous_response_id": None,
        "tool_choice": _tool_choice(payload),
        "temperature": sampling.temperature,
        "seed": sampling.seed,
        "output": [],
        "usage": None,
    }


def _tool_choice(payload: ResponsesRequest) -> str | Json:
    choice = payload.tool_choice
    if choice is None or choice.name is None:
        return "auto" if choice is None else choice.type
    return {"type": choice.type, "name": choice.name}
