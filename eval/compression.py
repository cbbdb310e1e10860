"""Print what a run's networks cost beside others: parameters, MACs, measured latency and memory, and the scores of all.

    python eval/compression.py RUN [--against RUN …] [--json OUT] [--png OUT]

Without --against the networks are compared with those that the run's config describes, before any change of their structure.
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.cost.compression")
