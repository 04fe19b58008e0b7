"""Judge all rows of a ledger by other limits, from their bytes alone.

``report_whatif.js`` does the same line by line, so what holds here against ``curate.replay`` holds
for the page.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from curate.whatif import (
    FIRST_OF_ASSET,
    JUDGED_ANEW,
    KEPT,
    NO_RULE,
    NOT_MEASURED,
    REJECTED,
    UNMEASURED,
    Offer,
    WhatIf,
)
from curate.whatif_copies import BYTES, CLIPS, GEOMETRY, Kept

CLIP_RULE = 254  # instead of a rule's number
COPY_RULES = {BYTES: 253, CLIPS: 252, GEOMETRY: 251}  # likewise


@dataclass(frozen=True, slots=True)
class Outcome:
    """What limits decide: (n,) verdicts, and the rule's number where one fires, else NO_RULE."""

    verdicts: np.ndarray
    rules: np.ndarray

    def reject(self, row: int, rule: int) -> None:
        """Reject a row."""
        self.verdicts[row], self.rules[row] = REJECTED, rule


def evaluate(whatif: WhatIf, places: Mapping[int, int | None]) -> Outcome:
    """Judge all rows with the offers in ``places`` moved; None takes a limit away."""
    count = len(whatif.rules) - whatif.images
    fires = _first_firing(whatif, places, range(count))
    late = _first_firing(whatif, places, range(count, len(whatif.rules)))
    verdicts = whatif.states & 3
    judged, unmeasured = whatif.states & JUDGED_ANEW > 0, whatif.states & UNMEASURED > 0
    verdicts[judged | (unmeasured & (fires != NO_RULE))] = REJECTED
    verdicts[judged & (fires == NO_RULE)] = KEPT
    fires[~(judged | unmeasured)] = NO_RULE
    found = Outcome(verdicts, fires)
    place_of = {row: place for place, row in enumerate(whatif.copies.rows.tolist())}
    every = Kept(whatif.copies)
    starts = [*np.flatnonzero(whatif.states & FIRST_OF_ASSET).tolist(), len(whatif.states)]
    for start, stop in itertools.pairwise(starts):
        lined = _by_a_worker(whatif, found, late, place_of, range(start, stop))
        every.enter()
        for row in lined:
            if copied := every.judge(place_of[row]):
                found.reject(row, COPY_RULES[copied])
            elif found.verdicts[row] == KEPT:
                every.keep(place_of[row])
    return found


def _first_firing(whatif: WhatIf, places: Mapping[int, int | None], numbers: range) -> np.ndarray:
    fires = np.full(len(whatif.states), NO_RULE, np.uint8)
    for number in reversed(numbers):
        of_rule = whatif.rules[number][1]
        broken = np.ones(len(fires), bool) if of_rule else whatif.fixed == number
        for offer_number in of_rule:
            offer = whatif.offers[offer_number]
            broken &= _broken(offer, places.get(offer_number, offer.place))
        fires[broken] = number
    return fires


def _broken(offer: Offer, place: int | None) -> np.ndarray:
    if place is None:
        return np.zeros(len(offer.places), bool)
    measured = offer.places != NOT_MEASURED
    return measured & ((place >= offer.places) == (offer.limit.breaks == "lt"))


def _by_a_worker(
    whatif: WhatIf, found: Outcome, late: np.ndarray, place_of: Mapping[int, int], rows: range
) -> list[int]:
    """Drop of one asset the clips beyond its number, copies within it, and what images reject.

    Returns:
        The rows that may be copies of other assets' clips, or repeated by them.
    """
    own, kept, lined = Kept(whatif.copies), 0, list[int]()
    limit = len(rows) if whatif.clips_max is None else whatif.clips_max
    for row in rows:
        if kept >= limit and whatif.states[row] & (JUDGED_ANEW | UNMEASURED):
            found.reject(row, CLIP_RULE)
        if found.verdicts[row] != KEPT:
            continue
        place = place_of.get(row)
        if place is not None and (copied := own.judge(place)):
            found.reject(row, COPY_RULES[copied])
            lined.append(row)
        elif late[row] != NO_RULE:
            found.reject(row, late[row])
        else:
            kept += 1
            if place is not None:
                own.keep(place)
                lined.append(row)
    return lined
