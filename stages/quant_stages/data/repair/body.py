"""Repair: every bar that the calendar expects and the lakehouse lacks, and no other.

What a source has vouched to be empty is not asked for again until that expires; what could not be
filled is named with its cause.
"""

from __future__ import annotations

from quant_sdk.seamless import Planner
from quant_stages.intake.candidates import CandidateIntake

INTAKE = CandidateIntake(Planner.gaps)
repair, plan, rehearse, CHECKS = INTAKE.body, INTAKE.plan, INTAKE.rehearse, INTAKE.checks()
