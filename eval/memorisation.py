"""Report whether a generator's images are nearer to its training images than to held-out ones: ``python eval/memorisation.py RUN``."""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.score.memorisation")
