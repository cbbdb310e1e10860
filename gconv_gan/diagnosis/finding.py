"""A rule of the doctor, and what it finds."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gconv_gan.diagnosis.evidence import Evidence

Severity = Literal["act", "watch", "fine", "not measured"]
ORDER: tuple[Severity, ...] = ("act", "watch", "fine", "not measured")


@dataclass(frozen=True)
class Reading:
    """The number that a rule compares with its threshold."""

    value: float
    where: str = ""
    """The layer, score or class that has it."""
    threshold: float | None = None
    """In place of the rule's."""
    healthy: bool = False
    """A second criterion of the rule is not met."""
    severity: Literal["act", "watch"] | None = None
    """In place of the rule's."""


@dataclass(frozen=True)
class Absent:
    """Why a rule has no number."""

    reason: str


Reader = Callable[[Evidence], Reading | Absent | None]
"""Returns None where the rule does not apply to the run."""


@dataclass(frozen=True)
class Rule:
    """One row of the doctor's table."""

    name: str
    read: Reader
    measures: str
    """What the number is."""
    sign: Literal[">", "<"]
    """On which side of the threshold the finding lies."""
    threshold: float
    severity: Literal["act", "watch"]
    source: str
    """Where threshold and rule come from."""
    advice: str
    """What it means and what to do, in one sentence."""

    def __call__(self, evidence: Evidence) -> "Finding | None":
        """Return the finding; None where the rule does not apply."""
        reading = self.read(evidence)
        if reading is None:
            return None
        about = {"measures": self.measures, "sign": self.sign, "source": self.source}
        if isinstance(reading, Absent):
            return Finding(self.name, "not measured", None, self.threshold, where="", sentence=reading.reason, **about)
        threshold = self.threshold if reading.threshold is None else reading.threshold
        beyond = reading.value > threshold if self.sign == ">" else reading.value < threshold
        found = (beyond or reading.value != reading.value) and not reading.healthy
        severity: Severity = (reading.severity or self.severity) if found else "fine"
        return Finding(self.name, severity, reading.value, threshold, where=reading.where, sentence=self.advice if found else "", **about)


@dataclass(frozen=True)
class Finding:
    """What a rule says about a run."""

    rule: str
    severity: Severity
    value: float | None
    threshold: float
    measures: str
    sign: str
    source: str
    where: str
    """The layer, score or class that has the value; empty: the run."""
    sentence: str
    """The advice, or why there is no value; empty if all is well."""

    @property
    def begun(self) -> bool:
        """Return whether there is something to act on or to watch."""
        return self.severity in ("act", "watch")

    def line(self) -> str:
        """Return number, threshold, source and advice in one line."""
        where = f" in {self.where}" if self.where else ""
        number = "not a number" if self.value is None else f"{self.value:.3g}"
        return f"{self.rule}: {self.measures}{where} is {number} ({self.sign} {self.threshold:g}, {self.source}): {self.sentence}"

    def as_json(self) -> dict[str, Any]:
        """Return the finding as JSON data."""
        return asdict(self)
