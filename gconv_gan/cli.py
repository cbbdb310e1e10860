"""The console script ``gconv-gan VERB …``; ``python -m gconv_gan VERB …`` is the same, and what ``accelerate launch -m`` takes."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches

from gconv_gan.config.errors import UserError
from gconv_gan.config.help_page import Argument, Group, help_page
from gconv_gan.runtime.script import run_command, run_script
from gconv_gan.verbs import CONSOLE_SCRIPT, VERBS

COMPLETION = "completion"
HELP = ("-h", "--help", "help")


def main() -> None:
    """Run the command that the first argument names; exit codes are those of ``run_script``."""
    sys.argv[0] = CONSOLE_SCRIPT  # in messages and in a run's command.txt, not the path at which the script is installed
    verb = sys.argv[1] if sys.argv[1:] else ""
    if verb in VERBS:
        run_command(VERBS[verb].module, arguments=sys.argv[2:])
    elif verb == COMPLETION:
        run_command("gconv_gan.commands.completion", arguments=sys.argv[2:])
    else:
        run_script(lambda: _without_verb(sys.argv[1:]))


def _without_verb(arguments: Sequence[str]) -> None:
    """Print the verbs or the version.

    Raises:
        UserError: the first argument is no verb.

    """
    if not arguments or arguments[0] in HELP:
        print(usage())
    elif arguments[0] == "--version":
        from importlib.metadata import version

        print(f"{CONSOLE_SCRIPT} {version('gconv_gan')}")
    else:
        near = get_close_matches(arguments[0], [*VERBS, COMPLETION], n=1)
        hint = f"did you mean {near[0]}?" if near else f"the verbs are {', '.join([*VERBS, COMPLETION])}"
        raise UserError(f"there is no verb {arguments[0]!r}; {hint}")


def usage() -> str:
    """Return the text of ``gconv-gan --help``."""
    verbs = [Argument(f"{name} {verb.arguments}", verb.summary) for name, verb in VERBS.items()]
    verbs.append(Argument(f"{COMPLETION} SHELL", "Print the completion script of bash or zsh."))
    options = [
        Argument("--version", "Print the version."),
        Argument("-h, --help", f"Print this help; {CONSOLE_SCRIPT} VERB --help lists the options of a verb."),
    ]
    end = f'Several processes: accelerate launch -m gconv_gan VERB ... ; completion: eval "$({CONSOLE_SCRIPT} completion bash)"'
    summary = "Train, score, compare, look at and give away GANs, and classifiers of the same layers."
    return help_page(f"{CONSOLE_SCRIPT} VERB [options]", summary, [Group("VERB", verbs), Group("options", options)], end=end)
