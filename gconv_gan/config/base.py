"""The base of every config model: frozen, strict (no silent conversion), unknown keys forbidden, no inf or nan."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError("a name has letters, digits, . _ - only, and begins with a letter or a digit")
    return name


FolderName = Annotated[str, AfterValidator(_folder_name)]
"""The name of a run, which names its folder."""

SampleCount = Annotated[int, Field(ge=2)]
"""Number of images of a score: at least two."""

EngineName = Literal["auto", "eager", "cuda_graph"]
PrecisionName = Literal["fp32", "tf32", "bf16"]
Deterministic = bool | Literal["auto"]


class Config(BaseModel):
    """Pure typed data. The docstring under a field is its ``--help`` text."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
