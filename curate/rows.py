"""A verdict as the fields of a ledger row."""

from typing import Any

from curate.facts import Decision
from render.runner import BlenderFault

# One sentence per way in which Blender can fail, for the ledger's ``rule``.
_FAULT_RULES = {
    "crash": "blender_crashed",
    "timeout": "blender_timeout",
    "memory": "blender_memory",
    "load": "import_failed",
    "images": "image_too_large",
    "error": "blender_error",
}


def rejection(stage: str, decision: Decision) -> dict[str, Any]:
    """Say which rule rejected, what it measured and what it was held against."""
    return {
        "verdict": "rejected",
        "rule": decision.rule,
        "value": float(decision.value),
        "limit": float(decision.limit),
        "unit": decision.unit,
        "stage": stage,
        "error": decision.sentence,
        "log_tail": "",
    }


def failure(stage: str, rule: str, sentence: str, log_tail: str) -> dict[str, Any]:
    """Say where something failed, its stable name, one sentence, and the evidence."""
    return {
        "verdict": "failed",
        "rule": rule,
        "stage": stage,
        "error": sentence,
        "log_tail": log_tail,
    }


def fault_fields(stage: str, fault: BlenderFault) -> dict[str, Any]:
    """Put a fault of Blender, at a stage, into a ledger row's fields."""
    rule, sentence = _FAULT_RULES[fault.kind], fault.message
    if fault.kind == "crash":
        rule = "machine_fault" if fault.of_machine else rule
        if fault.attempts > 1:
            sentence = f"{sentence}; given up after {fault.attempts} tries"
    return failure(stage, rule, sentence, fault.log_tail)


def untried(crashed: int) -> dict[str, Any]:
    """Fail a clip of an asset that crashed Blender with other clips, without trying it."""
    sentence = f"{crashed} clips of this asset crashed Blender again and again; this one is untried"
    return failure("curate", "quarantined", sentence, "")
