"""Everything that can be wrong with an object: one catalogue with stable codes.

A finding is a value, collected while objects are translated; logs, Events, `/api/findings`,
`fastproxy lint` and metrics all show the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fastproxy.model import ObjectReference


class Severity(StrEnum):
    ERROR = "error"  # part of the object is not served
    WARNING = "warning"  # served, but not as written


@dataclass(frozen=True, slots=True)
class Finding:
    code: str  # stable, e.g. "FP101"; see CATALOGUE
    severity: Severity
    object: ObjectReference
    field: str  # e.g. "spec.rules[0].http.paths[1].backend" or an annotation name
    sentence: str  # what is wrong and what to do about it
