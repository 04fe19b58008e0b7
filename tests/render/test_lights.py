"""The light draw has an address and keeps its range."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from render.lights import LightConfig, SkyConfig, ambient_radiance, draw_lights, light_file
from shards.errors import ConfigError


def energies(seed: int, uid: str, clip: int) -> list[float]:
    return [light["energy_w_m2"] for light in draw_lights(LightConfig(), seed, uid, clip)]


def test_same_address_same_lights_other_address_other_lights() -> None:
    assert energies(0, "a", 0) == energies(0, "a", 0)
    assert (
        len({tuple(energies(*at)) for at in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]})
        == 4
    )


def test_draws_stay_within_the_jitter() -> None:
    config = LightConfig(jitter=0.2)
    for clip in range(50):
        key = draw_lights(config, 0, "a", clip)[0]["energy_w_m2"]
        assert 0.8 * config.key_w_m2 <= key <= 1.2 * config.key_w_m2


def test_no_jitter_gives_the_settings() -> None:
    config = LightConfig(jitter=0.0)
    assert draw_lights(config, 0, "a", 0)[1]["energy_w_m2"] == config.fill_w_m2


def draw(config: LightConfig, clip: int = 0) -> list[dict[str, Any]]:
    return draw_lights(config, 0, "a", clip)


@pytest.mark.parametrize(
    "config",
    [
        LightConfig(sun_set="diffusion4d"),
        LightConfig(mode="studio"),
        LightConfig(mode="hdri"),
        LightConfig(mode="hdri", sky=SkyConfig(file=Path("/far/away/room.hdr"))),
    ],
)
def test_every_mode_draws_from_the_address_and_fits_a_sample(config: LightConfig) -> None:
    assert draw(config) == draw(config)
    assert draw(config) != draw(config, clip=1)
    for light in draw(config):
        assert all(type(value) in (float, str) for value in light.values())
        assert "/" not in str(light.get("file"))  # no paths of this machine


def test_the_suns_of_diffusion4d_take_all_its_energies_and_no_others() -> None:
    config = LightConfig(sun_set="diffusion4d", diffusion4d_gain=1.0)
    seen: dict[str, set[float]] = {}
    for clip in range(60):
        for light in draw(config, clip):
            seen.setdefault(light["name"], set()).add(light["energy_w_m2"])
    assert seen == {"key": {3, 4, 5}, "fill": {2, 3, 4}, "rim": {3, 4, 5}, "bottom": {1, 2, 3}}


def test_its_brightest_draw_stays_white_by_default() -> None:
    gain = LightConfig().diffusion4d_gain
    assert gain * (5 + 5) / np.pi < 1.0  # key and rim shine from the same side


def test_the_studio_turns_as_a_whole_and_within_its_range() -> None:
    config = LightConfig(mode="studio")
    for clip in range(20):
        key, fill, rim = (light["azimuth_deg"] for light in draw(config, clip))
        assert -60 <= key <= -20
        assert (fill - key, rim - key) == pytest.approx((95.0, 205.0))


def test_sun_and_sky_agree_and_share_the_brightness() -> None:
    config = SkyConfig(brightness=0.8, sun_share=0.25)
    sky, sun = draw(LightConfig(mode="hdri", sky=config))
    assert (sky["azimuth_deg"], sky["elevation_deg"]) == (sun["azimuth_deg"], sun["elevation_deg"])
    assert sky["radiance"] == pytest.approx(0.6)
    assert sun["energy_w_m2"] / np.pi == pytest.approx(0.2, abs=1e-5)


def test_the_ambient_light_is_that_of_the_mode() -> None:
    config = LightConfig(ambient=0.3)
    modes = ("suns", "studio", "hdri")
    found = [ambient_radiance(config.model_copy(update={"mode": mode})) for mode in modes]
    assert found == [0.3, config.studio.ambient, 0.0]


def test_a_light_file_is_looked_at_before_anything_starts(tmp_path: Path) -> None:
    def find(name: str, mode: str = "hdri") -> Path | None:
        config = {"mode": mode, "sky": {"file": str(tmp_path / name)}}
        return light_file(LightConfig.model_validate(config))

    (tmp_path / "a.hdr").write_bytes(b"#?RADIANCE\n")
    (tmp_path / "b.exr").write_bytes(b"\x76\x2f\x31\x01rest")
    (tmp_path / "c.hdr").write_bytes(b"\x89PNG")
    (tmp_path / "d.png").write_bytes(b"\x89PNG")
    assert find("a.hdr") == tmp_path / "a.hdr"
    assert find("b.exr") == tmp_path / "b.exr"
    assert find("gone.hdr", mode="suns") is None
    for name in ("c.hdr", "d.png"):
        with pytest.raises(ConfigError, match=r"expected a Radiance \.hdr or an OpenEXR \.exr"):
            find(name)
    with pytest.raises(ConfigError, match="cannot be read"):
        find("gone.hdr")
