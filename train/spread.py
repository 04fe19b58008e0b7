"""One model on several ranks: whole on each (DDP), or a share on each (FSDP2)."""

import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from train.config import TrainConfig
from train.models.video_unet import VideoUNet
from train.ranks import Ranks

_STAGES_MAX = 64


def spread(model: nn.Module, config: TrainConfig, ranks: Ranks) -> nn.Module:
    """Move a model to its device, spread it over the ranks; returns what answers in training.

    The model itself keeps its parameters' names, whatever happens to it here.
    """
    assert isinstance(model, VideoUNet)
    settings = config.parallel
    model.recompute_activations(settings.recompute)
    if settings.compile:
        torch._dynamo.config.recompile_limit = _STAGES_MAX  # stages share their code
        for stage in model.stages():
            stage.compile(dynamic=False)  # all steps have the same shapes
    if ranks.world == 1:
        return model.to(ranks.device)
    if settings.strategy == "fsdp":
        return _sharded(model, config)
    model.to(ranks.device)
    # DDP otherwise orders its buckets anew after the first step, and with them the sums of three
    # and more ranks: a resumed run would differ in the last bit. GPUs sum in no fixed order anyway.
    fixed = ranks.device.type == "cpu"
    warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
    return DistributedDataParallel(
        model, gradient_as_bucket_view=True, find_unused_parameters=fixed
    )


def _sharded(model: VideoUNet, config: TrainConfig) -> nn.Module:
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)  # autocast does
    if config.precision == "bf16":
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()  # it shards no others
    for stage in model.stages():
        fully_shard(stage, mp_policy=policy)
    fully_shard(model, mp_policy=policy)
    return model


def hold_gradients(net: nn.Module, *, hold: bool) -> AbstractContextManager[Any]:
    """Keep gradients on their rank during a backward pass that is not the step's last."""
    if isinstance(net, FSDPModule):
        net.set_requires_gradient_sync(not hold)
        return nullcontext()
    if isinstance(net, DistributedDataParallel) and hold:
        return net.no_sync()
    return nullcontext()


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> float:
    """Scale the gradient of all ranks down to a norm of ``limit``; returns the norm before."""
    norm: Tensor = clip_grad_norm_(parameters, limit)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
