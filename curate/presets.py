"""Named settings of a build, to start from; ``--config`` and flags override them."""

from collections.abc import Mapping
from typing import Any

from shards.errors import ConfigError

# What Diffusion4D's paper and rendering script fix. The script's slips are not taken over: an orbit
# whose last view repeats the first (render.sequences.camera.inclusive=true has it), a frozen orbit
# posed one frame late, lights drawn anew for each sequence, a frame fitted to a single pose.
_DIFFUSION4D: dict[str, Any] = {
    "render": {
        "sequences": {
            "names": ["static", "orbit", "front"],
            "frames": 24,
            "width": 256,
            "height": 256,
            "root_motion": "keep",
            "camera": {"distance": 2.0, "fov_deg": 39.6, "elevation_deg": 0.0},
        },
        "engine": {
            "filter_width_px": 0.01,
            "light_tree": True,  # two of its suns stand behind most surfaces: 3 to 4 dB less noise
            "max_bounces": 12,  # Blender's own: the script leaves it
            "diffuse_bounces": 1,
            "glossy_bounces": 1,
            "transparent_bounces": 3,
            "transmission_bounces": 3,
        },
        "lights": {"mode": "suns", "sun_set": "diffusion4d", "ambient": 0.05},
    }
}

PRESETS: Mapping[str, Mapping[str, Any]] = {"diffusion4d": _DIFFUSION4D}


def preset(name: str | None) -> Mapping[str, Any]:
    """Return the settings that a preset sets; none for no name.

    Raises:
        ConfigError: there is no preset of this name.
    """
    if name is None:
        return {}
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r}: expected one of {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
