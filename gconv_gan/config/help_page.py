"""The layout of every help: usage in one line, a summary, and groups of arguments, each with what it admits, its default and its text."""

import shutil
import textwrap
from collections.abc import Sequence
from typing import NamedTuple


class Argument(NamedTuple):
    """An argument or option as it is typed, what it admits and its default, and its description."""

    typed: str
    text: str
    admits: str = ""
    default: str | None = None
    """None: nothing is shown."""

    def lines(self) -> list[str]:
        """Return the two parts of its entry, the second wrapped at the width of the terminal."""
        admits = self.admits.removesuffix(" or none") if self.default == "none" else self.admits
        facts = [self.typed, *([admits] if admits else []), *([f"[{self.default}]"] if self.default is not None else [])]
        return [f"  {'  '.join(facts)}", *wrapped(self.text, indent=6)]


class Group(NamedTuple):
    """A heading with its arguments."""

    title: str
    arguments: Sequence[Argument]
    summary: str = ""


CONFIG = Argument("CONFIG", "A TOML file, such as those in configs/, or the config.json of a run.")
KEYS = Argument("--KEY VALUE", "Any key of the config, such as --trainer.batch-size 32, or a part's kind: --generator.conv.kind gconv.")
PLUGINS = Argument("--plugins FILE.py|MODULE ...", "Import these first; they add parts (docs/plugins.md).")
HELP = Argument("-h, --help", "Print this help.")


def help_page(usage: str, summary: str, groups: Sequence[Group], *, end: str = "") -> str:
    """Return a help as text."""
    lines = [f"usage: {usage}", "", *wrapped(summary)]
    for group in groups:
        lines += ["", *group_lines(group)]
    return "\n".join([*lines, *(["", end] if end else [])])


def group_lines(group: Group) -> list[str]:
    """Return a heading, its summary and its arguments as lines."""
    return [group.title, *wrapped(group.summary, indent=2), *(line for row in group.arguments for line in row.lines())]


def wrapped(text: str, *, indent: int = 0) -> list[str]:
    """Return a docstring as lines of the width of the terminal, without the marks of code; none for an empty one."""
    width = max(40, shutil.get_terminal_size().columns - 1)
    return textwrap.wrap(text.replace("``", ""), width, initial_indent=" " * indent, subsequent_indent=" " * indent)
