"""Draw images of a trained generator: ``python -m gconv_gan.sample RUN|FOLDER [--num 50000] [--out samples.zip] [--grid grid.png]``."""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.sample")
