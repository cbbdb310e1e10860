"""Score a run or a folder of images: IS, FID, KID, precision, recall, density, coverage, MIND, CMMD, …, with a score card.

    python eval/gan_metrics.py runs/NAME [--extractor efficientnet_lite0] [--num-fake 5000] [--json OUT]
    accelerate launch --num_processes 8 eval/gan_metrics.py fakes.zip --reference reals/

Scores do not depend on the number of processes.
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.score.scores")
