"""Deepening and export: six trained layers become twenty, in the Hugging Face LLaVA layout, bf16.

S0 S1 become layers 0 and 1, S2..S5 layers 16..19. Layers 2..15 are copies of S2 with o_proj = down_proj = 0: hidden
states pass unchanged, so the function is the shallow one's, yet attention already falls where S2 will look.

It falls there less surely the shallower the copy is: their query weights are mixed with noise (`blurred`), which changes
no answer of the whole model, since the copies write nothing, but gives early cuts something to lose.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from training.decoder import LOOK, VOCABULARY
from training.tokenizer import BOS, EOS, Words
from training.vision import BLOCKS, PATCH

DEPTH, FIRST_READ = 20, 16
BLUR = 14.0  # noise over weights in the query of layer 2, falling to 1 in that of layer 15
TOWER, TEXT = "vision_tower.vision_model.", "language_model.model."


def tower_tensors(tower) -> dict[str, torch.Tensor]:
    state = {name: value.detach() for name, value in tower.state_dict().items()}
    out = {
        TOWER + "embeddings.class_embedding": state["cls"],
        TOWER + "embeddings.patch_embedding.weight": state["patch"].view(-1, 3, PATCH, PATCH),
        TOWER + "embeddings.position_embedding.weight": torch.cat([state["cls_position"][None], state["positions"]]),
    }
    for norm in ("pre_layrnorm", "post_layernorm"):  # post_layernorm is never run either
        for part in ("weight", "bias"):
            out[f"{TOWER}{norm}.{part}"] = state[f"pre_norm.{part}"].clone()
    for layer in range(BLOCKS + 1):  # the last of the layout is never run (vision_feature_layer -2): a copy will do
        source, target = f"blocks.{min(layer, BLOCKS - 1)}.", f"{TOWER}encoder.layers.{layer}."
        for part in ("weight", "bias"):
            out[f"{target}layer_norm1.{part}"] = state[f"{source}norm1.{part}"].clone()
            out[f"{target}layer_norm2.{part}"] = state[f"{source}norm2.{part}"].clone()
        for name, weight, bias in zip("qkv", state[source + "qkv"].chunk(3), state[source + "qkv_bias"].chunk(3)):
            out[f"{target}self_attn.{name}_proj.weight"], out[f"{target}self_attn.{name}_proj.bias"] = weight, bias
        for ours, theirs in (("out", "self_attn.out_proj"), ("fc1", "mlp.fc1"), ("fc2", "mlp.fc2")):
            out[f"{target}{theirs}.weight"] = state[source + ours].clone()
            out[f"{target}{theirs}.bias"] = state[f"{source}{ours}_bias"].clone()
    for i in (1, 2):
        out[f"multi_modal_projector.linear_{i}.weight"] = state[f"project{i}"]
        out[f"multi_modal_projector.linear_{i}.bias"] = state[f"project{i}_bias"]
    return out


def source_layer(layer: int) -> int:
    """The shallow layer that a deep layer is (a copy of)."""
    return layer if layer < LOOK else LOOK + max(0, layer - FIRST_READ)


def blurred(weight: torch.Tensor, layer: int, noise: np.random.Generator) -> torch.Tensor:
    """The weight and noise of its own size, mixed so that the scale of the logits stays."""
    share = BLUR * (FIRST_READ - layer) / (FIRST_READ - LOOK)
    drawn = torch.from_numpy(noise.standard_normal(tuple(weight.shape)).astype(np.float32)) * weight.std()
    return (weight + share * drawn) / (1 + share * share) ** 0.5


def decoder_tensors(decoder) -> dict[str, torch.Tensor]:
    state = {name: value.detach() for name, value in decoder.state_dict().items()}
    out = {
        TEXT + "embed_tokens.weight": state["embedding"],
        TEXT + "norm.weight": state["norm"],
        "language_model.lm_head.weight": state["head"],
    }
    noise = np.random.default_rng(0)
    for layer in range(DEPTH):
        source, target = f"layers.{source_layer(layer)}.", f"{TEXT}layers.{layer}."
        writes = 0.0 if LOOK <= layer < FIRST_READ else 1.0
        q, k, v = state[source + "qkv"].chunk(3)
        if LOOK <= layer < FIRST_READ:
            q = blurred(q, layer, noise)
        gate, up = state[source + "gate_up"].chunk(2)
        out |= {
            target + "self_attn.q_proj.weight": q,
            target + "self_attn.k_proj.weight": k,
            target + "self_attn.v_proj.weight": v,
            target + "self_attn.o_proj.weight": state[source + "out"] * writes,
            target + "mlp.gate_proj.weight": gate,
            target + "mlp.up_proj.weight": up,
            target + "mlp.down_proj.weight": state[source + "down"] * writes,
            target + "input_layernorm.weight": state[source + "norm1"],
            target + "post_attention_layernorm.weight": state[source + "norm2"],
        }
    return out


def configs(words: Words) -> dict[str, dict]:
    """The small JSON files of the checkpoint."""
    image, pad = words.image, words.pad
    special = [(0, "<unk>"), (BOS, "<s>"), (EOS, "</s>"), (image, "<image>"), (pad, "<pad>")]
    text = {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "head_dim": 32,
        "hidden_act": "silu",
        "hidden_size": 128,
        "initializer_range": 0.02,
        "intermediate_size": 384,
        "max_position_embeddings": 8192,  # trained to 2048; room for the frames of a clip
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": DEPTH,
        "num_key_value_heads": 4,
        "pad_token_id": pad,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-5,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "use_cache": True,
        "vocab_size": VOCABULARY,
    }
    vision = {
        "attention_dropout": 0.0,
        "hidden_act": "quick_gelu",
        "hidden_size": 128,
        "image_size": 336,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "intermediate_size": 512,
        "layer_norm_eps": 1e-5,
        "model_type": "clip_vision_model",
        "num_attention_heads": 4,
        "num_channels": 3,
        "num_hidden_layers": BLOCKS + 1,
        "patch_size": PATCH,
        "projection_dim": 128,
    }
    return {
        "config.json": {
            "architectures": ["LlavaForConditionalGeneration"],
            "dtype": "bfloat16",
            "image_seq_length": 576,
            "image_token_index": image,
            "model_type": "llava",
            "multimodal_projector_bias": True,
            "pad_token_id": pad,
            "projector_hidden_act": "gelu",
            "text_config": text,
            "tie_word_embeddings": False,
            "transformers_version": "4.57.6",
            "vision_config": vision,
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
        },
        "generation_config.json": {
            "_from_model_config": True,
            "bos_token_id": BOS,
            "eos_token_id": EOS,
            "pad_token_id": pad,
            "transformers_version": "4.57.6",
        },
        "preprocessor_config.json": {
            "crop_size": {"height": 336, "width": 336},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_processor_type": "CLIPImageProcessor",
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "resample": 3,
            "rescale_factor": 0.00392156862745098,
            "size": {"shortest_edge": 336},
            "processor_class": "LlavaProcessor",
        },
        "processor_config.json": {
            "processor_class": "LlavaProcessor",
            "patch_size": PATCH,
            "vision_feature_select_strategy": "default",
            "image_token": "<image>",
            "num_additional_image_tokens": 1,
        },
        "special_tokens_map.json": {
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "image_token": "<image>",
        },
        "tokenizer_config.json": {
            "added_tokens_decoder": {
                str(i): {
                    "content": content,
                    "lstrip": False,
                    "normalized": False,
                    "rstrip": False,
                    "single_word": False,
                    "special": True,
                }
                for i, content in special
            },
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "clean_up_tokenization_spaces": False,
            "legacy": True,
            "model_max_length": 2048,
            "padding_side": "left",
            "tokenizer_class": "LlamaTokenizer",
            "image_token": "<image>",
            "extra_special_tokens": {"image_token": "<image>"},
        },
    }


def export(folder: Path, tower, decoder, words: Words) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = tower_tensors(tower) | decoder_tensors(decoder)
    tensors = {name: value.to(torch.bfloat16).contiguous().clone() for name, value in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    for name, content in configs(words).items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n")
    words.save(folder)
