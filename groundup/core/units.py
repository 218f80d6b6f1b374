"""Format quantities as text with units, the same on pages, cards and in the terminal."""

import math
from collections.abc import Sequence

NONE = "–"
_SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float | None, digits: int = 0) -> str:
    """A number with thousands separators.

    >>> number(1234567), number(1.2345, 3), number(None)
    ('1,234,567', '1.234', '–')
    """
    return NONE if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def short(value: float) -> str:
    """A count to three significant figures.

    >>> short(950), short(3_412_000), short(1.2e9), short(999_999)
    ('950', '3.41 M', '1.2 B', '1 M')
    """
    return _scaled(value, _SCALES)


def flops(value: float) -> str:
    """Floating-point operations with an SI prefix.

    >>> flops(3.42e15), flops(0)
    ('3.42 PFLOP', '–')
    """
    return f"{_scaled(value, _PREFIXES)}FLOP" if value >= 1e3 else NONE


def _scaled(value: float, scales: tuple[tuple[float, str], ...]) -> str:
    for scale, letter in scales:
        if value >= scale * 0.9995:
            return f"{value / scale:.3g} {letter}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """A duration in its two largest units.

    >>> duration(0.02), duration(42), duration(554), duration(7380), duration(200_000)
    ('< 0.1 s', '42 s', '9 min 14 s', '2 h 3 min', '2 d 7 h')
    """
    if 0 < seconds < 0.05:
        return "< 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    units = (("d", whole // 86400), ("h", whole // 3600 % 24), ("min", whole // 60 % 60), ("s", whole % 60))
    largest = next(place for place, (_, amount) in enumerate(units) if amount)
    return " ".join(f"{amount} {name}" for name, amount in units[largest : largest + 2] if amount)


def size(count: float) -> str:
    """Bytes in binary units.

    >>> size(12), size(5_400_000), size(3 * 2**30)
    ('12 B', '5.15 MiB', '3 GiB')
    """
    for scale, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= scale:
            return f"{count / scale:.{3 if count / scale < 1000 else 4}g} {name}"
    return f"{count:.0f} B"


def energy(joules: float | None) -> str:
    """Energy in kWh or Wh; None means "not measured".

    >>> energy(None), energy(90_000), energy(7_200_000)
    ('not measured', '25 Wh', '2 kWh')
    """
    if joules is None:
        return "not measured"
    return f"{joules / 3.6e6:.3g} kWh" if joules >= 3.6e6 else f"{joules / 3600:.3g} Wh"


def listed(names: Sequence[str]) -> str:
    """Names as an enumeration in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction in per cent.

    >>> percent(0.9137), percent(1), percent(None)
    ('91.4 %', '100.0 %', '–')
    """
    return NONE if fraction is None or math.isnan(fraction) else f"{100 * fraction:.{digits}f} %"
