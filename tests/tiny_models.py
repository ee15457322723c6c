"""Models of PyTorch as hubs keep them, but tiny and untrained: our loading code reads them like real ones.

One module, so that the seconds that the imports take are spent in one place.
"""

import json
import math
import string

import torch
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    ResNetConfig,
    ResNetForImageClassification,
    SiglipConfig,
    SiglipModel,
)

torch.set_num_threads(1)  # threads that wait for each other cost more than models of this size

_SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
_SEES = {**_SMALL, "image_size": 32, "patch_size": 16}
_SIDE = {"height": 32, "width": 32}
_CLIP_TEXT = {"vocab_size": 64, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2}


def clip(folder):
    """A CLIP as OpenAI's lie on the hub: written by transformers."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    texts = _SMALL | _CLIP_TEXT
    sure = math.log(
        1000
    )  # ten times OpenAI's: without training, the nearest label is hardly nearer than others
    config = CLIPConfig(text_config=texts, vision_config=_SEES, projection_dim=8, logit_scale_init_value=sure)
    CLIPModel(config).save_pretrained(folder)
    _clip_tokenizer(folder)
    _write(folder / "preprocessor_config.json", {
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "crop_size": _SIDE,
    })  # fmt: skip
    return folder


def clip_of_sentence_transformers(folder):
    """A CLIP as sentence-transformers/clip-ViT-B-32 lies on the hub."""
    clip(folder / "0_CLIPModel")
    kind = "sentence_transformers.models.CLIPModel"
    _write(folder / "modules.json", [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": kind}])
    _write(folder / "config_sentence_transformers.json", {"__version__": {"sentence_transformers": "2.0.0"}})
    return folder


def siglip(folder):
    """A SigLIP, whose texts are filled up to their full length."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    text = {**_SMALL, "vocab_size": 64, "max_position_embeddings": 16, "projection_size": 16}
    SiglipModel(SiglipConfig(text_config=text, vision_config=_SEES)).save_pretrained(folder)
    _clip_tokenizer(folder)
    _write(
        folder / "preprocessor_config.json", {"image_processor_type": "SiglipImageProcessor", "size": _SIDE}
    )
    return folder


def blip(folder):
    """A BLIP as Salesforce's lie on the hub."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", *string.ascii_lowercase, "cat"]
    tokens = {
        "vocab_size": len(words),
        "bos_token_id": 5,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    text = {**_SMALL, **tokens, "encoder_hidden_size": 16, "max_position_embeddings": 64}
    config = BlipConfig(text_config=text, vision_config=_SEES)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words), "utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    _write(folder / "preprocessor_config.json", {
        "image_processor_type": "BlipImageProcessor", "processor_class": "BlipProcessor", "size": _SIDE,
    })  # fmt: skip
    return folder


def resnet(folder):
    """A ResNet as Microsoft's lie on the hub: with the classes, which nobody asks for here."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], num_labels=3)
    ResNetForImageClassification(config).save_pretrained(folder)
    _write(folder / "preprocessor_config.json", {
        "crop_pct": 0.875, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "ConvNextFeatureExtractor", "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225], "resample": 3, "size": 224,
    })  # fmt: skip
    return folder


def _clip_tokenizer(folder):
    letters = [letter + end for letter in string.ascii_lowercase for end in ("", "</w>")]
    vocabulary = ["!</w>", "<|startoftext|>", "<|endoftext|>", *letters]
    _write(folder / "vocab.json", {token: number for number, token in enumerate(vocabulary)})
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)


def _write(path, document):
    path.write_text(json.dumps(document), "utf-8")
