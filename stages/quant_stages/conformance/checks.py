"""Prerequisites of a check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_sdk import Check
from quant_stages.conformance.looking import pipeline_for
from quant_stages.conformance.subject import subject_of, window_of

if TYPE_CHECKING:
    from quant_sdk import CheckContext, CheckStatus

Look = tuple["CheckStatus", str, str]


def _subject(context: CheckContext) -> Look:
    subject = subject_of(context.workspace, context.params)
    return "passed", f"{subject.told}; reports are kept as {subject.node}", ""


def _settings(context: CheckContext) -> Look:
    subject = subject_of(context.workspace, context.params)
    window_of(context.params, context.clock.now())
    pipeline = pipeline_for(context.workspace, context.params, subject.kind)
    rules = len(pipeline.setting.rules)
    schema = pipeline.setting.schema.id
    detail = f"{schema}, preset {pipeline.preset.name}, mode {pipeline.mode}, {rules} rules"
    if pipeline.setting.broken:
        broken = ", ".join(each.rule for each in pipeline.setting.broken)
        return "warning", f"{detail}; cannot be asked: {broken}", "see: quant conformance rules"
    return "passed", detail, ""


CHECKS = (Check(name="subject", look=_subject), Check(name="settings", look=_settings))
