"""Which pages in a folder are of this package: only they are overwritten, an index by an index and another page by another page."""

from pathlib import Path

from gconv_gan.config.errors import UserError

INDEX = "index.html"
MAKER = "gconv_gan"
"""First word of the content of a page's ``generator`` meta tag."""
INDEX_MAKER = f"{MAKER} index of galleries"
"""The whole content on an index."""


def is_own_page(path: Path) -> bool:
    """Return whether a file is a gallery, a comparison or an ablation that this package wrote."""
    return _is_made_by(MAKER, path) and not is_own_index(path)


def is_own_index(path: Path) -> bool:
    """Return whether a file is an index that this package wrote."""
    return _is_made_by(INDEX_MAKER, path)


def _is_made_by(maker: str, path: Path) -> bool:
    return f'<meta name="generator" content="{maker}' in path.read_text(encoding="utf-8", errors="replace")


def require_own_page(folder: Path) -> None:
    """Raise ``UserError`` if the folder's ``index.html`` is not such a page; call it before the work starts."""
    path = folder / INDEX
    if path.is_file() and not is_own_page(path):
        words = "an index of galleries" if is_own_index(path) else "another page"
        raise UserError(f"{path} is {words} and is not overwritten: name another folder")


def require_own_index(folder: Path) -> None:
    """Raise ``UserError`` if the folder's ``index.html`` is not an index; call it before the work starts."""
    path = folder / INDEX
    if path.is_file() and not is_own_index(path):
        words = "the page of a gallery" if is_own_page(path) else "another page"
        raise UserError(f"{path} is {words} and is not overwritten: name another folder for the index")
