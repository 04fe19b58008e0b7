"""Captions -> tokens, by any text encoder of ``transformers``; frozen."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from shards.errors import ConfigError
from train.config import TextConfig
from train.latents import load_pretrained

_REMEMBERED = 4096  # captions; a training set has far fewer different ones than steps


class TextEncoder:
    """Encodes captions to the last layer's tokens, padded to ``text.tokens`` as CLIP's are.

    Published text-to-video models attend to the padding too, so there is no mask.
    """

    def __init__(self, config: TextConfig, device: torch.device) -> None:
        from transformers import AutoModelForTextEncoding, AutoTokenizer

        assert config.encoder is not None
        self.config = config
        self.device = device
        self._tokenizer: Any = load_pretrained(
            AutoTokenizer.from_pretrained, config.encoder, "tokenizer", "text.encoder"
        )
        model: Any = load_pretrained(
            AutoModelForTextEncoding.from_pretrained, config.encoder, "text_encoder", "text.encoder"
        )
        self._model = model.eval().requires_grad_(False).to(device)
        self.width = int(self._model.config.hidden_size)
        self._known: dict[str, Tensor] = {}

    def encode(self, captions: Sequence[str]) -> Float32[Tensor, "b n d"]:
        """Encode captions, with the suffix."""
        return self._tokens([caption + self.config.suffix for caption in captions])

    def null(self, clips: int) -> Float32[Tensor, "b n d"]:
        """Encode what stands in for dropped texts."""
        return self._tokens([self.config.null]).expand(clips, -1, -1)

    @torch.no_grad()
    def _tokens(self, texts: Sequence[str]) -> Tensor:
        if len(self._known) + len(texts) > _REMEMBERED:
            self._known.clear()
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        if new:
            inputs = self._tokenizer(
                new,
                padding="max_length",
                truncation=True,
                max_length=self.config.tokens,
                return_tensors="pt",
            )
            found = self._model(input_ids=inputs.input_ids.to(self.device)).last_hidden_state
            self._known |= dict(zip(new, found.float(), strict=True))
        return torch.stack([self._known[text] for text in texts])


def open_text(config: TextConfig, width: int | None, device: torch.device) -> TextEncoder | None:
    """Load the text encoder, or give none where there is none.

    Raises:
        ConfigError: if it cannot be loaded, or its width is not the model's.
    """
    if config.encoder is None:
        return None
    encoder = TextEncoder(config, device)
    if encoder.width != width:
        raise ConfigError(
            f"text.encoder {config.encoder!r} gives tokens of width {encoder.width}, model.text is "
            f"{width}; use --set model.text={encoder.width}"
        )
    return encoder
