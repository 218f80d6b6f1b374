"""What was measured on images: on the page with its pictures, in the tables, and on the terminal."""

import io
import re
from copy import deepcopy

import pytest
from rich.console import Console

from groundup.evaluate.figure import Figure, proportion
from groundup.evaluate.runner import Evaluation
from groundup.release.card import markdown
from groundup.release.report import write_report
from groundup.release.terminal import render
from tests.release.page import Page
from tests.release.release_helpers import ATTACK, RECIPE, evaluation, make_run

JPEG, PNG = "data:image/jpeg;base64,/9j/", "data:image/png;base64,iVBO"
THING = {"kind": f"cup{ATTACK}", "box": [0.1, 0.25, 0.5, 1.0], "score": 0.75}
WHOLE = Figure(0.41, None, None, 60).as_dict()
MATCHES = {
    "precision": proportion(6, 8).as_dict(),
    "recall": proportion(6, 12).as_dict(),
    "f1": Figure(0.6, None, None, 60).as_dict(),
}
MISTAKE = {"image": JPEG, "size": [128, 96], "looked": PNG, "truth": "cat", "said": ATTACK, "probability": 0.984}


def classes(names: list[str]) -> dict:
    counts = [
        [8 if truth == said else int(said == truth + 1) for said in range(len(names))] for truth in range(len(names))
    ]
    return {
        "accuracy": proportion(8 * len(names), sum(map(sum, counts))).as_dict(),
        "commonest": 1 / len(names),
        "classes": names,
        "counts": counts,
        "recall": {name: proportion(8, sum(row)).as_dict() for name, row in zip(names, counts, strict=True)},
        "worst": [MISTAKE] * 3,
    }


SEEN = {
    "images": {"zoo": classes(["cat", "dog", ATTACK]), "birds": classes([f"bird {number}" for number in range(30)])},
    "questions": {
        "scenes": {
            "average": proportion(3, 10).as_dict(),
            "rows": [
                {
                    "family": "detect",
                    "language": "en",
                    "level": 1,
                    "exact_match": proportion(3, 10).as_dict(),
                    "mistakes": [],
                    "boxes": MATCHES,
                },
                {
                    "family": "count",
                    "language": "en",
                    "level": 1,
                    "exact_match": proportion(3, 10).as_dict(),
                    "mistakes": [],
                    "boxes": None,
                },
            ],
        }
    },
    "boxes": {
        "streets": {"ap": WHOLE, "ap50": WHOLE, "ar": WHOLE, "kinds": {"cup": WHOLE}, "score": 0.5, **MATCHES}
        | {"pictures": [{"image": JPEG, "size": [128, 64], "truth": [THING], "found": [THING, THING]}] * 2}
    },
    "probe": {"zoo": proportion(9, 10).as_dict()},
}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    home = tmp_path_factory.mktemp("seen")
    write_report(make_run(home, evaluation() | SEEN), RECIPE, home / "report.html")
    return (home / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def shots(page):
    return [item.all("svg")[0] for item in page.all("figure") if item.attributes.get("class") == "shot"]


def test_pictures_lie_in_the_page_and_are_described(page, text):
    assert len(shots(page)) == 3 + 3 + 1 + 2  # mistakes of both sources, the matrix of the larger one, boxes
    assert all(shot.attributes["role"] == "img" and shot.attributes["aria-label"] for shot in shots(page))
    assert {image.attributes["href"] for image in page.all("image")} == {JPEG, PNG}
    assert ATTACK not in text and not re.findall(r"url\((?!#)", text)


def test_boxes_are_drawn_where_they_lie_and_told_apart_without_colour(page):
    (shot,) = [shot for shot in shots(page) if shot.attributes["aria-label"].startswith("Ground truth")][:1]
    rects = shot.all("rect")
    assert [rect.attributes["class"] for rect in rects] == ["halo", "truth", "halo", "detection", "halo", "detection"]
    assert [float(rects[1].attributes[key]) for key in ("x", "y", "width", "height")] == [12.8, 16.0, 51.2, 48.0]
    assert rects[3].all("title")[0].full_text == f"cup{ATTACK}, 75 %"
    style = page.all("style")[0].full_text
    assert re.search(r"\.truth \{[^}]*stroke-dasharray", style) and not re.search(
        r"\.detection \{[^}]*stroke-dasharray", style
    )


def test_a_matrix_is_a_table_while_it_is_small(page):
    tables = {table.all("caption")[0].full_text: table for table in page.all("table")}
    small = tables["Confusion matrix of zoo: a row a true class, a column a predicted one"]
    assert [[cell.full_text for cell in row.children] for row in small.all("tr")][1] == ["cat", "8", "1", "·"]
    assert "Confusion matrix of birds: a row a true class, a column a predicted one" not in tables
    (matrix,) = [shot for shot in shots(page) if shot.attributes["aria-label"].startswith("Confusion matrix of 30")]
    assert len(matrix.all("rect")) == 30 + 29
    assert matrix.all("title")[1].full_text == "bird 0 predicted as bird 1: 1"


def test_tables_hold_every_figure():
    found = {table.caption: table for table in Evaluation.from_json(SEEN).display().tables}
    summary, boxes = (
        found["Classification of held-out images"],
        next(table for caption, table in found.items() if caption.startswith("Detection in held-out")),
    )
    assert [len(row) for table in found.values() for row in table.rows] == [
        len(table.columns) for table in found.values() for _ in table.rows
    ]
    assert [row[0] for row in summary.rows] == ["zoo", "birds"]
    assert [row[0] for row in boxes.rows] == ["streets"]
    assert len(found["Recall by class of birds, the 20 lowest of 30"].rows) == 20
    assert all(markdown(table) for table in found.values())


def test_the_terminal_shows_them():
    said = io.StringIO()
    Console(file=said, width=160).print(render(Evaluation.from_json(evaluation() | SEEN).display()))
    assert "Classification of held-out images" in said.getvalue() and "AP at IoU 0.5" in said.getvalue()


def test_headlines_name_them():
    titles = [title for title, _, _ in Evaluation.from_json(SEEN).display().headline]
    assert titles == ["Average precision, streets", "Accuracy, zoo", "Accuracy, birds", "Exact match, scenes"]


def test_a_picture_that_lies_elsewhere_is_not_shown():
    foreign = deepcopy(SEEN)
    foreign["images"]["zoo"]["worst"] = [
        MISTAKE | {"image": "https://example.org/track.png", "looked": "data:image/svg+xml,<svg/>"}
    ]
    galleries = Evaluation.from_json(foreign).display().galleries
    (shot,) = next(each.pictures for each in galleries if each.title == "Mistakes with the highest probability, zoo")
    assert (shot.image, shot.overlay) == ("", "")


def test_without_images_there_are_no_galleries():
    assert Evaluation.from_json(evaluation()).display().galleries == []
