from __future__ import annotations

import time

import pytest
from _continuing import PARAMS, SYMBOLS, contents, copy
from _legacy import STAGE, make_workspace

from quant_sdk import QuantSDK


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Return a workspace template, what an undisturbed run makes of it, and how long it takes."""
    template = make_workspace(tmp_path_factory.mktemp("template"), SYMBOLS)
    workspace = copy(template, tmp_path_factory.mktemp("undisturbed"))
    began = time.monotonic()
    record = QuantSDK(workspace).run_stage(STAGE, PARAMS)
    assert record.state == "succeeded"
    return template, contents(workspace), time.monotonic() - began
