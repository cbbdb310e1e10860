"""Print the share of samples that a classifier assigns to their class: ``python eval/class_agreement.py RUN --classifier FOLDER``."""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.score.class_agreement")
