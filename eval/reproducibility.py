"""Compare killed with uninterrupted runs: ``python eval/reproducibility.py configs/gan/digits_gconv.toml [--kills 10]``."""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.studies.reproducibility")
