"""``index.html`` of a folder of galleries: a card for each, with the gallery's first picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from gconv_gan.gallery.page.document import breakable, document_html
from gconv_gan.gallery.page.manifest import MANIFEST, read_manifest
from gconv_gan.gallery.page.run_page import pixel_size
from gconv_gan.runtime.atomic import write_text

INDEX = "index.html"
MAKER = "gconv_gan index of galleries"  # content of the page's meta tag: only a page with it is overwritten


@dataclass(frozen=True)
class Card:
    """A gallery's entry in the index."""

    folder: str
    name: str
    facts: str
    thumbnail: str
    width: int
    height: int
    alt: str


def write_index(folder: Path) -> Path | None:
    """List every gallery below ``folder`` in its ``index.html`` and return the path; None where another page has that name.

    Raises:
        UserError: if the manifest of a gallery is damaged.

    """
    path = folder / INDEX
    if path.is_file() and f'content="{MAKER}"' not in path.read_text(encoding="utf-8"):
        return None
    cards = [card(place.parent) for place in sorted(folder.glob(f"*/{MANIFEST}"))]
    write_text(path, index_html(cards))
    return path


def card(gallery: Path) -> Card:
    """Return the card of a gallery from its manifest."""
    manifest = read_manifest(gallery)
    first, run = manifest.pictures[0].file, manifest.run
    width, height = pixel_size((gallery / first).read_bytes()) if (gallery / first).is_file() else (1, 1)
    name = str(run["name"])
    return Card(gallery.name, name, facts(run), f"{gallery.name}/{first}", width, height, f"First picture of the gallery {name}.")


def facts(run: Mapping[str, Any]) -> str:
    """Return the data set and the number of images seen of a run, or of both runs of a comparison."""
    sides = [run[side] for side in ("a", "b") if side in run]
    if not sides:
        return f"{run['dataset']} after {int(run['images_seen']):,} images"
    (one, first), (other, second) = ((side["name"], f"{int(side['images_seen']):,}") for side in sides)
    return f"{run['dataset']}: {one} (pictured) after {first} images, {other} after {second}"


def index_html(cards: list[Card]) -> str:
    """Return the page."""
    items = "".join(
        f'<figure class="panel"><h3><a href="{escape(one.folder)}/index.html">{breakable(one.name)}</a></h3>'
        f'<a href="{escape(one.folder)}/index.html" aria-label="{escape(one.name)}"><img src="{escape(one.thumbnail)}" width="{one.width}" '
        f'height="{one.height}" alt="{escape(one.alt)}" loading="lazy"></a><figcaption>{escape(one.facts)}</figcaption></figure>'
        for one in cards
    )
    count = "1 gallery" if len(cards) == 1 else f"{len(cards)} galleries"
    return document_html(
        title="Galleries",
        links={},
        main=f'<header class="wrap plates hero"><div><h1>Galleries</h1><p class="lead">{count}, one page for each run.</p></div></header>'
        f'<div class="wrap panels index">{items}</div>',
        footer="<p><kbd>j</kbd> and <kbd>k</kbd> move to the next and the previous gallery.</p>",
        maker=MAKER,
    )
