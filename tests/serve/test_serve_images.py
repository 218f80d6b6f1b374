"""Images over HTTP: seen as the engine sees them, and refused with the place that is wrong; nothing is fetched and
nothing stays.
"""

import base64
import io
import struct
import zlib

import httpx
import pytest
from PIL import Image

from groundup.data.document import Document
from groundup.evaluate.prompts import prompt_of
from groundup.generate import image_inputs
from groundup.generate.request import Request
from groundup.serve import schema
from groundup.serve.app import make_app
from groundup.serve.images import ImageLoader
from groundup.serve.serving import Serving
from tests.serve.serve_helpers import (
    IMAGE_MODEL,
    FakeRegistry,
    Model,
    Server,
    events,
    listening,
    serving,
    small_service,
    vision_tokenizer,
)


@pytest.fixture(scope="module")
def with_images():
    return vision_tokenizer()


@pytest.fixture(scope="module")
def service(with_images):
    service = small_service(with_images, vocab=with_images.size, **IMAGE_MODEL)
    yield service
    service.close(0)


@pytest.fixture(scope="module")
def server(service, page, tmp_path_factory):
    with serving(service, page) as running:
        yield running


def png(width=16, height=12, shade=90, form="PNG"):
    picture = Image.new("RGB", (width, height))
    picture.putdata([(x * 255 // width, y * 255 // height, shade) for y in range(height) for x in range(width)])
    out = io.BytesIO()
    picture.save(out, form)
    return out.getvalue()


def uri(data=None, kind="png"):
    return f"data:image/{kind};base64,{base64.b64encode(png() if data is None else data).decode()}"


def part(url=None, **more):
    return {"type": "image_url", "image_url": {"url": uri() if url is None else url} | more}


def text(said):
    return {"type": "text", "text": said}


def see(server, *content, **fields):
    body = {
        "model": "small",
        "messages": [{"role": "user", "content": list(content)}],
        "temperature": 0,
        "max_tokens": 8,
    }
    return server.post("/v1/chat/completions", body | fields)


def refused(response, where, words):
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == where
    assert words in error["message"]


def bomb():
    """A header that says 60,000 x 60,000, and nothing behind it."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


# --- seen -------------------------------------------------------------------------------------------------------


def test_an_image_is_answered_as_by_the_engine(server, with_images):
    engine = server.service.engine
    first, second = (image_inputs.from_bytes(engine.config, png(shade=shade)) for shade in (90, 200))
    messages = [{"role": "user", "content": [{"type": "image"}, text("one"), {"type": "image"}, text("two")]}]
    ids, placed = image_inputs.prompt(with_images, messages, [first, second])
    pieces = []
    server.service.submit(Request(ids, 8, images=placed), pieces.append)
    found = see(server, part(), text("one"), part(uri(png(shade=200)), detail="low"), text("two")).json()
    server.idle()
    assert found["choices"][0]["message"]["content"] == "".join(piece.text for piece in pieces)
    assert found["usage"]["prompt_tokens"] == len(ids) > 2 * 12
    assert [each.grid.patches for each in placed] == [12, 12]


def test_the_same_image_comes_from_the_cache_and_another_does_not(server):
    words = text("seven eight nine ten " * 4)
    first = see(server, words, part(uri(png(shade=1))), words).json()
    again = see(server, words, part(uri(png(shade=1))), words).json()
    other = see(server, words, part(uri(png(shade=255))), words).json()
    counts = [each["usage"]["prompt_tokens_details"]["cached_tokens"] for each in (first, again, other)]
    assert counts[1] > counts[2] >= counts[0]
    assert again["choices"] == first["choices"]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_the_usual_formats_are_read(server, form):
    assert see(server, part(uri(png(form=form), form.lower()))).status_code == 200


def test_an_answer_about_an_image_is_streamed(server):
    whole = see(server, part(), text("one")).json()["choices"][0]["message"]["content"]
    chunks = events(see(server, part(), text("one"), stream=True).text)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == whole


def test_models_say_whether_they_see(server):
    found = server.client.get(server.url + "/v1/models/small").json()
    assert found["images"] is True
    assert found["sight"] == {"patch": 4, "patches": 16, "kinds": ["a", "b"]}


@pytest.mark.judge
def test_openais_client_shows_an_image(server):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        messages = [{"role": "user", "content": [text("one"), part(detail="high")]}]
        answer = client.chat.completions.create(model="small", messages=messages, max_tokens=4, temperature=0)
        assert (
            answer.choices[0].message.content
            == see(server, text("one"), part(), max_tokens=4).json()["choices"][0]["message"]["content"]
        )
        with pytest.raises(openai.BadRequestError, match="not fetched"):
            client.chat.completions.create(
                model="small", messages=[{"role": "user", "content": [part("https://example.org/a.png")]}]
            )


# --- embedded ---------------------------------------------------------------------------------------------------


def test_images_and_texts_are_embedded_together(server, with_images):
    payload = {"model": "small", "input": ["one", {"image": uri()}, {"image": uri(png(shade=200))}]}
    found = server.post("/v1/embeddings", payload).json()
    vectors = [item["embedding"] for item in found["data"]]
    assert sum(value * value for value in vectors[1]) == pytest.approx(1, abs=1e-5)
    assert vectors[1] != pytest.approx(vectors[2], abs=1e-3)
    assert (
        vectors[1]
        == server.post("/v1/embeddings", payload | {"input": {"image": uri()}}).json()["data"][0]["embedding"]
    )
    assert found["usage"]["prompt_tokens"] == len(with_images.encode("one")) + 2 * (12 + 2)


@pytest.mark.parametrize(
    ("value", "where", "words"),
    [
        ({"image": "https://example.org/a.png"}, "input[0]", "not fetched"),
        (["one", {"image": uri(b"no image")}], "input[1]", "not an image"),
        ([{"image": uri(), "text": "one"}], "input[0]", "nothing beside it"),
        ([{"image": 3}], "input[0]", "must be a text"),
        ([{"image": uri()}] * 17, "input[16]", "17 images"),
        ([{"image": uri()}, ""], "input", "at least one token"),
    ],
)
def test_what_cannot_be_embedded_is_refused(server, value, where, words):
    refused(server.post("/v1/embeddings", {"model": "small", "input": value}), where, words)


# --- what lies where ------------------------------------------------------------------------------------------------


def test_things_are_those_that_evaluation_finds(server, service, with_images):
    images = [png(), png(shade=200)]
    found = server.post(
        "/v1/detections", {"model": "small", "least": 0.05, "input": [{"image": uri(data)} for data in images]}
    ).json()
    documents = [Document("here", "0", "CC0-1.0", images=(data,), detections=((),)) for data in images]
    rows = [prompt_of(service.engine, document) for document in documents]
    expected = service.engine.detector.detect(rows)
    for item, [there] in zip(found["data"], expected, strict=True):
        assert [thing["kind"] for thing in item["things"]] == [thing.class_name for thing in there]
        for thing, other in zip(item["things"], there, strict=True):
            assert [*thing["box"], thing["score"]] == pytest.approx([*other.box, other.score], abs=1e-4)
    assert found["usage"]["prompt_tokens"] == 24
    assert any(item["things"] for item in found["data"])


def test_rotated_things_have_their_corners(with_images, page):
    service = small_service(with_images, vocab=with_images.size, **IMAGE_MODEL | {"rotated": True})
    with serving(service, page) as running:
        payload = {"model": "small", "least": 0.05, "input": {"image": uri()}}
        [item] = running.post("/v1/detections", payload).json()["data"]
        assert running.client.get(running.url + "/v1/models/small").json()["sight"]["rotated"] is True
    document = Document("here", "0", "CC0-1.0", images=(png(),), detections=((),))
    [[expected]] = service.engine.detector.detect([prompt_of(service.engine, document)])
    service.close(0)
    assert len(item["things"]) == len(expected) > 0
    for thing, other in zip(item["things"], expected, strict=True):
        assert thing["box"] == pytest.approx([*other.box], abs=1e-4)
        assert [value for corner in thing["corners"] for value in corner] == pytest.approx(other.corners, abs=1e-3)


def test_a_thing_is_told_from_the_score_on_that_was_asked_for(server):
    payload = {"model": "small", "input": {"image": uri()}}
    scores = [
        thing["score"] for thing in server.post("/v1/detections", payload | {"least": 0.05}).json()["data"][0]["things"]
    ]
    least = sorted(scores)[len(scores) // 2]
    kept = server.post("/v1/detections", payload | {"least": least}).json()["data"][0]["things"]
    assert [thing["score"] for thing in kept] == [score for score in scores if score >= least]


@pytest.mark.parametrize(
    ("fields", "where", "words"),
    [
        ({"input": "one"}, "input[0]", "must be"),
        ({"input": [{"image": uri()}, {"image": uri(b"no image")}]}, "input[1]", "not an image"),
        ({"input": {"image": uri()}, "least": 0}, "least", "0.05"),
        ({"input": [{"image": uri()}] * 17}, "input", "17 items"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(server, fields, where, words):
    refused(server.post("/v1/detections", {"model": "small"} | fields), where, words)


def photograph(exif=b"", form="JPEG", **more):
    """As a camera writes it, its EXIF block as given."""
    out = io.BytesIO()
    Image.open(io.BytesIO(png())).save(out, form, quality=90, **more)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif if exif else b""
    return out.getvalue()[:2] + segment + out.getvalue()[2:]


NEGATIVE = struct.pack("<2sHIHHHIiI", b"II", 42, 8, 1, 0x0100, 9, 1, -5, 0)


@pytest.mark.parametrize(
    "odd",
    [
        photograph(b"no EXIF at all"),
        photograph(NEGATIVE),
        photograph(form="MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))]),
        photograph() + b"trailing",
    ],
)
def test_ordinary_photographs_with_odd_surroundings_are_seen_as_their_pixels(server, odd):
    expected = see(server, part(uri(photograph(), "jpeg"))).json()["choices"]
    found = see(server, part(uri(odd, "jpeg")))
    assert found.status_code == 200, found.text
    assert found.json()["choices"] == expected


def test_16_bits_are_seen_as_8(server):
    deep = Image.frombytes("I;16", (16, 12), b"".join(struct.pack("<H", value * 257) for value in range(192)))
    flat = Image.frombytes("L", (16, 12), bytes(range(192)))
    shown = []
    for picture in (deep, flat):
        out = io.BytesIO()
        picture.save(out, "PNG")
        shown.append(see(server, part(uri(out.getvalue()))).json()["choices"])
    assert shown[0] == shown[1]


# --- refused ----------------------------------------------------------------------------------------------------

HERE = "messages[0].content[1]"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (part(uri(bomb())), "too many pixels"),
        (part(uri(png()[:50])), "damaged image"),
        (part(uri(png(1, 1))), "too small"),
        (part(uri(b"")), "empty file"),
        (part(uri(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg+xml")), "not an image"),
        (part("data:image/png;base64,@@@@"), "not base64"),
        (part("data:image/png,abc"), "not a data URI"),
        (part("data:text/html;base64,AAAA"), "not a data URI"),
        (part("http://127.0.0.1:1/a.png"), "not fetched"),
        (part("HTTPS://example.org/a.png"), "not fetched"),
        (part("file:///etc/hostname"), "not fetched"),
        (part("ftp://example.org/a.png"), "not fetched"),
        (part("/etc/hostname"), "not fetched"),
        (part(detail="original"), "'original'; it must be one of auto, low, high"),
        (part(detail=["low"]), "must be one of"),
        (part(size=3), "size is not supported"),
        (part() | {"cache_control": {}}, "cache_control is not supported"),
        ({"type": "image_url"}, "needs a url"),
        ({"type": "image_url", "image_url": uri()}, "needs a url"),
        ({"type": "image_url", "image_url": {"url": 3}}, "needs a url"),
        ({"type": "image"}, "images come as"),
    ],
)
def test_images_that_cannot_be_used_are_refused_by_their_place(server, given, words):
    refused(see(server, text("one"), given), HERE, words)


def test_moving_images_are_refused(server):
    out = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), shade) for shade in ("red", "blue")]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    refused(see(server, text("one"), part(uri(out.getvalue(), "gif"))), HERE, "moving image")


def test_samples_without_a_range_are_refused(server):
    out = io.BytesIO()
    Image.new("F", (8, 8), 0.5).save(out, "TIFF")
    refused(see(server, text("one"), part(uri(out.getvalue(), "tiff"))), HERE, "floating-point samples of 32 bits")


def test_too_many_images_are_refused(server):
    refused(see(server, *[part()] * 17), "messages[0].content[16]", f"the most is {schema.MAX_IMAGES}")


def test_all_images_together_have_a_most_of_pixels(server, monkeypatch):
    monkeypatch.setattr("groundup.codecs.image.MOST_PIXELS", 500)
    assert see(server, part(), part()).status_code == 200  # 2 x 192
    refused(see(server, part(), part(), part()), "messages[0].content[2]", "576 pixels; the most is 500")


def test_a_large_file_is_refused(server, monkeypatch):
    monkeypatch.setattr("groundup.serve.images.MAX_IMAGE_BYTES", 40)
    refused(see(server, text("one"), part()), HERE, "too large")


def test_images_that_leave_no_room_are_refused(page, with_images):
    service = small_service(with_images, vocab=with_images.size, context=64, **IMAGE_MODEL)
    with serving(service, page) as small:
        found = see(small, *[part()] * 6).json()["error"]
        assert (found["code"], found["param"]) == ("context_length_exceeded", "messages")
        assert small.post("/v1/embeddings", {"model": "small", "input": {"image": uri()}}).status_code == 200
    service.close(0)


@pytest.mark.parametrize("role", ["system", "assistant", "tool"])
def test_only_a_user_shows_images(server, role):
    body = {"model": "small", "messages": [{"role": "user", "content": "one"}, {"role": role, "content": [part()]}]}
    refused(server.post("/v1/chat/completions", body), "messages[1].content[0]", "only a user")


def test_a_model_without_a_vision_encoder_refuses_images(page, tokenizer):
    service = small_service(tokenizer)
    with serving(service, page) as text_only:
        refused(see(text_only, text("one"), part()), HERE, "no vision encoder")
        refused(
            text_only.post("/v1/embeddings", {"model": "small", "input": {"image": uri()}}),
            "input[0]",
            "no vision encoder",
        )
        assert text_only.client.get(text_only.url + "/v1/models/small").json()["images"] is False
    service.close(0)


# --- from a folder ----------------------------------------------------------------------------------------------


@pytest.fixture
def shop(with_images, tmp_path):
    """A server that may read the images of a folder."""
    folder = tmp_path / "shop"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a b.png").write_bytes(png())
    (folder / "words.png").write_text("no image")
    (tmp_path / "secret.png").write_bytes(png())
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    service = small_service(with_images, vocab=with_images.size, **IMAGE_MODEL)
    shelf = FakeRegistry(Model("small", service))
    with (
        listening(make_app(Serving(shelf, image_loader=ImageLoader(folder)))) as port,
        httpx.Client(timeout=60, trust_env=False) as client,
    ):
        yield Server(port, shelf, client), folder
    service.close(0)


def test_a_file_of_the_folder_is_the_same_image(shop):
    server, folder = shop
    expected = see(server, part()).json()["choices"]
    for url in (
        "in/a b.png",
        str(folder / "in" / "a b.png"),
        f"file://{folder}/in/a%20b.png",
        f"file://localhost{folder}/in/a%20b.png",
    ):
        assert see(server, part(url)).json()["choices"] == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("../secret.png", "no file in the server's folder"),
        ("{folder}/../secret.png", "no file in"),
        ("file://{folder}/%2e%2e/secret.png", "no file in"),
        ("file://elsewhere{folder}/in/a%20b.png", "no file in"),
        ("link.png", "no file in"),
        ("in", "no file in"),
        ("missing.png", "no file in"),
        ("a\0.png", "no file in"),
        ("", "no file in"),
        ("x" * 5000, "no file in"),
        ("words.png", "not an image"),
        ("http://example.org/a.png", "not fetched"),
        ("https:a.png", "not fetched"),
    ],
)
def test_what_is_not_in_the_folder_is_refused(shop, url, words):
    server, folder = shop
    refused(see(server, part(url.format(folder=folder))), "messages[0].content[0]", words)
