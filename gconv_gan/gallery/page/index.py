"""``index.html`` of a folder of galleries: tables of its runs, comparisons and ablations that can be sorted and filtered."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from gconv_gan.gallery.page.document import breakable, document_html, section_html
from gconv_gan.gallery.page.manifest import MANIFEST, read_manifest
from gconv_gan.gallery.page.own_files import INDEX, INDEX_MAKER, is_own_page, require_own_index
from gconv_gan.gallery.page.run_page import pixel_size
from gconv_gan.gallery.page.score_names import Direction, direction, in_words, score_name
from gconv_gan.runtime.files.atomic import write_text

DEPTHS = ("*", "*/*", "*/*/*", "*/*/*/*")  # of the folders below the index that may hold galleries
KINDS = {"run": "Runs", "comparison": "Comparisons", "ablation": "Ablations"}
"""Kind of page -> heading of its table."""
SCRIPT = """
const tables=[...document.querySelectorAll("table.listing")],field=document.querySelector("#filter"),told=document.querySelector("#told");
for(const table of tables)for(const button of table.querySelectorAll("thead button"))button.addEventListener("click",()=>{
  const head=button.closest("th"),falls=head.getAttribute("aria-sort")==="ascending",at=head.cellIndex,body=table.tBodies[0];
  for(const other of table.querySelectorAll("thead th"))other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort",falls?"descending":"ascending");
  const rank=row=>row.cells[at].dataset.rank;
  body.append(...[...body.rows].sort((a,b)=>rank(a)===""||rank(b)===""?(rank(a)==="")-(rank(b)===""):(falls?-1:1)*(rank(a)-rank(b))))});
field.addEventListener("input",()=>{const words=field.value.toLowerCase().split(/\\s+/);let shown=0,all=0;
  for(const table of tables){let some=false;
    for(const row of table.tBodies[0].rows){const text=row.textContent.toLowerCase();
      row.hidden=!words.every(word=>text.includes(word));all+=1;if(!row.hidden){shown+=1;some=true}}
    table.closest("section").hidden=!some}
  told.textContent=field.value.trim()?shown+" of "+all+" pages":""});
"""
"""Sorts a table by the ranks in the cells of a column, empty ones last, and hides the rows that lack a word of the filter."""


@dataclass(frozen=True)
class Page:
    """A gallery, a comparison or an ablation in the index."""

    kind: str
    """Key of ``KINDS``."""
    folder: str
    """Relative to the index."""
    name: str
    dataset: str
    images_seen: int
    best_name: str | None
    """Protocol and key of the best score, "fid2k/fid"; None: the run has none, or the page is not of one run."""
    best_score: float | None
    best_direction: Direction | None
    """Which way that score is better; None: not known."""
    date: str
    """Of the checkpoint, "2026-11-28 05:34"; empty: not recorded."""
    thumbnail: str | None
    """Path of its first picture, relative to the index; None: it has none."""
    width: int
    height: int


@dataclass(frozen=True)
class Column:
    """A column of a table: its head, the HTML of a cell, and the value that rows are sorted by (None: last, in both directions)."""

    head: str
    cell: Callable[[Page], str]
    key: Callable[[Page], Any]


def write_index(folder: Path, *, lower_is_better: Collection[str]) -> Path:
    """List every gallery below ``folder`` in its ``index.html``, the only file that is written, and return the path.

    Args:
        folder: of the index.
        lower_is_better: keys of all known scores for which lower is better, for galleries of earlier versions, which do not say it.

    Raises:
        UserError: the manifest of a gallery is damaged, or ``index.html`` is not an index that this package wrote.

    """
    require_own_index(folder)
    pages = [page_of(gallery, folder, lower_is_better=lower_is_better) for gallery in galleries(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / INDEX, index_html(pages))
    return folder / INDEX


def galleries(folder: Path) -> list[Path]:
    """Return the folders below ``folder`` with a manifest and a page of this package, by name."""
    found = sorted(path.parent for depth in DEPTHS for path in folder.glob(f"{depth}/{MANIFEST}"))
    return [gallery for gallery in found if (gallery / INDEX).is_file() and is_own_page(gallery / INDEX)]


def page_of(gallery: Path, folder: Path, *, lower_is_better: Collection[str]) -> Page:
    """Return what the index of ``folder`` says of a gallery, from its manifest."""
    manifest = read_manifest(gallery)
    run = manifest.run
    pictures = (entry.file for entry in manifest.pictures if entry.file.endswith((".png", ".gif")) and (gallery / entry.file).is_file())
    first = next(pictures, None)
    width, height = (0, 0) if first is None else pixel_size((gallery / first).read_bytes())
    sides = [side for side in run.values() if isinstance(side, Mapping) and "checkpoint" in side]
    return Page(
        kind="comparison" if sides else "run" if "checkpoint" in run else "ablation",
        folder=gallery.relative_to(folder).as_posix(),
        name=str(run["name"]),
        dataset=str(run["dataset"]),
        images_seen=int(run["images_seen"]),
        best_name=run.get("best_name"),
        best_score=run.get("best_score"),
        best_direction=run.get("best_direction") or direction(str(run.get("best_name")).rpartition("/")[2], lower_is_better),
        date=max((str(one.get("date", "")) for one in sides or [run]), default=""),
        thumbnail=None if first is None else f"{gallery.relative_to(folder).as_posix()}/{first}",
        width=width,
        height=height,
    )


def index_html(pages: Sequence[Page]) -> str:
    """Return the page."""
    by_kind = {kind: [page for page in pages if page.kind == kind] for kind in KINDS}
    shown = {kind: found for kind, found in by_kind.items() if found}
    sections = "".join(section_html(kind, KINDS[kind], "", table_html(KINDS[kind], found)) for kind, found in shown.items())
    count = ", ".join(f"{len(found)} {kind if len(found) == 1 else f'{kind}s'}" for kind, found in shown.items()) or "None yet"
    search = (
        '<p class="filter"><label for="filter">Filter</label><input id="filter" type="search" autocomplete="off" spellcheck="false" '
        'placeholder="name, data, score, date"><output id="told" for="filter" aria-live="polite"></output></p>'
    )
    return document_html(
        title="Galleries",
        links={f"#{kind}": KINDS[kind] for kind in shown},
        main=f'<header class="wrap plates hero"><div><h1>Galleries</h1><p class="lead">{count}.</p></div>{search}</header>{sections}',
        footer="<p>The head of a column sorts by it; a second time, the other way. <kbd>j</kbd> and <kbd>k</kbd> move to the next and the "
        "previous gallery.</p>",
        maker=INDEX_MAKER,
        script=SCRIPT,
    )


def table_html(caption: str, pages: Sequence[Page]) -> str:
    """Return the table of one kind of page; the best score is a column only if a page has one."""
    columns = [column for column in COLUMNS if column.head != "Best score" or any(page.best_name for page in pages)]
    ranks = [ranked([column.key(page) for page in pages]) for column in columns]
    heads = "".join(f'<th scope="col"><button type="button">{column.head}</button></th>' for column in columns)
    body = "".join(
        f"<tr><td>{_thumbnail(page)}</td>"
        + "".join(
            f'<{"th scope=row" if column.head == "Name" else "td"} data-rank="{rank[row]}" data-head="{column.head}">{column.cell(page)}'
            f"</{'th' if column.head == 'Name' else 'td'}>"
            for column, rank in zip(columns, ranks, strict=True)
        )
        + "</tr>"
        for row, page in enumerate(pages)
    )
    return f'<table class="listing" aria-label="{caption}"><thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table>'


def ranked(values: Sequence[Any]) -> list[str]:
    """Return the place of each value among the sorted ones, equal ones alike; "" for None."""
    order = {value: place for place, value in enumerate(sorted({value for value in values if value is not None}))}
    return ["" if value is None else str(order[value]) for value in values]


def _thumbnail(page: Page) -> str:
    if page.thumbnail is None:
        return ""
    return (
        f'<figure><a href="{escape(page.folder)}/index.html" aria-label="{escape(page.name)}"><img src="{escape(page.thumbnail)}" '
        f'width="{page.width}" height="{page.height}" alt="First picture of the gallery {escape(page.name)}." loading="lazy"></a></figure>'
    )


def _best(page: Page) -> str:
    if page.best_name is None or page.best_score is None:
        return "–"
    protocol, _, key = page.best_name.rpartition("/")
    return (
        f"<b>{page.best_score:.4g}</b> <span>{escape(score_name(key, [key]))}, {breakable(protocol)}{in_words(page.best_direction)}</span>"
    )


def _best_key(page: Page) -> tuple[str, float] | None:
    """Return what runs are sorted by: the name of the score, since different scores cannot be ranked, then the better value first."""
    if page.best_name is None or page.best_score is None:
        return None
    return page.best_name, page.best_score if page.best_direction == "lower" else -page.best_score


COLUMNS = (
    Column("Name", lambda page: f'<a href="{escape(page.folder)}/index.html">{breakable(page.name)}</a>', lambda page: page.name.lower()),
    Column("Data", lambda page: escape(page.dataset), lambda page: page.dataset.lower()),
    Column("Images seen", lambda page: f"{page.images_seen:,}", lambda page: page.images_seen),
    Column("Best score", _best, _best_key),
    Column("Date", lambda page: escape(page.date or "–"), lambda page: page.date or None),
)
