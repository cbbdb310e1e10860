"""Colours of the page and of its plots, light and dark; both use the same palette."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Theme:
    """Hexadecimal colours. Text colours have a contrast of at least 4.5 : 1 on ``page`` and on ``card`` (WCAG 2.2, 1.4.3)."""

    name: Literal["light", "dark"]
    page: str
    card: str
    ink: str
    muted: str
    rule: str
    accent: str
    series: tuple[str, ...]
    """Colours of the lines of a plot, in order; distinguishable with the common colour-vision deficiencies (after Okabe and Ito, 2008)."""


LIGHT = Theme(
    name="light",
    page="#f1f3f2",
    card="#ffffff",
    ink="#15191b",
    muted="#566067",
    rule="#d3d9d8",
    accent="#00686b",
    series=("#0063a6", "#c2500a", "#00795c", "#8b3f87"),
)
DARK = Theme(
    name="dark",
    page="#101415",
    card="#191e20",
    ink="#e9eeed",
    muted="#9aa6aa",
    rule="#323a3d",
    accent="#5cd0c0",
    series=("#5ab4ec", "#f0a13a", "#3fcf9f", "#d892cf"),
)
