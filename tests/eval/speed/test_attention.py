"""Which attention kernels a call runs, read from one traced call."""

import pytest
import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel

import retom
from baselines.toma import ToMA
from eval.speed.attention import attention_dispatch, attention_kernels, first_call_attention, kernel_families
from tests.retom.tiny_joint import flux

Q = torch.randn(2, 4, 16, 24)


def sizes(pipe) -> list[int]:
    """Head sizes of the tiny U-Net's attention."""
    return sorted({part.to_q.out_features // part.heads for part in pipe.unet.modules() if hasattr(part, "to_q")})


def test_sdpa_is_named_with_its_head_size():
    assert attention_kernels(lambda: F.scaled_dot_product_attention(Q, Q, Q), "cpu") == ["flash d=24"]
    assert attention_kernels(lambda: F.scaled_dot_product_attention(Q, Q, Q, dropout_p=0.5), "cpu") == ["math d=24"]
    assert attention_kernels(lambda: Q.softmax(-1) @ Q.transpose(2, 3), "cpu") == []


def test_another_package_is_named_by_its_operator():
    library = torch.library.Library("some_flash_attn", "DEF")
    library.define("forward(Tensor q) -> Tensor")
    library.impl("forward", lambda q: F.scaled_dot_product_attention(q, q, q), "CPU")
    found = attention_kernels(lambda: torch.ops.some_flash_attn.forward(Q), "cpu")
    assert found == ["some_flash_attn::forward d=24"]


@pytest.mark.parametrize("naive", [False, True])
@pytest.mark.parametrize("method", [None, ToMA(), retom.ReToM()], ids=["none", "toma", "retom"])
def test_a_denoiser_runs_what_it_is_set_to_whatever_the_method_multiplies(tiny_pipe, method, naive):
    if naive:
        tiny_pipe.unet.set_default_attn_processor()
    if method is not None:
        retom.apply_patch(tiny_pipe, method)
    x, text = torch.randn(2, 4, 32, 32), torch.randn(2, 77, tiny_pipe.unet.config.cross_attention_dim)
    found = attention_kernels(lambda: tiny_pipe.unet(x, torch.tensor(5), text), "cpu")
    assert found == [f"{'naive' if naive else 'flash'} d={size}" for size in sizes(tiny_pipe)]


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_one_denoiser_call_of_a_generation_is_enough(tiny_pipe, compiled):
    calls = []
    if compiled:
        torch.compiler.reset()
        tiny_pipe.unet.compile(backend="eager")
    names = set(vars(tiny_pipe.unet))
    retom.apply_patch(tiny_pipe)

    def generate():
        return tiny_pipe("a dog", num_inference_steps=5, height=64, width=64, output_type="np",
                         generator=torch.Generator().manual_seed(0),
                         callback_on_step_end=lambda *seen: calls.append(seen[1]) or {}).images  # fmt: skip

    before = generate()
    steps, planned = len(calls), retom.report(tiny_pipe)[0]["plans_computed"]
    found = first_call_attention(tiny_pipe.unet, generate, "cpu")
    assert found == [f"flash d={size}" for size in sizes(tiny_pipe)]
    assert len(calls) == steps  # broken off in its first step
    assert (generate() == before).all()
    assert retom.report(tiny_pipe)[0]["plans_computed"] == 2 * planned + 1
    retom.remove_patch(tiny_pipe)
    assert set(vars(tiny_pipe.unet)) == names


def test_what_a_generation_raises_comes_through_and_leaves_nothing_behind(tiny_pipe):
    with pytest.raises(TypeError):
        first_call_attention(tiny_pipe.unet, lambda: tiny_pipe.unet(nonsense=1), "cpu")
    assert "_compiled_call_impl" not in vars(tiny_pipe.unet)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fwd_kernel_traits<64, 128>>(...)", "flash2"),
        ("void pytorch_flash::flash_fwd_splitkv_kernel<pytorch_flash::Flash_fwd_kernel_traits<40>>", "flash2"),
        ("void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<flash::Col>>>", "flash3"),
        ("kernel_cutlass_kernel_flash_attncuteflash_fwdFlashAttentionForwardSm90_object_at_", "flash4"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_6x128x128x64", "cudnn"),
        ("fmha_cutlassF_f16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel<half>::Params)", "efficient"),
        ("ampere_fp16_s16816gemm_fp16_128x64_ldg8_f2f_stages_32x6_tn", None),
        ("void (anonymous namespace)::softmax_warp_forward<c10::Half, c10::Half, float, 10>(...)", None),
    ],
)
def test_cuda_kernels_are_distinguished_by_name(name, family):
    assert kernel_families([name]) == ([] if family is None else [family])


def test_the_dispatch_of_diffusers_is_reported(tiny_original):
    assert attention_dispatch(tiny_original.unet) is None
    model = flux()
    assert isinstance(model, FluxTransformer2DModel)
    assert attention_dispatch(model) == "native"
    for part in model.modules():
        if hasattr(part, "processor"):
            part.processor._attention_backend = "_native_math"  # as set_attention_backend does, less the global it sets
    assert attention_dispatch(model) == "_native_math"
