"""Suite: bits per byte of held-out text, the code length under the model, comparable across tokenizers."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from groundup.codecs.normal import normalise, repair_surrogates
from groundup.core import units
from groundup.core.errors import InputError
from groundup.core.tables import SUITES
from groundup.evaluate.baselines import TRAINING_BYTES, baselines
from groundup.evaluate.display import Display, Headline, Table
from groundup.evaluate.figure import Figure, ratio
from groundup.evaluate.suite import Advance, Suite, SuiteInputs, ignored
from groundup.evaluate.texts import sample
from groundup.generate.engine import Engine
from groundup.generate.scoring import ScoredText

CHARACTERS = 1 << 20  # of text measured at a time, which bounds the memory of the ids


@dataclass(frozen=True)
class Text:
    """Bits per byte of one source by the model and by each baseline, with the bytes measured and learned from."""

    model: Figure
    baselines: dict[str, Figure]
    bytes: int
    training_bytes: int


@dataclass(frozen=True)
class BitsPerByte:
    """The result, by source."""

    bits_per_byte: dict[str, Text] = field(default_factory=dict)


# --- measuring ---------------------------------------------------------------------------------------------------


def measure(inputs: SuiteInputs) -> BitsPerByte:
    """Measure each source of text that the run used."""
    found = {}
    for source in inputs.sources:
        if source.holds == "text" and source.name in inputs.documents:
            if text := _source(inputs, inputs.file(source)):
                found[source.name] = text
            else:
                inputs.note(
                    f"source {source.name!r} has no held-out text, so no bits per byte; raise its heldout_share, or"
                    " name it in a stage's mix"
                )
    return BitsPerByte(found)


def _source(inputs: SuiteInputs, file: Path | None) -> Text | None:

    options, engine = inputs.options, inputs.engine
    texts = sample(file, heldout=True, limit=options.validation_megabytes * 1e6) if file else []
    if not file or not texts:
        return None
    training = sample(file, heldout=False, limit=TRAINING_BYTES) if options.baselines else []
    return Text(
        bits_per_byte(engine, texts, inputs.advance),
        baselines(training, texts, inputs.advance) if training else {},
        *(sum(len(text.encode()) for text in each) for each in (texts, training)),
    )


def bits_per_byte(engine: Engine, texts: Iterable[str], advance: Advance = ignored) -> Figure:
    """-log2 p of the texts divided by their bytes of UTF-8, both in normal form; texts are the cases of the interval.

    Each token is coded once. A text's first token, untrained, costs log2 of the vocabulary, or nothing where the
    tokenizer puts it before each text; the closing <|endoftext|> costs nothing. A text longer than the context is read
    in windows that overlap by half, so after the first window every token has at least half a context before it. Raises
    InputError without text.
    """
    lengths = list(code_lengths(engine, texts, advance))
    if not lengths:
        raise InputError("there is no text to measure bits per byte on; keep some held out (heldout_share)")
    return ratio([bits for _, bits in lengths], [len(text.encode()) for text, _ in lengths])


def code_lengths(engine: Engine, texts: Iterable[str], advance: Advance = ignored) -> Iterator[tuple[str, float]]:
    """Each non-empty text, in normal form, with its code length in bits as `bits_per_byte` defines it."""
    for group in _groups(texts):
        yield from zip(group, _bits(engine, [engine.tokenizer.encode_start(text) for text in group]), strict=True)
        advance(len(group))


def windows(ids: list[int], context: int) -> Iterator[ScoredText]:
    """Cut a text into rows that together score every id except the first, each once."""

    if len(ids) > 1:
        yield ScoredText(ids[: context + 1], 1)
    step = max(1, context // 2)
    for start in range(context + 1, len(ids), step):
        stop = min(start + step, len(ids))
        begin = stop - context - 1
        yield ScoredText(ids[begin:stop], start - begin)


def _bits(engine: Engine, texts: list[list[int]]) -> list[float]:

    rows = [list(windows(ids, engine.config.context)) for ids in texts]
    values = iter(engine.scorer.negative_log_likelihoods([row for text in rows for row in text]))
    first = 0.0 if engine.tokenizer.begin else math.log(engine.config.vocab)
    return [(first + sum(next(values) for _ in text)) / math.log(2) for text in rows]


def _groups(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in normal form, without empty ones, in lists of about CHARACTERS."""
    group: list[str] = []
    for text in filter(None, (normalise(repair_surrogates(text)) for text in texts)):
        group.append(text)
        if sum(map(len, group)) >= CHARACTERS:
            yield group
            group = []
    if group:
        yield group


# --- display -----------------------------------------------------------------------------------------------------


def display(result: BitsPerByte) -> Display:
    """A headline and a row for each source: the model beside the baselines."""
    entries = result.bits_per_byte
    methods = list(dict.fromkeys(method for entry in entries.values() for method in entry.baselines))
    rows = [
        [
            source,
            units.size(entry.bytes),
            _spread(entry.model),
            *(_value(entry.baselines.get(each)) for each in methods),
        ]
        for source, entry in entries.items()
    ]
    columns = ("source", ">text", ">model", *(f">{method}" for method in methods))
    headline = [_headline(source, entry) for source, entry in entries.items()]
    return Display(headline, [Table("Bits per byte of held-out text, lower is better", columns, rows)])


def _headline(source: str, entry: Text) -> Headline:
    best = min(entry.baselines.items(), key=lambda item: item[1].value, default=None)
    note = "" if best is None else f"best baseline {best[1].value:.2f}, {best[0]}"
    return Headline(f"Bits per byte, {source}", f"{entry.model.value:.2f}", note)


def _value(figure: Figure | None) -> str:
    return units.number(figure.value if figure else None, 3)


def _spread(figure: Figure) -> str:
    return _value(figure) + ("" if figure.low is None else f" ({figure.low:.3f}–{figure.high:.3f})")


SUITES.add("bits-per-byte", Suite(1, BitsPerByte, measure, display, "no source of text was used"))
