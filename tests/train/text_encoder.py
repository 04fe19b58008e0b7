"""A CLIP text encoder of random weights and a handful of words, as a folder."""

from pathlib import Path
from typing import Any

import torch

WIDTH = 12


def make_text_encoder(folder: Path) -> Path:
    """Write tokenizer and encoder as a pipeline keeps them: ``tokenizer``, ``text_encoder``."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    words = ["<pad>", "<start>", "<end>", "<unk>", "a", "red", "blue", "fox", "robot", "thing"]
    inner = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    inner.post_processor = TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="<end>"
    )
    tokenizer.save_pretrained(str(folder / "tokenizer"))
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    CLIPTextModel(config).save_pretrained(str(folder / "text_encoder"))
    return folder
