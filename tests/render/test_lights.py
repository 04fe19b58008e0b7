"""The light draw has an address and keeps its range."""

from render.lights import LightConfig, draw_lights


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
