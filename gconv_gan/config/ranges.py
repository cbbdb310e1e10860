"""Ranges of numbers for keywords of parts and keys of configs; pydantic defines the others (``PositiveInt``, …)."""

from typing import Annotated

from pydantic import Field

Fraction = Annotated[float, Field(gt=0, le=1)]
"""Above 0, at most 1."""
Share = Annotated[float, Field(ge=0, le=1)]
"""From 0 to 1."""
Beta = Annotated[float, Field(ge=0, lt=1)]
"""From 0, below 1: the decay of a running average."""
