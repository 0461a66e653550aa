"""What an empty beginning of a range means, by the venue's first bar ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk.sources.fetch import Cause

OUT_OF_REACH: Final = "out_of_reach: the venue does not give bars this old"


def settle(
    holes: list[tuple[int, int, Cause, str]],
    start: int,
    end: int,
    *,
    ever: Callable[[], int | None],
    heeds: Callable[[int], bool],
) -> None:
    """Name the causes of the holes before the first bar of a range.

    Pages that failed may lie between them.

    Args:
        holes: ``[first, beyond)`` in slots with cause and detail, in order; changed in place.
        start: the range's first slot.
        end: exclusive.
        ever: returns the slot of the venue's first bar, None where it does not tell.
        heeds: tells whether the venue leaves out its first bar where it is asked for later ones.
    """
    count = _count(holes, start)
    if not any(cause == "verified_empty" for _, _, cause, _ in holes[:count]):
        return
    told = ever()
    if told is None or told < start:
        return
    heeded = heeds(told)
    for at, (first, beyond, cause, _) in enumerate(holes[:count]):
        if cause != "verified_empty" or told < first:
            continue
        bar_follows = beyond < end and at == count - 1
        if not heeded or told < beyond or (bar_follows and told > beyond):
            # A venue that contradicts its own answer does not heed what it is asked for: that
            # it gave no bars proves nothing.
            holes[at] = (first, beyond, "fetch_failed", OUT_OF_REACH)
        else:
            holes[at] = (first, beyond, "not_listed_yet", "")


def _count(holes: list[tuple[int, int, Cause, str]], start: int) -> int:
    """Return how many holes lie before the first bar."""
    count, slot = 0, start
    while count < len(holes) and holes[count][0] == slot:
        slot = holes[count][1]
        count += 1
    return count
