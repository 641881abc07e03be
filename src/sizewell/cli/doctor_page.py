"""What `sizewell doctor` prints: each check as it comes, then how many came to what."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from sizewell.cli.output import WIDTH, printable

if TYPE_CHECKING:
    from sizewell.observer.doctor.findings import Finding, Verdict
    from sizewell.specs.deployment import Deployment

VERDICTS: tuple[Verdict, ...] = ("fail", "warn", "pass", "skipped")
INDENT = 8


def print_document(findings: Sequence[Finding], deployment: Deployment | None) -> None:
    """Print the findings as one JSON document."""
    from sizewell.cli.documents import deployment_object
    from sizewell.cli.output import print_json
    from sizewell.observer.doctor.findings import worst

    answer = {
        "verdict": worst(tuple(findings)),
        "deployment": deployment_object(deployment) if deployment else None,
        "counts": _counts(findings),
        "findings": findings,
    }
    print_json("doctor", answer)


def show_page(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Print each finding when it is there, and return them all."""
    findings: list[Finding] = []
    for finding in found:
        findings.append(finding)
        for line in finding_lines(finding):
            click.echo(line)
    counts = _counts(findings)
    click.echo(f"\n{len(findings)} checks: {', '.join(f'{counts[verdict]} {verdict}' for verdict in VERDICTS)}")
    return tuple(findings)


def finding_lines(finding: Finding) -> list[str]:
    """Return a finding as lines of at most 100 columns; what is needed and the fix only where all is not well."""
    verdict = finding.verdict.upper() if finding.verdict == "fail" else finding.verdict
    lines = _wrapped(f"{verdict:<{INDENT}}", f"{finding.subject} {finding.check}: {finding.found}")
    if finding.verdict in ("fail", "warn"):
        lines += _wrapped(" " * INDENT, f"needed: {finding.needed}") if finding.needed else []
        lines += _wrapped(" " * INDENT, f"fix: {finding.fix}") if finding.fix else []
    return lines


def _wrapped(head: str, text: str) -> list[str]:
    plain = printable(text)
    return textwrap.wrap(
        plain, WIDTH, initial_indent=head, subsequent_indent=" " * INDENT, break_on_hyphens=False
    )  # fmt: skip


def _counts(findings: Sequence[Finding]) -> dict[str, int]:
    counted = Counter(finding.verdict for finding in findings)
    return {verdict: counted[verdict] for verdict in VERDICTS}
