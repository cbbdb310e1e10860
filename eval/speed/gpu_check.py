"""On a GPU that is at hand for minutes: the tests for it, a record of speed, and an ablation with the time that is left.

    python eval/speed/gpu_check.py --data-path DIR [--out eval/speed/records] [--seconds 470] [--seeds 5]
    python eval/speed/gpu_check.py --tiny …    # on a CPU, to try it

Results are written as they come: tests.txt, speed_*.txt, DATE_DEVICE.json, ablation.txt, ablation.json, ablation.tar.gz.
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.cost.gpu_check")
