import torch

from train.losses import diffusion_loss, motion_loss, motion_of

ONE = torch.ones(2)


def clips(seed: int) -> torch.Tensor:
    return torch.randn((2, 3, 3, 4, 4), generator=torch.Generator().manual_seed(seed))


def test_diffusion_loss_is_a_mean_per_clip() -> None:
    goal = clips(0)
    output = goal.clone()
    output[1] += 2
    torch.testing.assert_close(diffusion_loss(output, goal), torch.tensor([0.0, 4.0]))


def test_motion_is_zero_where_nothing_moves() -> None:
    assert motion_of(clips(0), clips(0)).eq(0).all()


def test_motion_loss_is_zero_at_the_truth() -> None:
    assert motion_loss(clips(0), clips(0), clips(1), ONE).eq(0).all()


def test_a_frozen_prediction_pays_the_square_of_the_true_motion() -> None:
    truth, frozen = clips(0), clips(1)
    loss = motion_loss(frozen, truth, frozen, ONE)
    torch.testing.assert_close(loss, motion_of(truth, frozen).square())


def test_motion_loss_is_blind_to_the_direction_of_motion() -> None:
    truth, frozen = clips(0), clips(1)
    mirrored = frozen - (truth - frozen)
    torch.testing.assert_close(motion_loss(mirrored, truth, frozen, ONE), torch.zeros(2))


def test_motion_loss_is_quartic_in_the_size_of_motion() -> None:
    truth, frozen = clips(0), torch.zeros_like(clips(0))
    doubled = motion_loss(frozen, 2 * truth, frozen, ONE)
    torch.testing.assert_close(doubled, 16 * motion_loss(frozen, truth, frozen, ONE))


def test_motion_loss_fades_with_the_signal() -> None:
    left = torch.tensor([0.25, 0.0])
    full = motion_loss(clips(2), clips(0), clips(1), ONE)
    torch.testing.assert_close(motion_loss(clips(2), clips(0), clips(1), left), full * left)
