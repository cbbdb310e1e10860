"""Make a run into a folder that needs no run: ``python -m gconv_gan.export RUN [--out FOLDER] [--checkpoint IMAGES] [--no-onnx]``."""

import sys

from gconv_gan.recipes.entry_point import run_script
from gconv_gan.recipes.export import main

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
