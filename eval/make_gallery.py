"""Draw the gallery of a run, or the page of an ablation.

python eval/make_gallery.py runs/NAME --curves NAME.png   # only the curves of training and of the scores, as one picture
python eval/make_gallery.py runs/NAME [--out FOLDER] [--checkpoint IMAGES|best] [--seed 0] [--extractor efficientnet_lite0:bilinear96]
python eval/make_gallery.py runs/NAME --index runs   # and an index page of all galleries below runs
python eval/make_gallery.py runs/ablate/NAME [--out FOLDER] [--seed 0]   # the page of an ablation, as its command wrote it
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.gallery")
