"""A sample of what `python -m tests.pipeline.kill_everywhere` does at every change of a file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.kill_everywhere import ACTIONS, build, unsynced

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="a library is loaded before the C library: needs Linux and a C compiler",
)
SAMPLES = {"run": 3, "retrain": 1, "export": 1, "export-over": 1, "new": 2, "key": 2}


@pytest.mark.slow
def test_whatever_happens_at_a_change_of_a_file_the_same_command_ends_with_the_same_bits() -> None:
    samples = [f"--sample={name}={count}" for name, count in SAMPLES.items()]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.kill_everywhere", *samples], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(ended.stdout.splitlines()) == len(SAMPLES) * len(ACTIONS), ended.stdout


CHANGES = """\
import ctypes, os, shutil, sys
from pathlib import Path
from groundup.core.files import write_text
from groundup.model.tensor_file import write_tensors
import pyarrow as pa, pyarrow.parquet as pq, torch
folder = Path(sys.argv[1])
ctypes.CDLL(None).fault_arm(os.fsencode(folder), 0, 0, os.fsencode(sys.argv[2]))
write_text(folder / "text", "a")
write_tensors({"a": torch.zeros(3)}, folder / "tensors", {})
pq.write_table(pa.table({"a": [1]}), folder / "table")
shutil.copyfile(folder / "text", folder / "copy")
(folder / "copy").rename(folder / "moved")
(folder / "deep").mkdir()
shutil.rmtree(folder / "deep")
(folder / "text").unlink()
(folder.parent / "elsewhere").write_text("not counted")
"""


def test_changes_are_seen_in_whatever_language_they_are_made(tmp_path: Path) -> None:
    folder, log = tmp_path / "folder", tmp_path / "log"
    folder.mkdir()
    environment = os.environ | {"LD_PRELOAD": str(build(tmp_path))}
    subprocess.run([sys.executable, "-c", CHANGES, str(folder), str(log)], env=environment, check=True)
    changes = [line.split("\t") for line in log.read_text().splitlines()]
    names = [name for name, *_ in changes]
    assert {name: names.count(name) for name in set(names)}.keys() == {
        "open",
        "write",
        "sync",
        "rename",
        "unlink",
        "mkdir",
        "rmdir",
    }
    written = {Path(path).name for name, _, path, _ in changes if name == "write"}
    assert {"table", "copy"} <= written
    assert any(name.startswith(".text.") for name in written)
    assert any(name == "rename" and other.endswith("/tensors") for name, _, _, other in changes)
    assert not any("elsewhere" in path for _, _, path, _ in changes)
    assert {Path(path).name for path in unsynced(log)} == {"tensors", "table", "moved"}
