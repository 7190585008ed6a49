"""What checked mode has found of which the result is defined."""

from __future__ import annotations

import warnings

from axonc.backends.executor.laws.checks import CheckReport
from axonc.diagnostics import FindingWarning


def tell(report: CheckReport) -> None:
    """The findings as warnings, at the line of the user that made the call."""
    for line in report.findings:
        warnings.warn(line, FindingWarning, stacklevel=3)
