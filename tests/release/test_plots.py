"""Curves show the log's numbers, thinned but not bent, and can stand beside each other in one page."""

import re
from xml.etree import ElementTree

import pytest

from groundup.release import plots

SVG = "{http://www.w3.org/2000/svg}"


def log(steps, **fields):
    return [
        {"step": n, "tokens": 10 * n, "loss": 5.0 / n, "tokens_per_second": 100.0, "share_of_peak": 0.5, **fields}
        for n in range(1, steps + 1)
    ]


def test_a_short_log_is_drawn_as_it_is():
    tokens, mean, low, high = plots._curve(log(7), "loss")
    assert tokens == [10 * n for n in range(1, 8)] and mean == low == high == [5.0 / n for n in range(1, 8)]


@pytest.mark.parametrize("steps", [plots.POINTS + 1, 1000, 12_345])
def test_a_long_log_is_thinned_without_losing_its_mean_or_extremes(steps):
    records = log(steps)
    tokens, mean, low, high = plots._curve(records, "loss")
    assert len(tokens) == len(mean) <= plots.POINTS
    assert max(high) == records[0]["loss"] and min(low) == records[-1]["loss"] and tokens[-1] == 10 * steps
    assert all(below <= middle <= above for below, middle, above in zip(low, mean, high, strict=True))


def test_heldout_losses_are_collected_by_source():
    records = [*log(3), {**log(4)[-1], "heldout": {"a": 1.0, "b": 2.0}}, {**log(5)[-1], "heldout": {"a": 0.5}}]
    assert plots._heldout(records) == {"a": [(40, 1.0), (50, 0.5)], "b": [(40, 2.0)]}


def test_the_label_says_what_is_seen():
    chart = plots.loss("pretrain", [*log(9), {**log(10)[-1], "heldout": {"notes": 0.75}}])
    assert ElementTree.fromstring(chart.svg).attrib["aria-label"] == chart.label
    assert chart.label == "Loss of pretrain: training from 5.00 to 0.50 nats a token; held out notes 0.75"
    assert chart.keys == ("training", "held out: notes")


def test_texts_stay_texts_and_colours_are_the_pages():
    svg = plots.loss("pretrain", log(20)).svg
    assert "tokens seen" in {node.text for node in ElementTree.fromstring(svg).iter(f"{SVG}text")}
    assert not re.findall(r"#0000\w\w|DejaVu|<style|metadata", svg) and "var(--series-1)" in svg


def test_ids_of_two_pictures_differ():
    first, second = (
        set(re.findall(r'id="([^"]*)"', plots.loss(stage, log(20)).svg)) for stage in ("pretrain", "instruct")
    )
    assert first and second and not first & second


def test_what_a_picture_refers_to_is_in_it():
    svg = plots.speed("pretrain", log(20)).svg
    referred = {*re.findall(r'href="#([^"]*)"', svg), *re.findall(r"url\(#([^)]*)\)", svg)}
    assert referred and referred <= set(re.findall(r'id="([^"]*)"', svg))
