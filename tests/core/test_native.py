"""Libraries that are compiled here: probed before they are used, kept once, and only where nobody else can change
them.
"""

import shutil
import sys
from pathlib import Path

import pytest

from groundup.core import compilers, native

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no cc")

PROBE = """
import ctypes, os, sys
from pathlib import Path
with Path(__file__).with_name("probed").open("a") as file:
    file.write("x")
sys.exit(ctypes.CDLL(sys.argv[1]).answer() != 42)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a source, a probe for it, and the cache."""
    (tmp_path / "small.c").write_text("int answer(void) { return 42; }")
    (tmp_path / "small_probe.py").write_text(PROBE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def made(home: Path, choices: tuple[tuple[str, ...], ...] = ((),)) -> bool:
    return native.library(home / "small.c", choices, "small_probe") is not None


def probed(home: Path) -> int:
    return len((home / "probed").read_text()) if (home / "probed").exists() else 0


def kept(home: Path) -> list[Path]:
    return list((home / "cache" / "groundup").iterdir())


def test_a_library_is_probed_once(home: Path) -> None:
    assert made(home)
    assert made(home)
    assert probed(home) == 1
    assert len(kept(home)) == 1


def test_another_probe_probes_again(home: Path) -> None:
    assert made(home)
    (home / "small_probe.py").write_text(PROBE + "# more")
    assert made(home)
    assert probed(home) == 2


@pytest.mark.parametrize("wrong", ["return 41;", "__builtin_trap();"], ids=["another answer", "dies"])
def test_a_library_that_is_wrong_is_not_used_and_that_is_said(
    home: Path, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "small.c").write_text(f"int answer(void) {{ {wrong} return 0; }}")
    assert not made(home)
    assert kept(home) == []
    assert "gives wrong results here; it is not used" in " ".join(capsys.readouterr().err.split())


def test_flags_under_which_it_is_right_are_taken(home: Path) -> None:
    (home / "small.c").write_text("int answer(void) { return ANSWER; }")
    assert made(home, (("-DANSWER=41",), ("-DANSWER=42",)))
    assert probed(home) == 2


@pytest.mark.parametrize("loose", ["folder", "above", "library", "link", "owner"])
def test_a_library_that_others_may_have_put_there_is_not_loaded(
    home: Path, loose: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is planted cannot be loaded: that would raise. In a folder of ours it is replaced, one that may be others'
    is left alone.
    """
    assert made(home)
    (cached,) = kept(home)
    cached.unlink()
    cached.write_bytes(b"planted")
    folder = cached.parent
    match loose:
        case "folder":
            folder.chmod(0o777)
        case "above":
            folder.parent.chmod(0o777)
        case "library":
            cached.chmod(0o666)
        case "link":
            folder.rename(folder.with_name("elsewhere"))
            folder.symlink_to(folder.with_name("elsewhere"))
        case "owner":
            monkeypatch.setattr("os.geteuid", lambda: 12345)
    assert made(home)
    assert (cached.read_bytes() == b"planted") is (loose != "library")
    assert ("compiled code is not kept" in " ".join(capsys.readouterr().err.split())) is (loose != "library")


def test_where_nothing_can_be_kept_it_is_compiled_for_this_once(home: Path) -> None:
    (home / "cache").mkdir()
    (home / "cache" / "groundup").write_text("a file where the folder should be")
    assert made(home)


def test_a_folder_that_is_no_longer_private_is_replaced_for_the_process(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = native.folder.__wrapped__("torch")
    assert first == home / "cache" / "groundup" / "torch"
    assert first.stat().st_mode & 0o077 == 0
    first.chmod(0o777)
    other = native.folder.__wrapped__("torch")
    assert first not in (other, *other.parents)
    assert native.is_private(other)
    assert "other users can change it" in " ".join(capsys.readouterr().err.split())


def test_flags_of_a_faulty_compiler_are_used_for_our_own_c(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "small.c").write_text("#ifndef HELPED\n#error\n#endif\nint answer(void) { return 42; }")
    assert not made(home)
    monkeypatch.setattr(compilers, "flags", lambda command: ("-DHELPED",))
    assert made(home)
    assert sys.executable
