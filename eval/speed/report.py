"""Write docs/speed.md from the newest record of speed of every device.

    python eval/speed/report.py [--node-gb-per-second 300] [--network-gb-per-second 25] …

The options are the assumptions on the links between GPUs.
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.cost.speed_page")
