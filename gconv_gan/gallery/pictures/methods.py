"""The pictures that training methods left in a run folder."""

import json
from pathlib import Path

from gconv_gan.gallery.pictures.drawing import Drawing


def method_drawings(folder: Path) -> tuple[Drawing, ...]:
    """Return the pictures that the reports ``folder/KIND/report.json`` name, with their variants for dark pages; see ``Method.files``."""
    drawings = []
    for report in sorted(folder.glob("*/report.json")):
        kind = report.parent.name
        for name, words in json.loads(report.read_text())["pictures"].items():
            dark = report.with_name(f"{name.removesuffix('.png')}-dark.png")
            drawings.append(
                Drawing(
                    file=f"method-{kind}-{name}",
                    content=report.with_name(name).read_bytes(),
                    dark=dark.read_bytes() if dark.is_file() else None,
                    title=words["title"],
                    caption=words["caption"],
                    alt=words["alt"],
                )
            )
    return tuple(drawings)
