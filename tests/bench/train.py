"""How fast the ``tiny`` preset trains: ``python -m tests.bench.train``.

Needs no assets: the clips are random, which costs as much as real ones. The whole step is timed
(draws, forward, backward, clipping, AdamW, EMA), not the reading, which ``stream`` measures.
"""

import resource

from tests.bench.harness import arguments, cpu_seconds, report, seconds
from train.config import TrainConfig
from train.data import ClipBatch
from train.presets import preset


def main() -> None:
    """Run from a shell."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--steps", type=int, default=10, help="timed steps")
    given = parser.parse_args()
    import torch

    from train.ranks import device_for
    from train.trainer import Trainer

    config = preset(given.preset)
    trainer = Trainer(config, device_for(config.device))
    batch = random_batch(config)
    cpu = cpu_seconds()
    step_s = seconds(lambda: trainer.step(batch), given.steps)
    cpu_s = (cpu_seconds() - cpu) / (given.steps + 1)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    parameters = sum(p.numel() for p in trainer.model.parameters())
    figures = {
        "step_s": step_s,
        "step_cpu_s": cpu_s,
        "samples_per_s": config.batch / step_s,
        "fit_s": step_s * config.steps,
        "peak_mb": peak_mb,
        "parameters_m": parameters / 1e6,
    }
    shape = f"{config.batch} clips of {config.data.frames} frames, {config.data.size} px"
    report(
        f"training step of {given.preset}: {shape}, {torch.get_num_threads()} threads",
        ("figure", "value"),
        figures.items(),
        figures,
        given.json,
    )


def random_batch(config: TrainConfig) -> ClipBatch:
    """Make a batch of the size that the config trains on."""
    import torch

    b, t, side = config.batch, config.data.frames, config.data.size
    images = torch.rand((2, b, t, 3, side, side)) * 2 - 1
    keys = tuple(f"clip-{i:03d}" for i in range(b))
    return ClipBatch(
        keys, images[0, :, 0], images[0], images[1], torch.randn(b, t, 4, 4), torch.rand(b)
    )


if __name__ == "__main__":
    main()
