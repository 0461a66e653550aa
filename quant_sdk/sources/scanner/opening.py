"""Opening the scanner of a workspace: its address, its limits, and the session that it may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from quant_sdk.sources.credentials import find_credentials
from quant_sdk.sources.scanner.client import ScannerClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quant_registry.clock import Clock
    from quant_sdk.sources.scanner.client import Caller

T = TypeVar("T")

VENUE: Final = "TRADINGVIEW"


class ScannerSources(Protocol):
    """What is needed of a workspace's opened sources; see `quant_sdk.sources.venues`."""

    @property
    def embedded(self) -> bool:
        """Whether the market is the synthetic one."""

    @property
    def scanner_base_url(self) -> str:
        """Where the scanner is asked."""

    @property
    def scanner_id(self) -> str:
        """What the column ``source`` says of its data."""

    def scanner_caller(self) -> Caller:
        """Return what makes the calls."""


def open_scanner(
    sources: ScannerSources,
    *,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    safe_point: Callable[[], None] | None = None,
) -> ScannerClient:
    """Return a client of the workspace's scanner; close it, or use it as a context.

    The secret of the venue ``TRADINGVIEW`` (``QUANT_TRADINGVIEW_SECRET``, or the keyring) is sent
    as the session cookie: as ``sessionid``, or as it is where it names its own cookies. The
    synthetic market is never sent one.

    Args:
        sources: the workspace's.
        clock: the time; the machine's by default.
        environ: the environment; the process's by default.
        safe_point: called before each request, in the thread that scans: `Run.safe_point`.
    """
    secret, caller = None, sources.scanner_caller()

    def obedient(call: Callable[[], T], /) -> T:
        if safe_point is not None:
            safe_point()
        return caller(call)

    if not sources.embedded:
        secret = find_credentials(VENUE, environ).reveal().get("secret")
    return ScannerClient(
        sources.scanner_base_url,
        id=sources.scanner_id,
        caller=obedient,
        cookie=secret if secret is None or "=" in secret else f"sessionid={secret}",
        clock=clock,
    )
