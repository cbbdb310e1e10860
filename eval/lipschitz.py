"""Print bounds of the operator norm of every layer of a trained discriminator: ``python eval/lipschitz.py RUN``."""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.studies.lipschitz")
