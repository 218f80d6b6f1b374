"""The kernels: each computes what `Ops` computes, and a row's bits depend on that row alone."""

import math
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from groundup.core.errors import InputError
from groundup.generate.engine import Engine
from groundup.generate.sampling import Sampling
from groundup.kernels.cpu import backend as cpu
from groundup.kernels.cpu import kernels, probe
from groundup.kernels.cpu.backend import cpu_backend, pack_weights
from groundup.kernels.cpu.matrix import Packed, quantise
from groundup.model.linear import Linear
from groundup.model.ops import TORCH
from groundup.model.rotary import Rotary
from tests.generate.generate_helpers import Ids, native_model, random_prompts
from tests.random_models import CONFIG, random_model

pytestmark = pytest.mark.skipif(kernels.library() is None, reason="no C compiler")

# One rounding to bf16 more or less: 2^-8 of a number. fp32: sums of 100 terms in another order.
CLOSE = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.bfloat16: {"rtol": 2**-7, "atol": 2**-7}}
BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


@pytest.fixture
def backend():
    return cpu_backend(CONFIG)


def noise(*size: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def native_linear(weight: torch.Tensor, weights: str, backend) -> Callable[[torch.Tensor], torch.Tensor]:
    packed = Packed(weight, weights)
    return lambda x: backend.linear(x, packed)


@BOTH
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 8, 9, 33])
@pytest.mark.parametrize(("outputs", "inputs"), [(16, 16), (300, 48), (17, 80), (33, 208)])
def test_linear_equals_the_module(backend, dtype, rows, outputs, inputs):
    module = Linear(inputs, outputs)
    module.weight.data = noise(outputs, inputs).to(dtype) / inputs**0.5
    x = noise(rows, inputs, seed=2).to(dtype)
    torch.testing.assert_close(native_linear(module.weight, "full", backend)(x), module(x).detach(), **CLOSE[dtype])


@BOTH
@pytest.mark.parametrize(("weights", "steps", "tolerance"), [("int8", 127, 0.02), ("int4", 7, 0.02)])
@pytest.mark.parametrize("inputs", [48, 64, 80])
def test_whole_numbers_are_multiplied_exactly(backend, dtype, weights, steps, tolerance, inputs):
    """Against the same whole numbers times their scales in fp32: what remains is the rounding of x to 8 bits, under
    1/127 of its largest.
    """
    weight, x = noise(40, inputs).to(dtype) / inputs**0.5, noise(9, inputs, seed=2).to(dtype)
    whole, scales = quantise(weight, math.gcd(inputs, 64 if weights == "int8" else 32), steps)
    expected = x.float() @ (whole.view(40, scales.shape[1], -1) * scales[..., None]).view(40, inputs).T
    found = native_linear(weight, weights, backend)(x).float()
    assert (found - expected).abs().max() < tolerance * expected.abs().max()


def test_quantising_keeps_the_largest_of_a_group_and_is_half_a_step_off_at_most():
    weight = noise(20, 64)
    whole, scales = quantise(weight, 16, 127)
    back = (whole.view(20, 4, 16) * scales[..., None]).view(20, 64)
    assert whole.abs().max() == 127
    assert ((back - weight).abs() <= 0.501 * scales.repeat_interleave(16, 1)).all()


@BOTH
def test_rms_norm_equals_torch(backend, dtype):
    weight, x = noise(48), noise(1, 11, 48, seed=2).to(dtype)
    torch.testing.assert_close(backend.rms_norm(x, weight, 1e-6), TORCH.rms_norm(x, weight, 1e-6), **CLOSE[dtype])


@BOTH
def test_rotary_embedding_equals_torch(backend, dtype):
    x = noise(2, 9, 4, 16).to(dtype)
    angles = Rotary(16, 10_000.0).angles(torch.stack([torch.arange(9), torch.arange(40, 49)]))
    expected = TORCH.rotary_embedding(x, *angles)
    torch.testing.assert_close(backend.rotary_embedding(x.clone(), *angles), expected, **CLOSE[dtype])


@BOTH
def test_swiglu_equals_torch(backend, dtype):
    wide = torch.linspace(-100, 100, 1600).view(1, 20, 80).to(dtype)
    up = noise(1, 20, 80).to(dtype)
    torch.testing.assert_close(backend.swiglu(wide, up), TORCH.swiglu(wide, up), **CLOSE[dtype])


@BOTH
def test_the_best_is_the_first_of_the_largest(backend, dtype):
    scores = noise(30, 300).to(dtype)
    scores[3, 17] = scores[3, 250] = 9.0
    scores[4, 299] = scores[5, 280] = 9.0
    assert cpu.argmax(backend, scores, 290).tolist() == scores[:, :290].argmax(-1).tolist()


@BOTH
@pytest.mark.parametrize("weights", ["full", "int8", "int4"])
def test_a_row_of_a_matrix_product_has_the_same_bits_in_any_company(backend, dtype, weights):
    linear = native_linear(noise(300, 80).to(dtype), weights, backend)
    x = noise(37, 80, seed=2).to(dtype)
    together = linear(x)
    for size in (1, 2, 3, 5, 8, 13):
        for start in range(0, 37 - size, 6):
            assert torch.equal(linear(x[start : start + size]), together[start : start + size])


@BOTH
def test_the_number_of_threads_changes_no_bit(dtype):
    found = []
    for threads in (1, 2):
        model, backend = native_model(dtype)
        backend.threads = threads
        found.append(Engine(model, Ids(), backend).complete(random_prompts(12), 20, Sampling(temperature=1.0)))
    assert found[0] == found[1]


@pytest.mark.parametrize("weights", ["full", "int8", "int4"])
def test_a_planted_model_is_near_the_one_that_trained(weights):
    """In full precision to rounding. With whole numbers the mean difference of the log-probabilities, random weights
    being the worst case.
    """
    model, _ = native_model(weights=weights)
    ids, positions = torch.tensor([random_prompts(1, 60)[0]]), torch.arange(len(random_prompts(1, 60)[0]))[None]
    reference = random_model()
    with torch.no_grad():
        expected = reference.logits(reference(ids, positions)).log_softmax(-1)
        found = model.logits(model(ids, positions)).log_softmax(-1)
    assert (found - expected).abs().mean() < {"full": 1e-5, "int8": 0.03, "int4": 0.5}[weights]


def test_rows_beyond_the_context_have_their_angles_too(backend):
    model = random_model(context=8)
    ids, positions = torch.arange(24)[None], torch.arange(24)[None]
    with torch.no_grad():
        plain = model(ids, positions)
        pack_weights(model, "full", backend)
        torch.testing.assert_close(model(ids, positions), plain, rtol=1e-3, atol=1e-3)


def test_whole_numbers_without_a_compiler_are_refused():
    with pytest.raises(InputError, match="needs a C compiler"):
        pack_weights(random_model(), "int8", None)


def test_rows_that_are_not_whole_vectors_go_without_kernels():
    assert cpu_backend(random_model(width=40).config) is None


def test_a_compiler_that_fails_is_as_good_as_none(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for compiler in ("/nonexistent", "false"):
        monkeypatch.setenv("CC", compiler)
        assert kernels.library.__wrapped__() is None
    assert not list((tmp_path / "groundup").glob("*.so"))


def test_compiled_once_for_a_processor(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second = kernels.library.__wrapped__(), kernels.library.__wrapped__()
    assert first is not None
    assert second is not None
    assert len(list((tmp_path / "groundup").iterdir())) == 1
    assert (tmp_path / "groundup").stat().st_mode & 0o077 == 0


# What a compiler may do: from, to. Each is in code that some shapes alone run through.
FAULTS = {
    "a tile of thirteen rows": ("case 13: panel(m, x, p, out, 13)", "case 13: panel(m, x, p, out, 12)"),
    "the last columns": (
        "put(y, (r + i) * N + p * LANES + j, out[i][j], wide)",
        "put(y, (r + i) * N + p * LANES + j, out[i][j ^ 1], wide)",
    ),
    "rounding": ("(bits >> 16) & 1)", "(bits >> 9) & 0x7fff)"),
    "what is no number": (
        "v16f scale = *(const v16f *)(scales + g * LANES);",
        "v16f scale = *(const v16f *)(scales + g * LANES) / 0.0f;",
    ),
    "the ends of heads": (
        "put(y, at + e, first * c[e] - second * s[e], wide)",
        "put(y, at + e, first * c[e] + second * s[e], wide)",
    ),
    "biases": ("out[i][j] += bias[p * LANES + j]", "out[i][j] += bias[j]"),
    "windows": ("(t->positions[row + i / group] - a->window)", "(t->positions[row] - a->window)"),
    "gelu": ("if (gelu) z = 1.59576912f", "if (!gelu) z = 1.59576912f"),
    "keys of a second block": ("queries[i * E + e + 1];", "queries[i * E + e];"),
    "a trap": (
        "static void best(",
        "static void best_(const void *x) { (void)x; __builtin_trap(); }\nstatic void best(",
    ),
}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc")
@pytest.mark.parametrize("fault", FAULTS)
def test_the_probe_finds_code_that_is_wrong(tmp_path, fault):
    source, (good, bad) = kernels.SOURCE.read_text(), FAULTS[fault]
    assert good in source
    source = source.replace(good, bad)
    if fault == "a trap":
        source = source.replace("case BEST: best(", "case BEST: best_(p[0]), best(")
    (tmp_path / "wrong.c").write_text(source)
    command = [
        "cc",
        "-O0",
        "-march=native",
        "-std=gnu11",
        "-shared",
        "-fPIC",
        "-w",
        str(tmp_path / "wrong.c"),
        "-lm",
        "-o",
        str(tmp_path / "wrong.so"),
    ]
    subprocess.run(command, check=True)
    assert (
        subprocess.run([sys.executable, "-m", kernels.PROBE, str(tmp_path / "wrong.so")], check=False).returncode != 0
    )


def test_the_probe_passes_code_that_is_right():
    assert probe.main(str(kernels.library()._name)) == 0
