"""The Vercel AI SDK as a judge: text, streams, tools and objects, over both of OpenAI's APIs."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.judge
SCRIPT = Path(__file__).with_name("ai_sdk.cjs")
FOLDER = Path(os.environ.get("AI_SDK", Path(__file__).parents[2] / "build" / "ai-sdk"))
PACKAGES = ("ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible", "zod")


@pytest.fixture(scope="module")
def found(server):
    if shutil.which("node") is None:
        pytest.skip("no node")
    if missing := [name for name in PACKAGES if not (FOLDER / "node_modules" / name).is_dir()]:
        pytest.skip(f"no {', '.join(missing)}: npm install --prefix {FOLDER} {' '.join(PACKAGES)}")
    ended = subprocess.run(
        ["node", SCRIPT, server.url + "/v1", FOLDER], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("api", ["responses", "chat", "compatible"])
def test_the_ai_sdk_talks_to_the_server(found, api):
    seen = found[api]
    assert seen["streamed"] == seen["whole"] == found["chat"]["whole"]
    assert seen["usage"]["totalTokens"] == seen["streamedUsage"]["totalTokens"] > 0
    assert seen["finish"] in ("stop", "length")
    assert seen["calls"]
    assert seen["results"] == [f"put into {call['input']['bin']}" for call in seen["calls"]]
    assert {call["toolName"] for call in seen["calls"]} == {"sort"}
    assert seen["again"] in ("stop", "length")
    assert isinstance(seen["object"]["sure"], bool)
