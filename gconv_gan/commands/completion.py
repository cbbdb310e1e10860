"""Completion scripts of the console script, for bash and zsh: verbs, options of each verb, files."""

import importlib
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from gconv_gan.config.base import Config
from gconv_gan.config.load import flags_of, parse_command
from gconv_gan.data.datasets import DATASETS
from gconv_gan.verbs import VERBS

ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


class CompletionCommand(Config):
    """Print the completion script of a shell."""

    shell: Annotated[Literal["bash", "zsh"], tyro.conf.Positional, tyro.conf.arg(metavar="SHELL")]
    """The shell: bash or zsh."""


def main(arguments: Sequence[str]) -> None:
    """Print the script; ``eval "$(gconv-gan completion bash)"`` loads it."""
    command = parse_command(CompletionCommand, arguments)
    print((ZSH if command.shell == "zsh" else "") + script({name: _flags(name) for name in VERBS}, kinds=sorted(DATASETS)))


def _flags(name: str) -> list[str]:
    """Return the options of a verb."""
    verb = VERBS[name]
    if not verb.options:  # prepare: its options depend on the kind of data
        return list(dict.fromkeys(flag for kind in DATASETS for flag in flags_of(DATASETS.models()[kind])))
    return flags_of(getattr(importlib.import_module(verb.module), verb.options))


def script(flags: dict[str, list[str]], *, kinds: Sequence[str]) -> str:
    """Return a bash script that completes verbs, the options of each, the kinds of data of ``prepare``, and paths."""
    cases = "\n".join(f"    {name}) words={' '.join(options)!r} ;;" for name, options in flags.items())
    return f"""_gconv_gan() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" words=''
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{" ".join(flags)}' -- "$current")); return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
  if [ "${{COMP_WORDS[1]}}" = prepare ] && [ "$COMP_CWORD" -eq 2 ]; then words='{" ".join(kinds)}'
  elif [[ "$current" != -* ]]; then compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$current")); return
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _gconv_gan gconv-gan"""
