"""GGUF files are read as `gguf` reads them; damaged ones are refused in one sentence before memory is taken."""

import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize

from groundup.core import gguf_file
from groundup.core.errors import InputError
from groundup.core.gguf_file import GGUFFile
from tests.gguf_samples import field, raw, stored, tensor, text, write

KINDS = [GGMLQuantizationType[name] for name in (
    "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0",
    "MXFP4", "NVFP4", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S", "IQ1_M", "IQ4_NL", "IQ4_XS",
)]  # fmt: skip


def opened(folder: Path, content: bytes) -> GGUFFile:
    (folder / "a.gguf").write_bytes(content)
    return GGUFFile.open(folder / "a.gguf")


# --- what is read -------------------------------------------------------------------------------------------


def test_metadata_of_every_type_is_read(tmp_path):
    writer = GGUFWriter(None, "llama")
    numbers = {"uint8": 255, "int8": -1, "uint16": 65535, "int16": -2, "uint32": 1 << 31, "int32": -3}
    numbers |= {"uint64": 1 << 63, "int64": -4, "float32": 1e-5, "float64": 0.1, "bool": True, "string": "猫"}
    for kind, value in numbers.items():
        getattr(writer, f"add_{kind}")(kind, value)
    arrays = {"texts": ["a", "", "é"], "ints": [1, -2], "floats": [0.5, -1.0], "flags": [True, False]}
    for key, value in arrays.items():
        writer.add_array(key, value)
    writer.write_header_to_file(tmp_path / "a.gguf")
    writer.write_kv_data_to_file()
    writer.close()
    found = GGUFFile.open(tmp_path / "a.gguf").metadata
    assert {key: found[key] for key in numbers} == numbers
    assert {key: list(found[key]) for key in arrays} == arrays


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_weights_of_every_type_are_those_that_gguf_dequantises(tmp_path, monkeypatch, kind):
    data = stored(kind)
    write(tmp_path / "a.gguf", {}, {"w": (data, kind)})
    monkeypatch.setattr(gguf_file, "_PIECE", 512)  # several pieces
    found = GGUFFile.open(tmp_path / "a.gguf").tensors["w"].read()
    with np.errstate(all="ignore"):
        expected = dequantize(data, kind)
    block, size = GGML_QUANT_SIZES[kind]
    assert found.shape == (3, data.shape[1] // size * block)
    assert found.tobytes() == expected.astype(np.float32).tobytes()


def test_the_kinds_tested_are_all_that_gguf_dequantises():
    from gguf import quants

    assert {*quants._type_traits, GGMLQuantizationType.F16} == set(KINDS)


def test_names_shapes_and_places_are_those_of_another_reader(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        f"t{n}": rng.random(shape, np.float32) for n, shape in enumerate([(5,), (3, 7), (2, 3, 4), (1, 2, 2, 2)])
    }
    path = write(tmp_path / "a.gguf", {"general.alignment": 64}, tensors)
    found = GGUFFile.open(path).tensors
    for theirs in GGUFReader(path).tensors:
        ours = found.pop(theirs.name)
        assert ours.shape == tuple(reversed(theirs.shape.tolist()))
        assert np.array_equal(ours.read(), tensors[theirs.name])
    assert not found


def test_version_2_is_read(tmp_path):
    assert opened(tmp_path, raw(tensors=(tensor("w"),), version=2)).tensors["w"].read().tolist() == [0.0] * 8


def test_a_type_without_weights_is_refused(tmp_path):
    file = opened(tmp_path, raw(tensors=(tensor("w", kind=26),)))
    with pytest.raises(InputError, match=r"a.gguf: tensor w is stored as I32, which is no type of weights"):
        file.tensors["w"].read()


# --- shards -------------------------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """A model of three shards."""
    writer = GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=1)
    writer.add_uint32("answer", 42)
    for number in range(3):
        writer.add_tensor(f"t{number}", np.full(4, number, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(tmp_path.iterdir())


@pytest.mark.parametrize("given", [0, 2])
def test_a_set_of_shards_is_one_model_whichever_is_named(shards, given):
    file = GGUFFile.open(shards[given])
    assert file.metadata["answer"] == 42
    assert {name: tensor.read()[0] for name, tensor in file.tensors.items()} == {"t0": 0, "t1": 1, "t2": 2}


def test_a_missing_shard_is_named(shards):
    shards[1].unlink()
    with pytest.raises(InputError, match=r"m-00002-of-00003.gguf: this shard of m-00001-of-00003.gguf is missing"):
        GGUFFile.open(shards[0])


def test_a_shard_of_another_name_is_refused(shards):
    with pytest.raises(InputError, match=r"b.gguf: is one of 3 shards; give it its name back, NAME-00001-of-00003"):
        GGUFFile.open(shards[0].rename(shards[0].with_name("b.gguf")))


def test_a_shard_in_the_place_of_another_is_refused(shards):
    shards[1].write_bytes(shards[2].read_bytes())
    with pytest.raises(InputError, match=r"m-00002-of-00003.gguf: is not shard 2 of 3"):
        GGUFFile.open(shards[0])


def test_shards_that_lack_a_tensor_are_refused(shards):
    at = (whole := shards[0].read_bytes()).index(b"split.tensors.count") + len(b"split.tensors.count") + 4
    shards[0].write_bytes(whole[:at] + struct.pack("<I", 4) + whole[at + 4 :])
    with pytest.raises(InputError, match=r"the shards hold 3 tensors, and should hold 4"):
        GGUFFile.open(shards[0])


# --- what is refused ----------------------------------------------------------------------------------------

TWICE = field("a", b"\1\0\0\0")
HUGE = struct.pack("<Q", 1 << 62)
BAD = {
    "empty": (b"", "does not begin with GGUF"),
    "other format": (b"PK\3\4" + bytes(60), "does not begin with GGUF"),
    "version 1": (raw(version=1), "has version 1 of GGUF; read are 2 and 3"),
    "big-endian": (raw(version=3 << 24), "of a big-endian machine"),
    "many tensors": (raw(tensors_told=1 << 40), "announces 1,099,511,627,776 tensors, more than fit"),
    "many fields": (raw(fields_told=1 << 40), "announces 1,099,511,627,776 metadata fields"),
    "long key": (raw((HUGE + b"key",)), "it ends in the key of metadata field 0"),
    "long text": (raw((field("a", HUGE, 8),)), "it ends in 'a'"),
    "long array": (raw((field("a", struct.pack("<I", 6) + HUGE, 9),)), "numbers in 'a', more than fit"),
    "long list of texts": (raw((field("a", struct.pack("<I", 8) + HUGE, 9),)), "texts in 'a', more than fit"),
    "list of lists": (raw((field("a", struct.pack("<IQ", 9, 0), 9),)), "unknown type 9, or a list of lists"),
    "type": (raw((field("a", bytes(8), 13),)), "'a' is of the unknown type 13"),
    "key that is no text": (raw((field(b"\xff", bytes(4)),)), "the key of metadata field 0 is not UTF-8"),
    "text that is none": (raw((field("a", text(b"\xc3("), 8),)), "'a' is not UTF-8"),
    "key twice": (raw((TWICE, TWICE)), "the key 'a' stands twice"),
    "alignment 0": (raw((field("general.alignment", bytes(4)),)), "general.alignment is 0, which is no power of two"),
    "alignment text": (raw((field("general.alignment", text("x"), 8),)), "general.alignment is 'x'"),
    "tensor twice": (raw(tensors=(tensor("w"), tensor("w", offset=32)), data=64), "tensor 'w' stands twice"),
    "overlap": (raw(tensors=(tensor("v"), tensor("w")), data=64), "tensor 'w' overlaps another"),
    "beyond the end": (raw(tensors=(tensor("w", offset=32),)), "reaches beyond the file's end"),
    "beyond all": (raw(tensors=(tensor("w", (1 << 40, 1 << 40, 1 << 40, 1 << 40)),)), "reaches beyond the file's end"),
    "not aligned": (raw(tensors=(tensor("w", offset=8),), data=64), "is not aligned"),
    "no dimension": (raw(tensors=(tensor("w", ()),)), "has 0 dimensions; expected 1 to 4"),
    "dimensions": (raw(tensors=(tensor("w", (1,) * 5),)), "has 5 dimensions"),
    "empty side": (raw(tensors=(tensor("w", (4, 0)),)), r"has sides \[4, 0\]"),
    "half a block": (raw(tensors=(tensor("w", (33, 2), 8),)), r"sides \[33, 2\]; Q8_0 stores rows in blocks of 32"),
    "unknown quantisation": (raw(tensors=(tensor("w", kind=99),)), "tensor 'w' has the unknown type 99; known are F32"),
    "shards": (raw((field("split.count", bytes(4)),)), "split.count is 0; expected a whole number from 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path, name):
    content, message = BAD[name]
    with pytest.raises(InputError, match=message) as raised:
        opened(tmp_path, content)
    assert "\n" not in str(raised.value) and "a.gguf" in str(raised.value)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = raw((TWICE, field("b", struct.pack("<IQ", 8, 2) + text("x") + text("y"), 9)), (tensor("w", (4, 2)),))
    assert opened(tmp_path, whole).tensors["w"].shape == (2, 4)
    for length in range(len(whole)):
        with pytest.raises(InputError):
            opened(tmp_path, whole[:length])


def test_what_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "none.gguf"):
        with pytest.raises(InputError, match=f"{re.escape(str(path))}: cannot be read"):
            GGUFFile.open(path)


def test_an_endless_header_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_file, "MOST_HEADER", 1 << 16)
    (tmp_path / "a.gguf").write_bytes(raw((field("a", struct.pack("<IQ", 8, 1 << 20), 9),), data=16 << 20))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"more than fit in it|takes more than 65,536 bytes"):
        GGUFFile.open(tmp_path / "a.gguf")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
