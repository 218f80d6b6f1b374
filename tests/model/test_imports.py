"""The model room loads torch, numpy and safetensors alone."""

import subprocess
import sys

LOAD = """
import importlib, pkgutil, sys
import groundup.model
for module in pkgutil.walk_packages(groundup.model.__path__, "groundup.model."):
    importlib.import_module(module.name)
print(*{name.partition(".")[0] for name in sys.modules})
"""
OTHERS = {"pyarrow", "tokenizers", "tiktoken", "rustbpe", "PIL", "jinja2", "pydantic", "typer", "rich", "matplotlib"}


def test_the_model_imports_torch_numpy_and_safetensors_alone() -> None:
    loaded = subprocess.run([sys.executable, "-c", LOAD], check=True, capture_output=True, text=True).stdout.split()
    assert {"torch", "numpy", "safetensors"} <= {*loaded}
    assert not OTHERS & {*loaded}
