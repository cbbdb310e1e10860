"""Time every convolution of a generator and its direct form: ``python eval/conv_cost.py [--channels 128] [--seconds 60]``."""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.cost.conv_cost")
