"""What this package costs here, against the plain formulation and other tools.

    python eval/speed/bench.py [--only step|layers|scores|data|laws|predictions]
    make bench    # every part, then docs/speed.md

Results are added to eval/speed/records/DATE_DEVICE.json as they come.
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.cost.bench")
