"""How a script ends: exceptions that are meant for the user become one sentence and an exit code."""

import errno
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from gconv_gan.config.describe import choices, describe
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import Model, load_config, program
from gconv_gan.config.plugins import load_plugins, take_plugins
from gconv_gan.training.guards import GuardError, StoppedBySignalError


def run_script(main: Callable[[], None]) -> None:
    """Run ``main`` and exit: 0 done, 2 wrong input, 3 stopped by a guard, 128 + n ended by signal n after saving.

    A file or folder that cannot be used is wrong input, and a full disk a guard, wherever they show. The sentence goes to standard
    error, once, from the main process; nothing else is caught.
    """
    code, sentence = 0, ""
    # Left to itself, PartialState ignores the launcher's --cpu, and several CPU processes would each believe to be alone.
    PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available())
    try:
        main()
    except UserError as error:
        code, sentence = 2, str(error)
    except GuardError as error:
        code, sentence = 3, str(error)
    except StoppedBySignalError as stop:
        code, sentence = 128 + stop.number, str(stop)
    except OSError as error:
        if error.filename is None:  # no file of the user's
            raise
        code, sentence = _unusable(error)
    if code:
        if PartialState().is_main_process:
            print(f"{program()}: {sentence}", file=sys.stderr)
        sys.exit(code)
    PartialState().destroy_process_group()


def _unusable(error: OSError) -> tuple[int, str]:
    """Return exit code and sentence for a file that cannot be read, written or made."""
    if error.errno == errno.ENOSPC:
        return 3, f"{error.filename}: the disk is full; free some space and start again"
    return 2, f"{error.filename}: {error.strerror}; check that the path is right and that you may read and write there"


def training_command(
    arguments: Sequence[str], script: str, model: type[Model], *, plan: Callable[[Model], str], fit: Callable[[Model], Any]
) -> None:
    """Do what ``CONFIG.toml [--key value …] [--dry-run]`` asks: train, or print the plan.

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
            f"usage: accelerate launch {script} CONFIG.toml [--plugins FILE.py …] [--key value …] [--dry-run]; "
            "CONFIG --help lists the keys, --help SECTION those of every kind"
        )
        if not arguments:
            raise UserError("no config file was given")
        return
    config = load_config(model, arguments[0], [argument for argument in arguments[1:] if argument != "--dry-run"])
    if "--dry-run" in arguments:
        print(plan(config))
    else:
        fit(config)
