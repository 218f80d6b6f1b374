"""Small files that are right, one set for each parser."""

import functools
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from groundup.codecs.text import Tokenizer
from tests.serve.test_runs import RECIPE

RECIPES = Path(__file__).parents[2] / "recipes"


def lines(*rows: Any) -> bytes:
    """JSON lines."""
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def json_bytes(value: Any) -> bytes:
    """JSON as UTF-8."""
    return json.dumps(value).encode()


@functools.cache
def tokenizer() -> Tokenizer:
    """A vocabulary of few merges."""
    return Tokenizer.learn(["the cat sat on the mat " * 20], 270)


@functools.cache
def finished_run() -> Path:
    """The folder of a finished run, made once in this process."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (folder / "small.toml").write_text(RECIPE.format())
    command = [sys.executable, "-m", "groundup.cli", "run", str(folder / "small.toml"), "--runs", str(folder / "runs")]
    environment = os.environ | {"CXX": "/nonexistent"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    return folder / "runs" / "small"


@functools.cache
def exported() -> Path:
    """The folder of its model's export."""
    folder = finished_run().parent / "exported"
    command = [sys.executable, "-m", "groundup.cli", "export", str(finished_run()), str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder


def recipes() -> dict[str, bytes]:
    """A recipe with a part of every kind."""
    return {"a.toml": (RECIPES / "multimodal.toml").read_bytes()}


def text_lines() -> bytes:
    """Texts, one of them empty."""
    return lines(*({"text": f"text {number} 猫", "id": number} for number in range(5)), {"text": None}, {"text": ""})


def csv() -> bytes:
    """A table of texts, with quotes and a line end inside a cell."""
    return 'id,text\n1,"one, ""two"""\n2,"three\nfour"\n3,五\n'.encode()


def conversations() -> bytes:
    """Conversations with all that a message may have."""
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {}}}}}
    ask = {"role": "user", "content": "one?"}
    return lines(
        {"messages": [{"role": "system", "content": "be brief"}, ask, {"role": "assistant", "content": "two"}]},
        {
            "messages": [
                ask,
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": "2"},
                {"role": "assistant", "content": "two"},
            ],
            "tools": [tool],
        },
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}]},
                {"role": "assistant", "content": "b"},
            ]
        },
    )


def picture(seed: int = 0, side: int = 12) -> bytes:
    """A PNG of noise."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def classes() -> dict[str, bytes]:
    """Images in folders of their classes."""
    return {f"{name}/{number}.png": picture(number) for name in ("cat", "dog") for number in range(2)}


def labels() -> dict[str, tuple[dict[str, bytes], str, tuple[str, ...]]]:
    """Files, path and names of the changed files, by the form of labels."""
    images = {f"images/{number}.png": picture(number) for number in range(2)}
    coco = {
        "images": [
            {"id": number, "file_name": f"images/{number}.png", "width": 12, "height": 12} for number in range(2)
        ],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cup"}],
    }
    rows = lines(
        {"file": "images/0.png", "boxes": [{"class": "cup", "xyxy": [1, 2, 5, 6]}]},
        {"file": "images/1.png", "boxes": []},
    )
    voc = (
        b"<annotation><filename>0.png</filename><size><width>12</width><height>12</height><depth>3</depth></size>"
        b"<object><name>cup</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax>"
        b"<ymax>6</ymax></bndbox></object></annotation>"
    )
    yaml = b"path: .\ntrain: images\nnames:\n  0: cup\n  1: pen\n"
    dota = b"imagesource:x\ngsd:0.1\n1 1 5 1 5 5 1 5 cup 0\n2 2 6 2 6 6 2 6 pen 1\n"
    labelled = {f"labels/{number}.txt": b"0 0.5 0.5 0.2 0.2\n1 0.3 0.3 0.1 0.1\n" for number in range(2)}
    return {
        "COCO": (images | {"a.json": json_bytes(coco)}, "a.json", ("a.json",)),
        "JSON lines": (images | {"a.jsonl": rows}, "a.jsonl", ("a.jsonl",)),
        "YOLO": (images | labelled | {"data.yaml": yaml}, ".", ("*.txt", "data.yaml")),
        "VOC": (images | {"images/0.xml": voc}, "images/*.xml", ("*.xml",)),
        "DOTA": (images | {"labelTxt/0.txt": dota}, ".", ("*.txt",)),
    }


def choices() -> bytes:
    """Multiple-choice questions."""
    return lines({"question": "which?", "choices": ["a", "b"], "answer": "A", "subject": "s"})


def questions() -> bytes:
    """Questions with answers."""
    return lines({"question": "3 + 4?", "answer": 7, "match": "numeric"}, {"question": "which?", "answer": ["a", "b"]})


def preferences() -> bytes:
    """Preference pairs in three formats."""
    ask, good, bad = (
        {"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("assistant", "c"))
    )
    return lines(
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"chosen": [ask, good, ask, good], "rejected": [ask, good, ask, bad], "score_chosen": 1},
        {"input": {"messages": [ask]}, "preferred_output": [good], "non_preferred_output": [bad]},
    )


def programs() -> bytes:
    """Programming tasks."""
    test = "assert candidate(1) == 2\nassert abs(candidate(0.5) - 1.5) < 1e-6"
    return lines({"prompt": "def f(x):\n", "entry_point": "f", "test": test, "language": "python"})


def detections() -> bytes:
    """What a model server answers about an image."""
    return json_bytes(
        {"object": "list", "data": [{"index": 0, "things": [{"kind": "cup", "box": [0, 0, 0.5, 1], "score": 0.5}]}]}
    )


def completion() -> bytes:
    """What a model server answers to a message."""
    logprobs = {"content": [{"token": "one", "logprob": -0.1, "top_logprobs": []}]}
    message = {"role": "assistant", "content": "one"}
    return json_bytes({"choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"}]})


def requests() -> dict[str, bytes]:
    """A body for each endpoint that takes one."""
    ask = [{"role": "user", "content": "one"}]
    parameters = {"type": "object", "properties": {"a": {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": parameters}}
    small = {"model": "small", "max_tokens": 3, "temperature": 0.5, "seed": 1}
    bodies = {
        "chat": small | {"messages": ask, "tools": tools, "logprobs": True, "top_logprobs": 2, "stop": ["x"]},
        "streamed chat": small | {"messages": ask, "response_format": schema, "stream": True},
        "completions": small | {"prompt": ["one", "two"], "logit_bias": {"5": -1}, "n": 2, "stop": "x"},
        "embeddings": {"model": "small", "input": ["one", "two"], "encoding_format": "base64"},
        "responses": {"model": "small", "input": ask, "tools": tools[:0], "max_output_tokens": 3},
    }
    return {name: json_bytes(body) for name, body in bodies.items()}
