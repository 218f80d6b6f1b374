"""What the command line says of a format before anything is written."""

import pytest

from groundup.core.errors import InputError
from groundup.core.tables import EXPORTS
from groundup.release import exporter
from groundup.release.exporter import export


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="known: gguf, hf, onnx"):
        export("coreml", tmp_path, tmp_path / "out", {})


def test_an_option_that_a_format_does_not_take_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="--size 8x8: the layout hf has pictures of any size"):
        export("hf", tmp_path, tmp_path / "out", {"size": "8x8"})
    monkeypatch.setattr(exporter, "require", lambda extra: None)
    with pytest.raises(InputError, match="--dtype bf16: graphs are written in fp32"):
        export("onnx", tmp_path, tmp_path / "out", {"dtype": "bf16"})


def test_a_format_whose_extra_is_missing_says_so(tmp_path, monkeypatch):
    def require(extra: str) -> None:
        raise InputError(f"this needs the extra {extra}")

    monkeypatch.setattr(exporter, "require", require)
    with pytest.raises(InputError, match="extra edge"):
        export("onnx", tmp_path, tmp_path / "out", {})
    assert list(EXPORTS) == ["gguf", "hf", "onnx"]
