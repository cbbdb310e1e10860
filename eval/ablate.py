"""Train the arms of an ablation on paired seeds, side by side, score them alike, and test the differences.

    python eval/ablate.py configs/ablate/gconv_cifar10.toml [--data-path DIR] [--seeds 0..7] [--hours 0.1] [--json OUT]

On a GPU as many runs as fit are trained at once; several GPUs, or the cores of a machine without one, share the runs. The same command
again resumes. Prints each arm's parameters, MACs, step time, memory and scores, and each comparison's paired difference with its interval
and tests; writes a page with curves, pictures and table.
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.ablate")
