"""Score a run or a folder of images: IS, FID, KID, precision, recall, density, coverage, with a card that says how.

    python eval/gan_metrics.py runs/NAME [--extractor efficientnet_lite0] [--num-fake 5000] [--json OUT]
    accelerate launch --num_processes 8 eval/gan_metrics.py fakes.zip --reference reals/

Several processes score the same images as one.
"""

import sys

from gconv_gan.recipes.entry_point import run_script
from gconv_gan.recipes.scores import main

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
