"""Draw two runs side by side.

python eval/compare_galleries.py runs/A runs/B [--out FOLDER] [--checkpoint IMAGES|best] [--seed 0]
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.compare_galleries")
