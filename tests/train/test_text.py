"""Texts: any text encoder of transformers, and what stands in for a dropped one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from shards.errors import ConfigError
from tests.train.small import CONFIG, random_batch
from tests.train.text_encoder import WIDTH, make_text_encoder
from train.config import TextConfig
from train.text import open_text
from train.trainer import Trainer

pytestmark = pytest.mark.slow  # transformers takes seconds to import
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TextConfig:
    folder = make_text_encoder(tmp_path_factory.mktemp("text") / "pipeline")
    return TextConfig(encoder=str(folder), tokens=8)


def test_tokens_are_those_of_transformers(config: TextConfig) -> None:
    from transformers import CLIPTextModel

    encoder = open_text(config, WIDTH, CPU)
    assert encoder is not None
    model: Any = CLIPTextModel.from_pretrained(f"{config.encoder}/text_encoder")
    ids = torch.tensor([[1, 5, 7, 2, 0, 0, 0, 0], [1, 8, 2, 0, 0, 0, 0, 0]])
    with torch.no_grad():
        expected = model(input_ids=ids).last_hidden_state
    torch.testing.assert_close(encoder.encode(["red fox", "robot"]), expected)
    torch.testing.assert_close(encoder.encode(["robot"]), expected[1:])  # remembered


def test_suffix_and_null_are_as_configured(config: TextConfig) -> None:
    plain = open_text(config, WIDTH, CPU)
    other = open_text(config.model_copy(update={"suffix": " thing", "null": "blue"}), WIDTH, CPU)
    assert plain is not None
    assert other is not None
    assert other.encode(["red"]).equal(plain.encode(["red thing"]))
    assert other.null(2)[1].equal(plain.encode(["blue"])[0])


def test_long_captions_are_cut(config: TextConfig) -> None:
    encoder = open_text(config, WIDTH, CPU)
    assert encoder is not None
    assert encoder.encode(["a " * 50]).shape == (1, 8, WIDTH)


def test_a_width_that_does_not_fit_is_named(config: TextConfig) -> None:
    with pytest.raises(ConfigError, match=r"width 12, model\.text is 16; use --set model\.text=12"):
        open_text(config, 16, CPU)


def test_an_encoder_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"text\.encoder '.*empty': none there"):
        open_text(TextConfig(encoder=str(tmp_path / "empty")), WIDTH, CPU)


def test_captions_reach_the_model_in_training(config: TextConfig) -> None:
    settings = CONFIG.model_copy(
        update={"text": config, "model": CONFIG.model.model_copy(update={"text": WIDTH})}
    )
    trainer, batch = Trainer(settings, CPU), random_batch()
    read = batch.read_by(trainer.text)
    assert read.text is not None
    assert read.text.shape == (2, 8, WIDTH)
    before = {n: p.clone() for n, p in trainer.model.named_parameters() if ".attn2.to_v." in n}
    for _ in range(3):  # the layers in front of it start at zero
        trainer.step(batch)
    after = dict(trainer.model.named_parameters())
    moved = [
        not before[name].equal(after[name]) for name in before if after[name].shape[1] == WIDTH
    ]
    assert moved
    assert all(moved)
