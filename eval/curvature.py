"""Measure the curvature of a trained run's loss, and the learning rates that it allows: ``python eval/curvature.py RUN``."""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.studies.curvature")
