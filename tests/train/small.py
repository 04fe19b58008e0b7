"""The smallest model, batch and settings that still have every part."""

import torch

from train.config import (
    CheckpointConfig,
    DataConfig,
    DropConfig,
    NoiseConfig,
    OptimConfig,
    TrainConfig,
    VideoUNetConfig,
)
from train.data import ClipBatch
from train.models.api import Conditions

MODEL = VideoUNetConfig(
    channels=(8, 16), attention=(False, True), embedding=16, image=16, head_width=8, norm_groups=4
)
CONFIG = TrainConfig(
    steps=6,
    batch=2,
    device="cpu",
    data=DataConfig(size=8, frames=3),
    model=MODEL,
    noise=NoiseConfig(target="v"),
    drop=DropConfig(image=0.2, camera=0.2, motion=0.2),
    optim=OptimConfig(lr=1e-3, schedule="cosine", warmup_steps=2, weight_decay=0.01),
    checkpoint=CheckpointConfig(every_steps=2),
)


def random_batch(clips: int = 2, frames: int = 3, size: int = 8, seed: int = 0) -> ClipBatch:
    source = torch.Generator().manual_seed(seed)
    images = torch.rand((2, clips, frames, 3, size, size), generator=source) * 2 - 1
    return ClipBatch(
        keys=tuple(f"clip-{i:03d}" for i in range(clips)),
        image=images[0, :, 0],
        orbit=images[0],
        static=images[1],
        camera=torch.randn((clips, frames, 4, 4), generator=source),
        motion=torch.rand(clips, generator=source),
        captions=tuple(f"thing {i}" for i in range(clips)),
        text=torch.randn((clips, 5, 12), generator=source),
        clip=torch.randn((clips, 6), generator=torch.Generator().manual_seed(seed)),
        text_null=torch.randn((1, 5, 12), generator=source).expand(clips, -1, -1),
    )


def all_kept(batch: ClipBatch) -> Conditions:
    return batch.conditions()
