"""Draw the gallery of a run and list it in the index of its folder.

python eval/make_gallery.py runs/NAME --curves NAME.png   # only the curves of training and of the scores, as one picture
python eval/make_gallery.py runs/NAME [--out samples/NAME] [--checkpoint IMAGES|best] [--seed 0] [--extractor efficientnet_lite0:bilinear96]
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.gallery")
