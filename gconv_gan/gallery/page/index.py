"""``index.html`` of a folder of galleries: a card for each, with the gallery's first picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from gconv_gan.gallery.page.document import breakable, document_html
from gconv_gan.gallery.page.manifest import MANIFEST, read_manifest
from gconv_gan.gallery.page.own_files import INDEX, MAKER, is_own_page, require_own_page
from gconv_gan.gallery.page.run_page import pixel_size
from gconv_gan.runtime.atomic import write_text

DEPTHS = ("*", "*/*", "*/*/*", "*/*/*/*")  # of the folders below the index that may hold galleries


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


def write_index(folder: Path) -> Path:
    """List every gallery below ``folder`` in its ``index.html`` and return the path.

    Raises:
        UserError: the manifest of a gallery is damaged, or ``index.html`` is a page that this package did not write.

    """
    require_own_page(folder)
    cards = [card(gallery, folder) for gallery in galleries(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / INDEX, index_html(cards))
    return folder / INDEX


def galleries(folder: Path) -> list[Path]:
    """Return the folders below ``folder`` with a manifest and a page of this package, by name."""
    found = sorted(path.parent for depth in DEPTHS for path in folder.glob(f"{depth}/{MANIFEST}"))
    return [gallery for gallery in found if (gallery / INDEX).is_file() and is_own_page(gallery / INDEX)]


def card(gallery: Path, folder: Path) -> Card:
    """Return the card of a gallery, from its manifest, on the index of ``folder``."""
    manifest = read_manifest(gallery)
    first, run = manifest.pictures[0].file, manifest.run
    width, height = pixel_size((gallery / first).read_bytes()) if (gallery / first).is_file() else (1, 1)
    name = str(run["name"])
    place = gallery.relative_to(folder).as_posix()
    return Card(place, name, facts(run), f"{place}/{first}", width, height, f"First picture of the gallery {name}.")


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
        maker=f"{MAKER} index of galleries",
    )
