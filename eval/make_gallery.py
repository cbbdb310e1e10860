"""Draw the gallery of a run and list it in the index of its folder.

python eval/make_gallery.py runs/NAME --curves NAME.png   # only the curves of training and of the scores, as one picture
python eval/make_gallery.py runs/NAME [--out samples/NAME] [--checkpoint IMAGES|best] [--seed 0] [--extractor efficientnet_lite0:bilinear96]
"""

import sys

from gconv_gan.recipes.entry_point import run_script
from gconv_gan.recipes.gallery import main

if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
