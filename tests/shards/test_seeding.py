import numpy as np

from shards.seeding import rng_for


def test_draws_are_pinned() -> None:
    rng = rng_for(0, "lights", "fox", 2)
    np.testing.assert_array_equal(rng.integers(0, 1000, 4), [390, 219, 265, 500])
    np.testing.assert_array_equal(rng.random(2), [0.6455498293896016, 0.45799067406858396])
    np.testing.assert_array_equal(rng.permutation(6), [5, 2, 4, 0, 3, 1])


def test_every_part_of_the_address_counts() -> None:
    addresses = [(0, "a", "bc"), (0, "ab", "c"), (0, "abc"), (1, "a", "bc"), (0, 1), (0, "1"), (0,)]
    draws = {float(rng_for(seed, *rest).random()) for seed, *rest in addresses}
    assert len(draws) == len(addresses)


def test_numpy_scalars_address_the_same_draw() -> None:
    plain, scalar = (
        rng_for(3, "clip", 7),
        rng_for(int(np.int64(3)), np.str_("clip"), int(np.int32(7))),
    )
    assert plain.random() == scalar.random()
    assert rng_for(3, "clip", np.int64(7)).random() == rng_for(3, "clip", 7).random()  # type: ignore[arg-type]
