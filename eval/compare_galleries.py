"""Draw runs side by side: pictures of the same latents, scores, curves and facts.

python eval/compare_galleries.py runs/A runs/B [runs/C ...] [--out FOLDER] [--checkpoint IMAGES|best] [--seed 0]
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.compare_galleries")
