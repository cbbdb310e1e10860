"""What the training commands do with their arguments."""

from collections.abc import Callable, Sequence
from typing import Any

from accelerate import PartialState

from gconv_gan.config.errors import UserError
from gconv_gan.config.load import Model, load_config


def training_command(
    arguments: Sequence[str], script: str, model: type[Model], *, plan: Callable[[Model], str], fit: Callable[[Model], Any]
) -> None:
    """Do what ``CONFIG.toml [--key value …] [--dry-run]`` asks: train, or print the plan.

    Raises:
        UserError: there is no config, or it or the command line is wrong.

    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            f"usage: python {script} CONFIG.toml [--key value …] [--dry-run], or accelerate launch {script} … for several processes; "
            "CONFIG --help lists the keys"
        )
        if not arguments:
            raise UserError("no config file was given")
        return
    config = load_config(model, arguments[0], [argument for argument in arguments[1:] if argument != "--dry-run"])
    if "--dry-run" in arguments:
        text = plan(config)
        if PartialState().is_main_process:
            print(text)
    else:
        fit(config)
