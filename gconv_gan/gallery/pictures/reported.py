"""The pictures that reports in a run folder name: those of training methods, and of the curvature."""

import json
from pathlib import Path

from gconv_gan.gallery.pictures.drawing import Drawing


def reported_drawings(folder: Path, prefix: str) -> tuple[Drawing, ...]:
    """Return the pictures that the reports ``folder/NAME/report.json`` name, with their variants for dark pages; see ``Method.files``.

    Args:
        folder: holds a folder for each report.
        prefix: how the names of the pictures' files begin on a page.

    """
    drawings = []
    for report in sorted(folder.glob("*/report.json")):
        for name, words in json.loads(report.read_text())["pictures"].items():
            dark = report.with_name(f"{name.removesuffix('.png')}-dark.png")
            drawings.append(
                Drawing(
                    file=f"{prefix}-{report.parent.name}-{name}",
                    content=report.with_name(name).read_bytes(),
                    dark=dark.read_bytes() if dark.is_file() else None,
                    title=words["title"],
                    caption=words["caption"],
                    alt=words["alt"],
                    shape="panel" if name.endswith(".svg") else "sheet",
                )
            )
    return tuple(drawings)
