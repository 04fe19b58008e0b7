"""The loading code on small weights in the published forms; the figures themselves mean nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from shards.errors import ConfigError
from train.perceptual import CLIP_MEAN, CLIP_STD, ClipImages, Lpips, VideoFeatures, clip_pixels

CPU = torch.device("cpu")


class Features(torch.nn.Module):
    """Answers as NVIDIA's vgg16.pt: flat features of images in [0, 255]."""

    def forward(
        self, images: torch.Tensor, resize_images: bool = True, return_lpips: bool = False
    ) -> torch.Tensor:
        assert return_lpips
        assert not resize_images
        return images.flatten(1) / 255 / images[0].numel() ** 0.5


class Video(torch.nn.Module):
    """Answers as i3d_torchscript.pt: features of videos (n, 3, t, 224, 224) in [-1, 1]."""

    def forward(
        self,
        videos: torch.Tensor,
        rescale: bool = True,
        resize: bool = True,
        return_features: bool = False,
    ) -> torch.Tensor:
        assert return_features
        assert not rescale
        assert not resize
        assert videos.shape[1] == 3
        assert videos.shape[3:] == (224, 224)
        return videos.mean(dim=[3, 4]).flatten(1)


def saved(module: torch.nn.Module, path: Path) -> Path:
    torch.jit.script(module).save(str(path))
    return path


def make_clip(folder: Path) -> Path:
    """Write a CLIP image encoder of random weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        projection_dim=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(str(folder))
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TorchScript; the files are published so
def test_lpips_is_the_squared_distance_of_the_files_features(tmp_path: Path) -> None:
    metric = Lpips(saved(Features(), tmp_path / "vgg16.pt"), CPU)
    truth = torch.zeros((2, 3, 3, 8, 8))
    guess = truth + torch.tensor([0.0, 0.4]).view(2, 1, 1, 1, 1)
    assert metric.distance(guess, truth) == pytest.approx([0, 0.04])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_video_features_come_clip_by_clip(tmp_path: Path) -> None:
    metric = VideoFeatures(saved(Video(), tmp_path / "i3d.pt"), CPU)
    clips = torch.rand((5, 2, 3, 8, 8))
    expected = clips.mean(dim=[3, 4]).transpose(1, 2).flatten(1)
    np.testing.assert_allclose(metric.embed(clips), expected, atol=1e-5)


@pytest.mark.slow  # imports transformers
def test_clip_similarity_is_1_for_the_image_itself_and_less_for_others(tmp_path: Path) -> None:
    clip = ClipImages(str(make_clip(tmp_path)), CPU)
    clips = torch.rand((2, 3, 3, 8, 8)) * 2 - 1
    near = clip.similarity(clips, clips[:, 0])
    assert near.shape == (2, 3)
    assert near[:, 0] == pytest.approx([1, 1], abs=1e-5)
    assert (near[:, 1:] < 0.999).all()


def test_images_reach_clip_as_its_authors_prepare_them() -> None:
    white = clip_pixels(torch.ones((1, 3, 8, 8)), 16)
    assert white.shape == (1, 3, 16, 16)
    expected = (1 - np.array(CLIP_MEAN)) / np.array(CLIP_STD)
    assert white[0, :, 5, 5].numpy() == pytest.approx(expected, abs=1e-5)


def test_files_that_are_not_there_or_not_torchscript_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--lpips .*no such file"):
        Lpips(tmp_path / "vgg16.pt", CPU)
    (tmp_path / "i3d.pt").write_bytes(b"no weights")
    with pytest.raises(ConfigError, match=r"--fvd .*no TorchScript file"):
        VideoFeatures(tmp_path / "i3d.pt", CPU)
