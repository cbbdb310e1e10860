"""Draw two runs side by side.

python eval/compare_galleries.py runs/A runs/B [--out samples/A-B] [--checkpoint IMAGES|best] [--seed 0]
"""

import sys

from gconv_gan.recipes.compare_galleries import main
from gconv_gan.recipes.entry_point import run_script

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
