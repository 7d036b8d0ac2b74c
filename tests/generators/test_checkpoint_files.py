"""Which files of a checkpoint are read, by their names alone, as public repositories have them."""

import pytest

from common.errors import UserError
from generators.checkpoint_files import INDEX, choose, whole

COMPONENTS = {
    "unet": "UNet2DConditionModel",
    "text_encoder": "CLIPTextModel",
    "tokenizer": "CLIPTokenizer",
    "scheduler": "PNDMScheduler",
}
PLAIN = ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"]
HALF = ["unet/diffusion_pytorch_model.fp16.safetensors", "text_encoder/model.fp16.safetensors"]
BESIDE = [
    INDEX,
    "unet/config.json",
    "text_encoder/config.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "scheduler/scheduler_config.json",
]
IDLE = [
    "README.md",
    "v1-5-pruned.safetensors",
    "safety_checker/model.safetensors",
    "text_encoder/flax_model.msgpack",
    "text_encoder/model.onnx",
    "text_encoder/pytorch_model.bin",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.bin",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
]


def chosen(names: list[str], variant: str | None = None, wanted: tuple[str, ...] = tuple(COMPONENTS)) -> set[str]:
    return set(choose("me/model", names, COMPONENTS, wanted, variant).names)


def test_plain_safetensors_are_read_and_what_lies_beside_is_not():
    assert chosen([*PLAIN, *HALF, *BESIDE, *IDLE]) == {*PLAIN, *BESIDE}
    only = chosen([*PLAIN, *HALF, *BESIDE, *IDLE], wanted=("scheduler",))
    assert only == {INDEX, "scheduler/scheduler_config.json"}


def test_a_variant_is_read_where_it_is_asked_for_or_alone():
    assert chosen([*PLAIN, *HALF, *BESIDE], "fp16") == {*HALF, *BESIDE}
    assert chosen([*HALF, *BESIDE]) == {*HALF, *BESIDE}
    assert choose("me/model", [*HALF, *BESIDE], COMPONENTS, ["unet"], None).variant == "fp16"
    assert chosen([HALF[0], PLAIN[1], *BESIDE]) == {HALF[0], PLAIN[1], *BESIDE}, "a component without it has plain ones"


def test_several_variants_and_unknown_ones_are_refused_with_what_there_is():
    several = [*HALF, *(name.replace("fp16", "bf16") for name in HALF), *BESIDE]
    with pytest.raises(UserError, match=r"several variants: bf16, fp16 \(choose one with --variant bf16"):
        chosen(several)
    assert chosen(several, "bf16") == {*several} - {*HALF}
    with pytest.raises(UserError, match=r"me/model has no weights of the variant fp32 \(variants: fp16;"):
        chosen([*HALF, *BESIDE], "fp32")
    with pytest.raises(UserError, match=r"has no weights of the variant fp16 \(it has plain weights only"):
        chosen([*PLAIN, *BESIDE], "fp16")


@pytest.mark.parametrize(
    ("pattern", "index"),
    [
        ("diffusion_pytorch_model-{}-of-00003.safetensors", "diffusion_pytorch_model.safetensors.index.json"),
        ("diffusion_pytorch_model.fp16-{}-of-00003.safetensors", "diffusion_pytorch_model.safetensors.index.fp16.json"),
        ("diffusion_pytorch_model-{}-of-00003.fp16.safetensors", "diffusion_pytorch_model.fp16.safetensors.index.json"),
    ],
)
def test_shards_are_read_together_or_not_at_all(pattern: str, index: str):
    shards = [f"unet/{pattern.format(f'{number:05d}')}" for number in (1, 2, 3)]
    whole_unet = ["unet/config.json", f"unet/{index}", *shards]
    assert chosen(whole_unet, wanted=("unet",)) == {INDEX, *whole_unet}
    assert whole(whole_unet, COMPONENTS) == 1
    with pytest.raises(UserError, match="unet has 2 of its 3 files"):
        chosen(whole_unet[:-1], wanted=("unet",))
    assert whole(whole_unet[:-1], COMPONENTS) == 0


def test_pickled_weights_alone_are_refused_with_where_others_may_be():
    names = [*PLAIN[1:], *BESIDE, "unet/diffusion_pytorch_model.bin"]
    with pytest.raises(UserError, match=r"those of unet are pickled .*OWNER/NAME@refs/pr/1") as error:
        chosen(names)
    assert "safe_serialization=True" in str(error.value.hint)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("unet/", r"it has no unet/, which its model_index\.json names"),
        ("unet/diff", "there are none of unet"),
        ("tokenizer/", "it has no tokenizer/"),
    ],
)
def test_what_is_missing_is_named(gone: str, message: str):
    names = [name for name in [*PLAIN, *BESIDE] if not name.startswith(gone)]
    with pytest.raises(UserError, match=message):
        chosen(names)
    assert whole(names, COMPONENTS) == 3
