"""The page's files: what others wrote is unchanged, nothing is inline or from elsewhere, everything is said in both
languages.
"""

import hashlib
import re

import pytest

from tests.serve.page.fake_server import PAGE

TEXTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in sorted(PAGE.iterdir())
    if path.suffix in (".html", ".js", ".css", ".svg")
}
OURS = {name: text for name, text in TEXTS.items() if name.endswith(".js")}
ADDRESS = re.compile(r"https?://(?!www\.w3\.org/(?:2000/svg|1999/xhtml)\b)[\w.-]+")


def test_what_others_wrote_is_unchanged_and_licensed():
    table = re.findall(
        r"^\| ([^|]+) \| ([\d.]+) \| ([\w.-]+) \| (\S+\.js) \| ([0-9a-f]{64}) \|",
        (PAGE / "vendor" / "README.md").read_text(),
        re.MULTILINE,
    )
    files = {path.name for path in (PAGE / "vendor").glob("*.js")}
    assert {file for *_, file, _ in table} == files
    for name, _, licence, file, digest in table:
        assert hashlib.sha256((PAGE / "vendor" / file).read_bytes()).hexdigest() == digest, name
        text = (PAGE / "vendor" / f"{file.split('.')[0]}.LICENSE.txt").read_text()
        words = {
            "MIT": "Permission is hereby granted",
            "Apache-2.0": "Apache License",
            "BSD-3-Clause": "Neither the name",
        }
        assert words[licence] in text


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    html = TEXTS["index.html"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)
    assert {name: ADDRESS.findall(text) for name, text in TEXTS.items() if ADDRESS.findall(text)} == {}
    used = re.findall(r'(?:src|href)="([^"#]+)"', html)
    assert used and all((PAGE / name).is_file() for name in used)
    assert "@import" not in "".join(TEXTS.values()) and "url(" not in "".join(
        text for name, text in TEXTS.items() if name.endswith(".css")
    )


@pytest.mark.parametrize(
    "danger",
    [
        r"\beval\(",
        r"new Function",
        r"\binnerHTML\b",
        r"\bouterHTML\b",
        r"insertAdjacentHTML",
        r"document\.write",
        r"setTimeout\(\s*[\"'`]",
    ],
)
def test_no_text_becomes_markup_or_code(danger):
    assert [name for name, text in OURS.items() if re.search(danger, text)] == []


def test_modules_import_what_there_is_and_none_is_left_over():
    imported = {"main.js", "theme.js"}
    for name, text in OURS.items():
        for source in re.findall(r'(?:from|import) "\./([^"]+)"', text):
            assert (PAGE / source).is_file(), f"{name}: {source}"
            imported.add(source)
    assert set(OURS) <= imported


def test_modules_stay_small():
    lines = {
        name: sum(bool(line.strip()) for line in text.splitlines()) for name, text in OURS.items() if name != "i18n.js"
    }
    assert {name: count for name, count in lines.items() if count > 300} == {}


def _strings(language):
    block = re.search(rf"^const {language} = \{{$(.*?)^\}};$", TEXTS["i18n.js"], re.MULTILINE | re.DOTALL).group(1)
    return dict(re.findall(r'^  "?([\w.]+)"?: (.+),$', block, re.MULTILINE))


def test_everything_is_said_in_both_languages_with_the_same_values():
    english, chinese = _strings("en"), _strings("zh")
    assert english.keys() == chinese.keys()
    assert len(english) > 150
    for key, said in english.items():
        if said.startswith('"'):
            assert set(re.findall(r"\{(\w+)\}", said)) == set(re.findall(r"\{(\w+)\}", chinese[key])), key


def test_every_string_is_used_and_every_one_used_is_there():
    code = "".join(text for name, text in OURS.items() if name != "i18n.js")
    used = set(re.findall(r'\bt\(\s*"([\w.]+)"', code)) | set(re.findall(r'"([\w.]+)"', code))
    patterns = [
        re.compile(re.sub(r"\\\$\\\{[^}]*\\\}", r"[\\w-]+", re.escape(text)))
        for text in re.findall(r"\bt\(\s*`([^`]+)`", code)
    ]
    strings = _strings("en")
    assert [key for key in strings if key not in used and not any(pattern.fullmatch(key) for pattern in patterns)] == []
    assert [key for key in re.findall(r'\bt\(\s*"([\w.]+)"', code) if key not in strings] == []
