"""Which pages in a folder are of this package: only they are overwritten."""

from pathlib import Path

from gconv_gan.config.errors import UserError

INDEX = "index.html"
MAKER = "gconv_gan"
"""First word of the content of a page's ``generator`` meta tag."""


def is_own_page(path: Path) -> bool:
    """Return whether a file is a page that this package wrote."""
    return f'<meta name="generator" content="{MAKER}' in path.read_text(encoding="utf-8", errors="replace")


def require_own_page(folder: Path) -> None:
    """Raise ``UserError`` if the folder's ``index.html`` is a page that this package did not write; call it before the work starts."""
    path = folder / INDEX
    if path.is_file() and not is_own_page(path):
        raise UserError(f"{path} is another page and is not overwritten: name another folder")
