"""``quant market``: the synthetic market, for the demo and for tests of sources."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quant_cli.session import Leaf, Session, pass_session
from quant_cli.signals import stop_on_signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk.market.server import MarketServer


@click.group()
def market() -> None:
    """Serve invented prices, the way venues serve real ones."""


@market.command("serve", cls=Leaf)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Where to listen on this machine; 0 takes any that is free.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the prices.")
@click.option(
    "--synthetic",
    metavar="COUNT",
    type=click.IntRange(0, 100_000),
    default=0,
    show_default=True,
    help="Also list that many invented symbols, S0000USDT and on.",
)
@click.option("--at", metavar="TIME", help="Let the market's clock stand at this time, UTC.")
@click.option(
    "--faults",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="JSON with the fields of quant_sdk.market.faults.Faults: what goes wrong.",
)
@pass_session
def serve(  # noqa: PLR0913 - an option each
    session: Session, *, port: int, seed: int, synthetic: int, at: str | None, faults: Path | None
) -> None:
    """Serve a synthetic exchange and scanner on this machine until Ctrl-C or SIGTERM.

    Its address is printed once it answers: the exchange's REST is under it, the scanner under
    its /scanner. Nothing in it was ever traded.
    """
    stop = threading.Event()
    with (
        stop_on_signals(stop),
        closing(_started(port, seed, synthetic, _clock(at), faults)) as server,
    ):
        document = {
            "url": server.url,
            "scanner_url": server.scanner_url,
            "seed": seed,
            "symbols": len(server.market.listing),
        }
        session.output.emit(document, lambda _: (server.url,))
        stop.wait()


def _started(
    port: int, seed: int, synthetic: int, now: Callable[[], datetime] | None, faults: Path | None
) -> MarketServer:
    try:
        from quant_sdk.market.faults import read_faults
        from quant_sdk.market.listing import standard_listing
        from quant_sdk.market.market import Market
        from quant_sdk.market.server import MarketServer
    except ImportError as error:
        raise _missing(error) from error
    listing = standard_listing(synthetic=synthetic)
    wrong = None if faults is None else read_faults(faults)
    server = MarketServer(Market(seed, now=now, listing=listing, faults=wrong), port=port)
    try:
        server.start()
    except OSError as error:
        from quant_sdk.errors import InvalidInput

        raise InvalidInput(
            f"nothing can listen on port {port}: {error.strerror or error}",
            fix="name another one, or --port 0 for any that is free",
        ) from error
    return server


def _clock(at: str | None) -> Callable[[], datetime] | None:
    if at is None:
        return None
    from quant_sdk.errors import InvalidInput

    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInput(f"{at[:60]!r} is no time with an offset", fix="write 2026-02-03T10:00Z")
    return lambda: moment


def _missing(error: ImportError) -> Exception:
    from quant_sdk.errors import MissingExtra

    return MissingExtra(
        f"the synthetic market needs a package that is not installed: {error}",
        fix="run: pip install 'quant-stage-sdk[exchanges]'",
    )
