"""Export to GGUF, which llama.cpp and Ollama load, with a Modelfile for Ollama."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundup.codecs import gguf_tokenizer
from groundup.codecs.tokenizer_files import TokenizerFiles
from groundup.core.errors import InputError
from groundup.core.files import write_text
from groundup.core.tables import EXPORTS
from groundup.model import gguf, weights
from groundup.release.about import about
from groundup.release.export import _modelfile
from groundup.release.exporter import Export
from groundup.release.folder import release
from groundup.release.lineage import lineage

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

FILE = "model.gguf"
TYPES = ("F32", "BF16", "F16", "Q8_0", "Q4_0")


def export(model: Path, out: Path, kind: str = "F16") -> list[Path]:
    """Write a finished stage's model to `out`, its matrices as `kind`, one of TYPES; return the files.

    Raises InputError as `release`, for an unknown type, and for a model that GGUF cannot express.
    """
    if kind not in TYPES:
        raise InputError(
            f"--type {kind}: is none of {', '.join(TYPES)}; llama.cpp's llama-quantize makes others of F16"
        )
    if weights.config_of(model).patch:
        raise InputError(f"{model}: sees images, which GGUF has no place for in this layout; export it with --to hf")
    return release(model, out, {"layout": "gguf", "dtype": kind}, __name__, lambda folder: _write(model, folder, kind))


def _write(model: Path, folder: Path, kind: str) -> None:
    named = {"general.name": about(model).name or model.name, "general.license": ", ".join(lineage(model).licences)}
    write(model, folder / FILE, kind, named)
    write_text(folder / "Modelfile", _modelfile.text(FILE, TokenizerFiles.read(model)))


def write(model: Path, path: Path, kind: str, named: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write the model of a folder to a GGUF file, `named` among its metadata.

    Raises InputError for a model that GGUF cannot express: what is read back must have the same config.
    """
    loaded = weights.load(model, torch.device("cpu"))
    _, table = weights.layout_of(loaded.config)
    name, values = gguf.metadata(table)
    values |= gguf_tokenizer.metadata(TokenizerFiles.read(model), loaded.config.vocab) | dict(named)
    tensors = loaded.state_dict()
    _write_file(path, name, values, kind, lambda: gguf.stored(table, weights.stored(loaded.config, tensors)))
    if weights.config_of(gguf.GGUFSource(path)) != loaded.config:
        raise InputError(f"{model}: GGUF has no keys for all that its config.json says; export it with --to hf")


def _write_file(
    path: Path,
    name: str,
    values: Mapping[str, Any],
    kind: str,
    tensors: Callable[[], Iterable[tuple[str, NDArray[np.float32]]]],
) -> None:
    """Write a file; `tensors` gives them twice, one at a time: for the header, and for the data."""
    from gguf import GGML_QUANT_SIZES, GGUFWriter, LlamaFileType

    with closing(GGUFWriter(None, name)) as writer:
        writer.add_type("model")
        writer.add_quantization_version(2)
        writer.add_file_type(LlamaFileType["ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"])
        for key, value in values.items():
            _add(writer, key, value)
        for stored, array in tensors():
            form = _form(stored, array, kind)
            block, size = GGML_QUANT_SIZES[form]
            writer.add_tensor_info(stored, array.shape, array.dtype, array.size // block * size, form)
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for stored, array in tensors():
            writer.write_tensor_data(_stored_as(_form(stored, array, kind), stored, array))


def _add(writer: "GGUFWriter", key: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case list():
            writer.add_array(key, value)


def _form(name: str, array: NDArray[np.float32], kind: str) -> "GGMLQuantizationType":
    """How a tensor is stored: norms and biases exactly, embeddings never with 4 bits, rows of odd length as fp16."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if array.ndim == 1:
        return GGMLQuantizationType.F32
    form = GGMLQuantizationType[kind]
    if form == GGMLQuantizationType.Q4_0 and name in ("token_embd.weight", "output.weight"):
        form = GGMLQuantizationType.Q8_0
    return GGMLQuantizationType.F16 if array.shape[-1] % GGML_QUANT_SIZES[form][0] else form


def _stored_as(form: "GGMLQuantizationType", name: str, array: NDArray[np.float32]) -> NDArray[Any]:
    from gguf.quants import quantize

    try:
        with np.errstate(over="raise"):
            found: NDArray[Any] = quantize(np.ascontiguousarray(array), form)
    except FloatingPointError:
        raise InputError(f"{name} has weights that are too large for {form.name}; export with --type BF16") from None
    return found


def _export(model: Path, out: Path, options: Mapping[str, str]) -> list[Path]:
    return export(model, out, options.get("type", "F16"))


_TYPE = "GGUF has types of its own; give --type instead"
_ANY_SIZE = "a GGUF file of this layout sees no images; leave it out, or export --to onnx"
EXPORTS.add("gguf", Export(_export, {"dtype": _TYPE, "size": _ANY_SIZE}))
