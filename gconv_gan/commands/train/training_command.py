"""The command line of the training commands."""

from collections.abc import Callable, Sequence
from typing import Any

from gconv_gan.config.base import Config
from gconv_gan.config.describe import choices, describe
from gconv_gan.config.errors import UserError
from gconv_gan.config.help_page import CONFIG, KEYS, PLUGINS, Argument, Group, help_page
from gconv_gan.config.load import Model, load_config, program, typed
from gconv_gan.config.plugins import load_plugins, take_plugins
from gconv_gan.runtime.device import process_state
from gconv_gan.verbs import CONSOLE_SCRIPT, VERBS


def training_command(arguments: Sequence[str], model: type[Model], *, plan: Callable[[Model], str], fit: Callable[[Model], Any]) -> None:
    """Parse ``CONFIG.toml [--key value …] [--dry-run]`` and train, or print the plan.

    Raises:
        UserError: there is no config, or it or the command line is wrong.

    """
    if not arguments or arguments[0] in ("-h", "--help"):
        if arguments[1:]:
            named, rest = take_plugins(arguments[1:])
            load_plugins(named)
            print(describe(model, rest[0]) if rest else choices(model))
            return
        print(usage(model))
        if not arguments:
            raise UserError("no config file was given")
        return
    config = load_config(model, arguments[0], [argument for argument in arguments[1:] if argument != "--dry-run"])
    if "--dry-run" in arguments:
        text = plan(config)
        if process_state().is_main_process:
            print(text)
    else:
        fit(config)


def usage(model: type[Config]) -> str:
    """Return the help of a training command without a config file."""
    options = [
        KEYS,
        Argument("--dry-run", "Print config, networks, time, memory and disk space; train nothing."),
        PLUGINS,
        Argument("-h, --help [SECTION]", "Print this help; behind CONFIG: its keys and values; a SECTION: its kinds and their keys."),
    ]
    groups = [Group("arguments", [CONFIG]), Group("options", options)]
    summary = next(verb.summary for verb in VERBS.values() if verb.options == model.__name__)
    usage = f"{typed()} CONFIG [--KEY VALUE ...] [--dry-run]"
    return help_page(usage, summary, groups, end=f"Several processes: accelerate launch {launched()} CONFIG ...")


def launched() -> str:
    """Return what ``accelerate launch`` takes in place of the program."""
    return f"-m {__package__.partition('.')[0]} {program().split()[-1]}" if program().startswith(CONSOLE_SCRIPT) else program()
