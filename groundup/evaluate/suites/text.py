"""Suite: bits per byte and perplexity a word of a user's own text files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from groundup.core import units
from groundup.core.errors import InputError
from groundup.core.tables import SUITES
from groundup.evaluate.display import Cell, Display, Headline, Row, Table
from groundup.evaluate.figure import Figure, ratio
from groundup.evaluate.questions import records, text
from groundup.evaluate.suite import Advance, Suite, SuiteInputs, ignored
from groundup.evaluate.suites.bits_per_byte import code_lengths
from groundup.generate.engine import Engine

LARGEST = 256 << 20  # bytes of a file


@dataclass(frozen=True)
class TextFile:
    """Bits per byte, perplexity a word (words as white space separates them), and the size of what was measured."""

    bits_per_byte: Figure
    word_perplexity: Figure
    bytes: int
    words: int


@dataclass(frozen=True)
class TextFiles:
    """The result, by file."""

    text_files: dict[str, TextFile] = field(default_factory=dict)


# --- measuring ---------------------------------------------------------------------------------------------------


def measure(inputs: SuiteInputs) -> TextFiles:
    """Measure the files that the recipe names."""
    files = inputs.paths(inputs.options.text)
    return TextFiles({path: of_file(inputs.engine, file, inputs.advance) for path, file in files.items()})


def of_file(engine: Engine, path: Path, advance: Advance = ignored) -> TextFile:
    """The figures of a file: one text of UTF-8, or JSON lines with a text each under "text".

    Code lengths are those of the suite "bits-per-byte"; perplexity a word is 2 to the bits a word. Raises InputError
    for a file without text, and one that is too large, not readable or not UTF-8.
    """
    lengths = list(code_lengths(engine, _texts(path), advance))
    bits, sizes, words = (
        [bits for _, bits in lengths],
        [len(each.encode()) for each, _ in lengths],
        [len(each.split()) for each, _ in lengths],
    )
    if not sum(words):
        raise InputError(f"{path}: holds no text to measure; give a file of UTF-8 text")
    return TextFile(ratio(bits, sizes), _perplexity(bits, words), sum(sizes), sum(words))


def _perplexity(bits: Sequence[float], words: Sequence[int]) -> Figure:
    figure = ratio(bits, words)
    value, low, high = (None if each is None else _power(each) for each in (figure.value, figure.low, figure.high))
    assert value is not None, "a ratio has a value"
    return Figure(value, low, high, figure.n)


def _power(bits: float) -> float:
    """2 to the power of the bits; on overflow, as with scripts that do not separate words, the largest float."""
    return math.exp2(min(bits, 1023.0))


def _texts(path: Path) -> list[str]:
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: larger than {units.size(LARGEST)}; measure a part of it")
        if path.suffix.lower() == ".jsonl":
            return [text(value, "text", where) for where, value in records(path, None, "texts")]
        return [path.read_bytes().decode("utf-8-sig")]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a text file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8; convert the file to UTF-8") from None


# --- display -----------------------------------------------------------------------------------------------------


def display(result: TextFiles) -> Display:
    """A headline and a row a file."""
    entries = result.text_files.items()
    rows: list[Row] = [
        [
            Cell(path, verbatim=True),
            units.size(entry.bytes),
            f"{entry.words:,}",
            units.number(entry.bits_per_byte.value, 3),
            units.number(entry.word_perplexity.value, 1),
        ]
        for path, entry in entries
    ]
    columns = ("file", ">text", ">words", ">bits per byte", ">perplexity a word")
    headline = [Headline(f"Bits per byte, {path}", f"{entry.bits_per_byte.value:.2f}") for path, entry in entries]
    return Display(headline, [Table("Text files: lower is better", columns, rows)])


SUITES.add("text", Suite(1, TextFiles, measure, display, "evaluate.text names no file"))
