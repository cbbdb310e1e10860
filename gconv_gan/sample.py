"""Draw images of an exported generator: ``python -m gconv_gan.sample FOLDER [--num 64] [--seed 0] [--class 3] [--out FILE.png]``."""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.sample")
