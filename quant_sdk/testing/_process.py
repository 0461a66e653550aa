"""Which process the tests run in, so that no fault kills it."""

from __future__ import annotations

import os

_NAME = "QUANT_TESTING_PROCESS"


def mark_test_process() -> None:
    """Say that pytest runs in this process; children inherit the word, and have other pids."""
    os.environ[_NAME] = str(os.getpid())


def is_test_process() -> bool:
    """Tell whether pytest runs in this process."""
    return os.environ.get(_NAME) == str(os.getpid())
