"""Score every checkpoint of a run; print the curve, its best and its last, and protect the best checkpoint from deletion.

    python eval/score_curve.py runs/NAME [--protocol fid2k] [--by fid] [--json OUT]
    accelerate launch --num_processes 8 eval/score_curve.py runs/NAME

Takes the options of gan_metrics.py. Existing scores are read from the run's scores/.
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.score.score_curve")
