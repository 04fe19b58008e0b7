"""Errors that name the item, what was found, what was expected and what to do.

Anything about one asset or one sample derives from ``ItemError``: a run counts it and
goes on. Every other exception is a fault of the program or its settings and stops it.
"""

# Signals that no process sends itself: the out-of-memory killer, an operator or a node that goes
# away does. What they end says nothing about the asset at hand.
FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")


class Orbit4dError(Exception):
    """Base of all errors raised on purpose; its text is meant for the user."""


class ConfigError(Orbit4dError):
    """A setting is wrong: nothing was started."""


class RunError(Orbit4dError):
    """A RUN folder cannot be used as asked."""


class MachineError(Orbit4dError):
    """The machine stops a run: its disk is full, or what has to be written cannot be.

    It is about no asset, so no asset is failed over it; once mended, the same command goes on.
    """


class ItemError(Orbit4dError):
    """Something is wrong with one item; the others are unaffected."""


class AssetError(ItemError):
    """One asset cannot be used.

    Attributes:
        rule: short stable snake_case name of the cause; reports count it.
        stage: where it was found: ``source``, ``fetch``, ``inspect``, ``load``, ``probe`` or
            ``render``.
        detail: longer evidence (a log tail); may be empty.
    """

    def __init__(self, message: str, *, rule: str, stage: str, detail: str = "") -> None:
        super().__init__(message)
        self.rule = rule
        self.stage = stage
        self.detail = detail


class SampleError(ItemError):
    """One sample of a shard is damaged or does not fit the schema."""


class TakenDown(SampleError):
    """One sample was taken down (``shards.tombstones``): whole, but not to be read."""


class ShardError(Orbit4dError):
    """A shard or an index is damaged, missing or inconsistent."""
