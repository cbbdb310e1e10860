"""The base of every config model: frozen, strict (no silent conversion), unknown keys forbidden, no inf or nan."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

SampleCount = Annotated[int, Field(ge=2)]
"""How many images a score is of: one alone has no spread."""


class Config(BaseModel):
    """Pure typed data. The docstring under a field is its ``--help`` text."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
