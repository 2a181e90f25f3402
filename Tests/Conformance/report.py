"""Rows of the conformance table: printed as they come, written as Markdown at the end."""

import contextlib
import io
import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable

from tool import ToolError


@dataclass(frozen=True)
class Subject:
    """What a row is about; `direction` says who wrote and who read."""

    container: str
    codec: str
    direction: str
    compared: str


@dataclass(frozen=True)
class Finding:
    """A measured difference and the largest that is allowed, both in the unit that `compared` names."""

    difference: float
    limit: float = 0.0
    note: str = ""

    @property
    def holds(self) -> bool:
        # Written so that a NaN never holds.
        return bool(self.difference <= self.limit)


@dataclass(frozen=True)
class Row:
    subject: Subject
    difference: str
    limit: str
    verdict: str
    note: str


VERDICTS = ("equal", "within", "FAIL", "missing", "not run")


class Report:
    def __init__(self, work: Path):
        self.work = work
        self.sections: dict[str, list[Row]] = {}

    @property
    def rows(self) -> list[Row]:
        return [row for rows in self.sections.values() for row in rows]

    def begin(self, section: str):
        """Rows that follow are of this part."""
        self.sections[section] = self.current = []

    def merge(self, path: Path, order: list[str]):
        """Takes the rows of other parts from a file and keeps all in it."""
        kept = json.loads(path.read_text()) if path.exists() else {}
        for section, rows in kept.items():
            if section not in self.sections:
                self.sections[section] = [Row(**row | {"subject": Subject(**row["subject"])}) for row in rows]
        self.sections = {name: self.sections[name] for name in order if name in self.sections}
        path.write_text(json.dumps({name: [asdict(row) for row in rows] for name, rows in self.sections.items()}))

    def check(self, subject: Subject, measure: Callable[[], Finding], known: bool = True) -> bool:
        """Adds a row for what `measure` finds. An error is a failure; it counts as missing if adze does not
        claim to know the codec or container (`known`)."""
        started = time.monotonic()
        try:
            # Progress bars of the peers.
            with contextlib.redirect_stderr(io.StringIO()):
                finding = measure()
        except Exception as error:  # noqa: BLE001 - whatever a reader throws is its verdict
            told = " ".join(str(error).replace(f"{self.work}/", "").split()) or type(error).__name__
            unknown = not known and isinstance(error, ToolError)
            self._add(Row(subject, "", "", "missing" if unknown else "FAIL", told[:300]))
            return False
        verdict = "FAIL" if not finding.holds else "equal" if finding.difference == 0 else "within"
        self._add(Row(subject, f"{finding.difference:.3g}", f"{finding.limit:.3g}", verdict, finding.note))
        if time.monotonic() - started > 30:
            print(f"    (that took {time.monotonic() - started:.0f} s)", flush=True)
        return finding.holds

    def missing(self, subject: Subject, reason: str):
        self._add(Row(subject, "", "", "missing", reason))

    def not_run(self, subject: Subject, reason: str):
        """A comparison that cannot be made here; it is no success."""
        self._add(Row(subject, "", "", "not run", reason))

    def _add(self, row: Row):
        self.current.append(row)
        told = row.subject
        print(
            f"{row.verdict:8}{told.container:19} {told.codec:18} {told.direction:27} {told.compared:17}"
            f"{row.difference:>10}  {row.note}",
            flush=True,
        )

    def count(self, verdict: str) -> int:
        return sum(row.verdict == verdict for row in self.rows)

    def summary(self) -> str:
        return f"{len(self.rows)} rows: " + ", ".join(f"{self.count(kind)} {kind}" for kind in VERDICTS)

    def markdown(self) -> str:
        lines = [
            "| container | codec | direction | compared | maximum difference | limit | verdict | note |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in self.rows:
            told = row.subject
            cells = [told.container, told.codec, told.direction, told.compared]
            cells += [row.difference, row.limit, row.verdict, row.note]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        return "\n".join(lines)

    def digest(self) -> str:
        """One line for each container and direction: how many rows of what, with which verdicts."""
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            told = row.subject
            groups.setdefault((told.container.split()[0], told.direction), []).append(row)
        lines = ["| container | direction | codecs | compared | result |", "|---|---|---|---|---|"]
        for (container, direction), rows in groups.items():
            codecs = list(dict.fromkeys(row.subject.codec for row in rows if row.subject.codec))
            compared = list(dict.fromkeys(_without_model(row.subject.compared) for row in rows))
            comma = "; " if any("," in codec for codec in codecs) else ", "
            listed = comma.join(codecs) if len(codecs) <= 9 else f"{comma.join(codecs[:7])} and {len(codecs) - 7} more"
            counts = [(kind, sum(row.verdict == kind for row in rows)) for kind in VERDICTS]
            result = ", ".join(f"{count} {kind}" for kind, count in counts if count)
            lines.append(f"| {container} | {direction} | {listed} | {', '.join(compared)} | {result} |")
        return "\n".join(lines)


def _without_model(compared: str) -> str:
    return re.split(" of |, ", compared)[0] if compared.startswith(("weights", "logits")) else compared
