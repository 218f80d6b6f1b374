"""Pictures: attached only where the model sees, made small in the browser, sent as data."""

import base64
import struct
import zlib

import pytest

pytestmark = pytest.mark.browser


def png(width, height):
    """A picture with a colour gradient."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(
        b"\0" + bytes(value for x in range(width) for value in (x * 255 // width, y * 255 // height, 90))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"tEXt", b"Comment\0secret place")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def sight(chat):
    chat.page.get_by_label("Model").select_option("vision_engine")
    return chat


def attach(chat, *files):
    chat.page.set_input_files(
        ".composer input[type=file]",
        [{"name": name, "mimeType": kind, "buffer": content} for name, kind, content in files],
    )


def test_a_model_that_does_not_see_gets_no_pictures(chat):
    assert not chat.page.get_by_role("button", name="Attach images").is_visible()
    chat.page.get_by_label("Model").select_option("vision_engine")
    assert chat.page.get_by_role("button", name="Attach images").is_visible()


def test_a_picture_is_made_small_and_sent_as_data(sight, host):
    attach(sight, ("big.png", "image/png", png(1600, 400)))
    sight.page.wait_for_selector(".previews img")
    sight.say("What is it?")
    image, text = host.asked[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    url = image["image_url"]["url"]
    content = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    assert struct.unpack(">II", content[16:24]) == (1024, 256)
    assert b"secret place" not in content
    assert sight.page.locator(".message.user img").get_attribute("alt") == "Image 1"
    assert sight.page.locator(".previews li").count() == 0
    sight.page.reload()
    sight.page.wait_for_selector(".message.user img")


def test_pictures_stay_with_a_message_that_is_edited_or_exported(sight, host):
    attach(sight, ("a.png", "image/png", png(8, 8)))
    sight.page.wait_for_selector(".previews img")
    sight.say("What?")
    sight.page.keyboard.press("Alt+e")
    sight.page.keyboard.type(" And why?")
    sight.page.keyboard.press("Control+Enter")
    sight.settle()
    assert [part["type"] for part in host.asked[1]["messages"][0]["content"]] == ["image_url", "text"]


def test_a_picture_can_be_taken_away_again(sight, host):
    attach(sight, ("a.png", "image/png", png(8, 8)), ("b.png", "image/png", png(8, 8)))
    sight.page.wait_for_selector(".previews li:nth-child(2)")
    sight.page.get_by_role("button", name="Remove image 1").click()
    sight.say("")
    assert [part["type"] for part in host.asked[0]["messages"][0]["content"]] == ["image_url"]


def test_what_is_no_picture_is_refused(sight):
    attach(
        sight,
        ("x.png", "image/png", b"no picture"),
        ("x.svg", "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    )
    sight.page.wait_for_selector(".toast >> text=x.svg is not an image")
    assert sight.page.locator(".toast").count() == 2
    assert sight.page.locator(".previews li").count() == 0


def test_a_picture_is_pasted(sight):
    sight.page.evaluate(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "pasted.png", {type: "image/png"}));
            document.getElementById("composer").dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
        }""",
        list(png(8, 8)),
    )
    sight.page.wait_for_selector(".previews img")
