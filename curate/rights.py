"""Licences as they are stated, as SPDX ids, and whether a list lets them pass."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from curate.config_assets import RightsConfig

# Objaverse 1.0 has Sketchfab's short names, Objaverse-XL the long ones of its sources; Sketchfab's
# Creative Commons licences are version 4.0 (its help pages, "Understanding licenses").
_NAMES = {
    "by": "CC-BY-4.0",
    "by-sa": "CC-BY-SA-4.0",
    "by-nd": "CC-BY-ND-4.0",
    "by-nc": "CC-BY-NC-4.0",
    "by-nc-sa": "CC-BY-NC-SA-4.0",
    "by-nc-nd": "CC-BY-NC-ND-4.0",
    "cc0": "CC0-1.0",
    "cc-0": "CC0-1.0",
    "cc0 public domain": "CC0-1.0",
    "public domain": "CC0-1.0",
    "creative commons - public domain dedication": "CC0-1.0",
    "creative commons - attribution": "CC-BY-4.0",
    "creative commons - attribution - share alike": "CC-BY-SA-4.0",
    "creative commons - attribution - no derivatives": "CC-BY-ND-4.0",
    "creative commons - attribution - non-commercial": "CC-BY-NC-4.0",
    "creative commons - attribution - non-commercial - share alike": "CC-BY-NC-SA-4.0",
    "creative commons - attribution - non-commercial - no derivatives": "CC-BY-NC-ND-4.0",
    "creative commons attribution": "CC-BY-4.0",
    "creative commons attribution-sharealike": "CC-BY-SA-4.0",
    "creative commons attribution-noderivs": "CC-BY-ND-4.0",
    "creative commons attribution-noncommercial": "CC-BY-NC-4.0",
    "creative commons attribution-noncommercial-sharealike": "CC-BY-NC-SA-4.0",
    "creative commons attribution-noncommercial-noderivs": "CC-BY-NC-ND-4.0",
    "mit license": "MIT",
    "apache license 2.0": "Apache-2.0",
    "gnu general public license v3.0": "GPL-3.0-only",
    "gnu general public license v2.0": "GPL-2.0-only",
    'bsd 3-clause "new" or "revised" license': "BSD-3-Clause",
    'bsd 2-clause "simplified" license': "BSD-2-Clause",
    "the unlicense": "Unlicense",
}
_UNSTATED = frozenset(["", "unknown", "none", "null", "other", "noassertion"])
_ADDRESS = re.compile(
    r"https?://(?:www\.)?creativecommons\.org/"
    r"(?:licenses/(?P<kind>[a-z-]+)/(?P<version>\d\.\d)|publicdomain/(?P<public>zero|mark))"
)
_NESTED = re.compile(r"\(.*\s(AND|OR)\s")
_SHORT = re.compile(r"cc[- ](?P<kind>by(?:-(?:nc|nd|sa))*)[- ](?P<version>\d\.\d)")


def spdx(stated: str) -> str:
    """Return one stated licence as an SPDX id, or as it stands; empty where nothing is stated."""
    text = " ".join(stated.split())
    low = text.lower()
    if low in _UNSTATED:
        return ""
    if low in _NAMES:
        return _NAMES[low]
    if found := _ADDRESS.search(low):
        if found["public"]:
            return "CC0-1.0" if found["public"] == "zero" else "PDM-1.0"
        return f"CC-{found['kind'].upper()}-{found['version']}"
    if found := _SHORT.fullmatch(low):
        return f"CC-{found['kind'].upper()}-{found['version']}"
    return text


def is_allowed(stated: str, rights: RightsConfig) -> bool:
    """Tell whether an asset of a licence may be taken.

    Of ``A OR B`` one has to be allowed, of ``A AND B`` both; a licence with an exception counts as
    the licence. In an expression with parentheses all have to be.
    """
    if not spdx(stated):
        return rights.unknown == "keep"
    if _NESTED.search(stated):
        stated = re.sub(r"\s+OR\s+", " AND ", re.sub(r"[()]", " ", stated))
    choices = re.split(r"\s+OR\s+", stated)
    return any(
        all(_one(part, rights) for part in re.split(r"\s+AND\s+", choice)) for choice in choices
    )


def tags_in(tags: str, denied: Sequence[str]) -> list[str]:
    """List the denied tags that stand in a list separated by semicolons, in any case."""
    found = {tag.strip().lower() for tag in tags.split(";")}
    return [tag for tag in denied if tag.strip().lower() in found]


def _one(stated: str, rights: RightsConfig) -> bool:
    name = spdx(re.split(r"\s+WITH\s+", stated)[0])
    if not name:
        return rights.unknown == "keep"
    if _listed(name, rights.licences_deny):
        return False
    return rights.licences_allow is None or _listed(name, rights.licences_allow)


def _listed(name: str, patterns: Sequence[str]) -> bool:
    return any(
        fnmatchcase(name.lower(), (spdx(pattern) or pattern).lower()) for pattern in patterns
    )
