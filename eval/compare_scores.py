"""Print scores side by side; those whose cards differ in more than the generator are refused, or marked.

    python eval/compare_scores.py runs/A runs/B [--protocol fid50k_train]
    python eval/compare_scores.py a.json b.json --mark

Changes are against the first.
"""

import sys

from gconv_gan.recipes.compare_scores import main
from gconv_gan.recipes.entry_point import run_script

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
