"""Draw runs side by side, as ``gconv-gan gallery`` does for several: pictures of the same latents, scores, curves and facts.

python eval/compare_galleries.py runs/A runs/B [runs/C ...] [--out FOLDER] [--checkpoint IMAGES|best] [--seed 0]
python eval/compare_galleries.py runs/A runs/B --picture AB.png   # only the samples, as one picture with headings
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.gallery")
