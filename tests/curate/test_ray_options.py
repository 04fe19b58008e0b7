"""What is asked of Ray for workers and curators, and what a node must have to be looked at."""

from curate.cluster import RayOptions, window_size

FULL = RayOptions(
    workers=3, num_cpus=2, num_gpus=0.5, memory_mb=2800, resources={"render": 1},
    curators=4, curator_cpus=0.5,
)  # fmt: skip


def test_a_worker_gets_what_the_settings_say_and_a_curator_no_device() -> None:
    worker, curator = FULL.of_actor(), FULL.of_curator()
    assert (worker["num_cpus"], worker["num_gpus"]) == (2, 0.5)
    assert worker["memory"] == curator["memory"] == 2800 * 2**20
    assert worker["resources"] == {"render": 1}
    assert (curator["num_cpus"], curator["num_gpus"], curator["resources"]) == (0.5, 0.0, {})
    assert curator["runtime_env"]["env_vars"] == {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
    assert worker["max_restarts"] == curator["max_restarts"] == 0  # the pool replaces them
    assert "memory" not in RayOptions().of_actor()


def test_nodes_are_looked_at_that_have_room_for_any_of_the_two() -> None:
    assert FULL.of_node() == {"CPU": 0.5}
    alone = RayOptions(num_cpus=2, num_gpus=1, resources={"render": 1})
    assert alone.of_node() == {"CPU": 2, "GPU": 1, "render": 1}


def test_a_ray_of_this_machine_has_room_for_all_of_them() -> None:
    assert FULL.of_this_machine() == {"num_cpus": 8, "resources": {"render": 3}}


def test_a_window_has_room_for_every_actor() -> None:
    assert window_size(FULL) == 16 * 7
    assert window_size(FULL, asked=2) == 7
    assert window_size(RayOptions()) == 64
