"""Writing of tensors to a safetensors file."""

import os
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write contiguous ``tensors`` to ``path`` in the safetensors format.

    Raises:
        OSError: the file cannot be written. The exception of safetensors contains the error number only in its text.

    """
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
