import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.train.small import CONFIG, all_kept, random_batch
from train.flops import clip_flops, device_peak, peak_flops
from train.models.build import build_model
from train.presets import preset


@pytest.mark.slow
def test_operations_counted_without_computing_are_those_of_a_real_pass() -> None:
    config = CONFIG.model_copy(update={"model": CONFIG.model.model_copy(update={"static": True})})
    batch = random_batch(clips=1)
    model = build_model(config.model, 0)
    with FlopCounterMode(display=False) as counter:
        model(batch.orbit, torch.tensor([3]), all_kept(batch)).sum().backward()
    counted = clip_flops(config, (3, 3, 8, 8))
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.02)  # attention on CPUs
    assert clip_flops(config, (6, 3, 8, 8)) > 1.9 * counted


@pytest.mark.slow
def test_the_full_model_takes_teraflops_a_clip_and_no_memory() -> None:
    counted = clip_flops(preset("full"), (24, 4, 32, 32))
    assert 10e12 < counted < 100e12


def test_peaks_are_known_by_name_and_not_guessed() -> None:
    assert peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_flops("NVIDIA H100 PCIe") == 756e12
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_flops("NVIDIA A10G") == 70e12
    assert peak_flops("Some New Thing") is None
    assert device_peak(torch.device("cpu")) is None
