"""Print how often a classifier sees the class that was asked for: ``python eval/class_agreement.py RUN --classifier FOLDER``."""

import sys

from gconv_gan.recipes.class_agreement import main
from gconv_gan.recipes.entry_point import run_script

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
