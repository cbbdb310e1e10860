"""The command line of the training commands."""

from collections.abc import Callable, Sequence
from typing import Any

from gconv_gan.config.describe import choices, describe
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import Model, load_config, program
from gconv_gan.config.plugins import load_plugins, take_plugins
from gconv_gan.runtime.device import process_state


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
        print(
            f"usage: {program()} CONFIG.toml [--plugins FILE.py …] [--key value …] [--dry-run]; several processes: accelerate launch; "
            "CONFIG --help lists the keys, --help SECTION those of every kind"
        )
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
