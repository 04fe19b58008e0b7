"""What a build would do with each asset, and why, before it does anything."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from curate.duplicates import RULES, clip_name, is_candidate
from curate.run_folder import RunFolder, Unsettled
from curate.sources import Source
from shards.scratch import ScratchSet

State = Literal["finished", "staged", "begun", "original", "taken_down"] | Unsettled
_EXAMPLES_MAX = 3
_TOGETHER = 256  # assets whose rows are looked up at once

MEANINGS: Mapping[State, str] = {
    "finished": "nothing",
    "staged": "pack: an earlier build rendered it",
    "taken_down": "enter a row: tombstones.json has it, it is not looked at",
    "new": "do: the ledger has no row of it",
    "begun": "go on: an earlier build began with it",
    "retry": "do again: it has failed clips, and --retry-failed is given",
    "settings": "judge again: other settings or versions; render what they change",
    "files": "do again: its files changed, or are gone",
    "said": "judge again: lists, licence, author, name or tags say something else",
    "takedown": "judge again: tombstones.json names other clips or bytes of it than before",
    "samples": "do again: rows and shards do not agree",
    "original": "judge again: the clip that it is a copy of is not there any more",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build would do.

    Attributes:
        counts: assets by state.
        examples: the first few paths of each state.
        changes: settings and versions that differ from those of the RUN folder.
    """

    counts: Counter[State]
    examples: Mapping[State, list[str]]
    changes: Sequence[str] = ()

    @property
    def settled(self) -> int:
        """Count the assets that nothing is done about."""
        return self.counts["finished"]

    @property
    def staged(self) -> int:
        """Count the assets that are only packed."""
        return self.counts["staged"]

    @property
    def missing(self) -> int:
        """Count the assets that are worked on."""
        return self.counts.total() - self.settled - self.staged

    def lines(self) -> Iterator[str]:
        """Say it in words: one line per state, most assets first."""
        yield f"{self.missing} of {self.counts.total()} assets would be worked on"
        for state, count in self.counts.most_common():
            some = ", ".join(self.examples[state])
            more = ", ..." if count > len(self.examples[state]) else ""
            yield f"  {count:>8}  {state:<10}  {MEANINGS[state]} ({some}{more})"
        if self.changes:
            yield "settings and versions that differ from the last build's:"
            yield from (f"  {change}" for change in self.changes)


def review(
    run: RunFolder, sources: Iterable[Source]
) -> Iterator[tuple[Source, State, list[dict[str, Any]]]]:
    """Find each asset's state, in input order, and its rows where they stand.

    What is staged is a newer word than the ledger's: it goes first. A copy has to be judged again
    where the clip that it repeats, or what that is a copy of, is not there any more.
    """
    known = ScratchSet()  # clips that are kept, or copies of such
    begun = run.begun()
    for source in _with_rows_near(run, sources):
        state: State = "staged"
        rows = run.staged_rows(source) if source.uid in begun else None
        if rows is None:
            rows, reason = run.known_rows(source)
            state = reason or "finished"
        if state not in ("staged", "finished"):
            yield source, state, []
            continue
        own = {clip_name(row) for row in rows if is_candidate(row)}
        if not all(name in own or name in known for name in _originals(rows)):
            yield source, "original", []
            continue
        for name in own | {clip_name(row) for row in rows if row["rule"] in RULES}:
            known.add(name)
        yield source, state, rows


def _with_rows_near(run: RunFolder, sources: Iterable[Source]) -> Iterator[Source]:
    coming = iter(sources)
    while some := list(islice(coming, _TOGETHER)):
        run.bring_near(some)
        yield from some


def make_plan(run: RunFolder, sources: Iterable[Source]) -> Plan:
    """Say what a build would do with these assets; nothing is changed."""
    counts: Counter[State] = Counter()
    examples: defaultdict[State, list[str]] = defaultdict(list)
    begun = run.begun()
    for source, found, _ in review(run, sources):
        state: State = found
        if found not in ("finished", "staged"):
            if run.barred(source).refusal == "taken_down":
                state = "taken_down"
            elif found == "new" and source.uid in begun:
                state = "begun"
        _note(counts, examples, state, source)
    return Plan(counts, examples, run.changes)


def plan_of_new(sources: Iterable[Source]) -> Plan:
    """Say what a build into a folder that does not exist would do."""
    counts: Counter[State] = Counter()
    examples: defaultdict[State, list[str]] = defaultdict(list)
    for source in sources:
        _note(counts, examples, "new", source)
    return Plan(counts, examples)


def _note(
    counts: Counter[State], examples: defaultdict[State, list[str]], state: State, source: Source
) -> None:
    counts[state] += 1
    if len(examples[state]) < _EXAMPLES_MAX:
        examples[state].append(source.path)


def _originals(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """List the clips that some of these rows were rejected as copies of."""
    return {row.get("duplicate_of") or "" for row in rows if row["rule"] in RULES}
