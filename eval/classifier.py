"""Test a trained classifier: accuracy, calibration, robustness to noise and attacks, latency, memory, parameters, MACs, in one card.

python eval/classifier.py runs/NAME [--fgsm 1 2 4 8] [--pgd 8] [--gaussian 0.05 0.1] [--json OUT]
"""

from gconv_gan.runtime.script import run_command

if __name__ == "__main__":
    run_command("gconv_gan.commands.score.classifier_card")
