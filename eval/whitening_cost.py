"""Time the whitening layers against direct forms: ``python eval/whitening_cost.py [--channels 128] [--side 16] [--seconds 60]``."""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.cost.whitening_cost")
