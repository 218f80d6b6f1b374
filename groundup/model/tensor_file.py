"""Writes safetensors files with the error class and file mode of ordinary files."""

import os
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from groundup.core.files import temporary_folder


def write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write contiguous tensors in host memory. Raises OSError if the system refuses, such as on a full disk.

    The library has its own error class and file mode, and leaves temporary files when killed; so it writes in a
    temporary folder.
    """
    with temporary_folder(path) as folder:
        made = folder / path.name
        made.touch()
        mode = made.stat().st_mode
        try:
            save_file(tensors, made, metadata)
        except SafetensorError as error:
            if found := re.search(r"\(os error (\d+)\)", str(error)):
                raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error
            raise
        made.chmod(mode)
        made.replace(path)
