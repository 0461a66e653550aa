"""Credentials of a venue: from the environment or the keyring, and from nowhere else."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SERVICE: Final = "quant-stage-sdk"
_PARTS: Final = ("api_key", "secret", "password")
_HIDDEN: Final = "***"


class Credentials:
    """What opens a venue's door; it shows itself to nobody, and neither pickles nor copies.

    Args:
        api_key: the public part of a key, where the venue has keys.
        secret: its secret part.
        password: a passphrase, where the venue asks for one.
    """

    __slots__ = ("_parts",)

    def __init__(
        self, *, api_key: str | None = None, secret: str | None = None, password: str | None = None
    ) -> None:
        parts = {"api_key": api_key, "secret": secret, "password": password}
        self._parts = {name: value for name, value in parts.items() if value}

    def __bool__(self) -> bool:
        return bool(self._parts)

    def __repr__(self) -> str:
        return f"Credentials({', '.join(f'{name}={_HIDDEN}' for name in self._parts)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials stay in the process that found them")

    def reveal(self) -> dict[str, str]:
        """Return the parts that stand, for the client that signs with them."""
        return dict(self._parts)


def find_credentials(
    venue: str,
    environ: Mapping[str, str] | None = None,
    keyring: Callable[[str, str], str | None] | None = None,
) -> Credentials:
    """Return the credentials of `venue`; empty ones where there are none.

    ``QUANT_<VENUE>_API_KEY``, ``QUANT_<VENUE>_SECRET`` and ``QUANT_<VENUE>_PASSWORD`` come first.
    Where none of them is set, the keyring is asked for the same names, such as
    ``BINANCE_API_KEY``, of the service ``quant-stage-sdk``. A keyring that cannot be opened
    counts as empty: bars are public at most venues, and those that want a key say so.

    Args:
        venue: such as ``BINANCE``; what is no letter or digit becomes ``_``.
        environ: the environment; the process's by default.
        keyring: gives the password of a service and a name; the package ``keyring`` by default.
    """
    environ = os.environ if environ is None else environ
    prefix = re.sub(r"[^A-Z0-9]", "_", venue.upper())
    names = {part: f"{prefix}_{part.upper()}" for part in _PARTS}
    found = {part: environ.get(f"QUANT_{name}") for part, name in names.items()}
    if not any(found.values()):
        ask = keyring or _installed_keyring()
        found = {part: ask(SERVICE, name) for part, name in names.items()}
    return Credentials(**found)


def _installed_keyring() -> Callable[[str, str], str | None]:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return lambda _service, _name: None

    def ask(service: str, name: str) -> str | None:
        try:
            return keyring.get_password(service, name)
        except (KeyringError, RuntimeError, OSError):  # whatever its backend meets
            return None

    return ask
