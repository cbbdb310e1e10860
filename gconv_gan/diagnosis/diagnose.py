"""Run all rules on a run, after training or while it lasts."""

from collections.abc import Mapping, Sequence

from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.diagnosis.evidence import Evidence
from gconv_gan.diagnosis.finding import ORDER, Finding
from gconv_gan.diagnosis.tables import RULES


def diagnose(evidence: Evidence) -> list[Finding]:
    """Return what every rule that applies to the run finds, most severe first."""
    found = [finding for rule in RULES if (finding := rule(evidence)) is not None]
    return sorted(found, key=lambda finding: ORDER.index(finding.severity))


class Watch:
    """The rules that need no more than the log, during training.

    Which findings are known is a function of the log up to its last status line, so that a resumed run says what another would have said.
    """

    def __init__(self, config: GANRunConfig) -> None:
        self._config = config
        self._known: set[str] = set()

    def resume(self, records: Sequence[Mapping[str, object]]) -> None:
        """Take the findings of the log up to its last status line as known."""
        lines = [number for number, record in enumerate(records, 1) if "loss_d" in record]
        self.begun(records[: lines[-1]] if lines else ())

    def begun(self, records: Sequence[Mapping[str, object]]) -> list[Finding]:
        """Return the findings of the log that the call before did not return; call it at status lines."""
        if not records:
            return []
        images = records[-1]["images"]
        assert isinstance(images, int | float)
        findings = [finding for finding in diagnose(Evidence(self._config, records, int(images))) if finding.begun]
        new = [finding for finding in findings if finding.rule not in self._known]
        self._known = {finding.rule for finding in findings}
        return new
