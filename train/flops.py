"""How many operations a training step takes, and how many a device can do."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from train.config import TrainConfig
from train.models.api import CONDITIONS, Conditions
from train.models.build import build_model

# Dense bf16 products with float32 sums, from the makers' data sheets; a part of the device's name,
# the first that fits.
_PEAK_TFLOPS = (
    *(("B200", 2250.0), ("H200", 989.0), ("H100 PCIe", 756.0), ("H100 NVL", 835.0)),
    *(("H100", 989.0), ("A100", 312.0), ("A800", 312.0), ("H800", 989.0), ("L40S", 362.0)),
    *(("L4", 121.0), ("A10G", 70.0), ("A10", 125.0), ("A40", 150.0), ("A6000", 155.0)),
    *(("RTX 4090", 165.0), ("RTX 3090", 71.0)),
)


def peak_flops(name: str) -> float | None:
    """Give the bf16 peak of a device by its name, FLOP/s; none where it is not known."""
    return next((peak * 1e12 for part, peak in _PEAK_TFLOPS if part in name), None)


def device_peak(device: torch.device) -> float | None:
    """Give the bf16 peak of a device, FLOP/s; none for CPUs and what is not known."""
    if device.type != "cuda":
        return None
    return peak_flops(torch.cuda.get_device_name(device))


def clip_flops(config: TrainConfig, shape: tuple[int, ...]) -> float:
    """Count what forward and backward of one clip take in the model, a multiply-add as two.

    Products and convolutions count, as torch's counter has it; what is computed again to save
    memory does not, nor do autoencoder and text encoder. Nothing is computed: shapes are enough.

    Args:
        config: of the run.
        shape: of a clip as the model sees it, (t, c, h, w).
    """
    t, c, h, w = shape
    with torch.device("meta"):
        model = build_model(config.model, 0)
        tokens = None
        if config.model.text is not None:
            tokens = torch.zeros(1, config.text.tokens, config.model.text)
        given = Conditions(
            image=torch.zeros(1, c, h, w),
            camera=torch.zeros(1, t, 4, 4),
            motion=torch.zeros(1),
            keep=torch.ones(1, len(CONDITIONS), dtype=torch.bool),
            text=tokens,
            text_null=tokens,
            static=torch.zeros(1, t, c, h, w),
        )
        clip = torch.zeros(1, t, c, h, w)
        with FlopCounterMode(display=False) as counter:
            model(clip, torch.zeros(1, dtype=torch.int64), given).sum().backward()
    return float(counter.get_total_flops())
