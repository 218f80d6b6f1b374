"""The examples in docs/serve.md run, against the small model."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from groundup.serve import schema
from groundup.serve.serving import Limits

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")


def examples(language: str, server) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return [
        text.replace("http://127.0.0.1:8000", server.url).replace("demo", "small")
        for text in found
        if "127.0.0.1" in text or language == "python"
    ]


@pytest.mark.judge
def test_the_examples_in_python_run(server, capsys):
    pytest.importorskip("openai")
    code = "\n".join(examples("python", server))
    names: dict[str, object] = {}
    exec(compile(code + "\nclient.close()", "docs/serve.md", "exec"), names)
    said = capsys.readouterr().out.splitlines()
    assert {'"paper"', '"glass"', '"metal"'} & {*said}
    assert any(re.fullmatch(r'sort \{"bin": "(paper|glass)"\}', line) for line in said)
    assert said[-2:] == ["0 48", "1 48"]


def test_the_examples_in_shell_run(server):
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    for command in examples("sh", server):
        answer = json.loads(subprocess.run(command, shell=True, capture_output=True, check=True, timeout=60).stdout)
        assert answer["choices"][0]["finish_reason"] in ("stop", "length")


def test_the_limits_in_the_page_are_those_of_the_schema():
    limits = Limits()
    for words in (
        f"1 to {schema.MAX_N} answers",
        f"up to {schema.MAX_STOPS}, each of at most {schema.MAX_STOP_LENGTH} characters",
        f"at most {schema.MAX_MESSAGES:,}, of roles",
        f"up to {schema.MAX_TOP_LOGPROBS} likeliest",
        f"a list of up to {schema.MAX_PROMPTS} of either; a request has at most {schema.MAX_CHOICES} answers",
        f"a list of up to {schema.MAX_EMBEDDINGS} of either",
        f"at most {schema.MAX_LOGIT_BIASES:,} of them",
        f"more than {limits.backlog} chunks",
    ):
        assert words in " ".join(PAGE.split())
    assert limits.heartbeat == 10
