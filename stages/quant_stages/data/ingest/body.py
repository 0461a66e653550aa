"""Ingest: from the last closed bar that is held to the last one that has closed.

Freshness comes from the bars themselves, never from a file's time. Any number of ingests may run
at once: the tables take the same bar from two of them once.
"""

from __future__ import annotations

from quant_sdk.seamless import Planner
from quant_stages.intake.candidates import CandidateIntake

INTAKE = CandidateIntake(Planner.edges)
ingest, plan, rehearse, CHECKS = INTAKE.body, INTAKE.plan, INTAKE.rehearse, INTAKE.checks()
