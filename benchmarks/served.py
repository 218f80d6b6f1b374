"""A random model of a depth, and a server for it."""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VOCABULARY = {8: 8192, 14: 32768}
CONTEXT = 1024


def config_of(depth: int) -> Any:
    """The config that a recipe of this depth gets."""
    from groundup.config.model import ModelPart
    from groundup.model.config import ModelConfig

    return ModelConfig.of(ModelPart(depth=depth, context=CONTEXT), VOCABULARY.get(depth, 8192))


def random_model(depth: int) -> Any:
    """A model in which every weight matters."""
    import torch

    from groundup.model.transformer import Transformer

    model, generator = Transformer(config_of(depth)), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(1 + 0.1 * noise if weight.dim() == 1 else noise * weight.shape[1] ** -0.5)
    return model.eval()


def make_model(depth: int, folder: Path) -> None:
    """A random model with a vocabulary learned from this machine's Python library."""
    from groundup.codecs.text import Tokenizer
    from groundup.model import weights

    model = random_model(depth)
    texts = [
        path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(Path(json.__file__).parent.parent.glob("*.py"))
    ]
    tokenizer = Tokenizer.learn(texts, min(model.config.vocab, 8192))
    weights.save(model, folder, None)
    tokenizer.save(folder)
    assert model.config.context == CONTEXT


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[str, int]]:
    """A server; its address and process id."""
    command = [
        sys.executable,
        "-m",
        "groundup.cli",
        "serve",
        f"model={folder}",
        "--port",
        "0",
        "--rate",
        "1000000",
        "--concurrent",
        "256",
        *options,
    ]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stderr=log, text=True)
        try:
            while not (address := re.search(r"http://127\.0\.0\.1:\d+", _read(log))):
                if process.poll() is not None:
                    raise RuntimeError(_read(log))
                time.sleep(0.1)
            yield address[0], process.pid
        finally:
            process.terminate()
            process.wait()


def _read(log: Any) -> str:
    log.seek(0)
    return str(log.read())
