"""The tiny pipeline has SD's topology, is reproducible and costs no global random state."""

import torch
from diffusers.models.attention import BasicTransformerBlock

from eval.generation.models.tiny import clip_tokenizer, tiny_pipeline
from eval.generation.prompts import PromptSet


def test_the_topology_is_that_of_stable_diffusion(tiny_original):
    blocks = [name for name, part in tiny_original.unet.named_modules() if isinstance(part, BasicTransformerBlock)]
    assert len(blocks) == 16
    assert sum(name.startswith("down_blocks") for name in blocks) == 6
    assert sum(name.startswith("up_blocks") for name in blocks) == 9
    assert tiny_original.vae_scale_factor == 2
    assert tiny_original.unet.config.sample_size == 32
    assert tiny_original.safety_checker is None


def test_weights_follow_the_seed_and_nothing_else():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = tiny_pipeline(seed=0).unet.conv_in.weight
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(one, tiny_pipeline(seed=0).unet.conv_in.weight)
    assert not torch.equal(one, tiny_pipeline(seed=1).unet.conv_in.weight)


def test_the_full_tokenizer_gives_clip_ids():
    from open_clip import SimpleTokenizer

    tokenizer, reference = clip_tokenizer(), SimpleTokenizer()
    assert len(tokenizer) == 49408
    for item in PromptSet(classes=50, names="wordnet", images_per_class=1).items():
        ids = tokenizer(item.prompt).input_ids
        assert ids == reference(item.prompt)[0, : len(ids)].tolist()


def test_default_prompts_fit_into_the_text_encoder(tiny_original):
    longest = max(len(tiny_original.tokenizer(item.prompt).input_ids) for item in PromptSet(images_per_class=1).items())
    assert longest <= tiny_original.tokenizer.model_max_length == 77


def test_different_prompts_give_different_images(tiny_original):
    def draw(prompt, seed):
        generator = torch.Generator().manual_seed(seed)
        return tiny_original(prompt, num_inference_steps=2, generator=generator, output_type="np").images

    goldfish = draw("a goldfish", 0)
    assert goldfish.shape == (1, 64, 64, 3)
    assert goldfish.std() > 0.02
    assert abs(goldfish - draw("a tench", 0)).max() > 1e-3
    assert abs(goldfish - draw("a goldfish", 1)).max() > 1e-2
    assert abs(goldfish - draw("a goldfish", 0)).max() == 0


def test_the_padding_token_is_an_option():
    assert clip_tokenizer(64, pad_token="!").pad_token_id == 0
    assert clip_tokenizer(64).pad_token_id == clip_tokenizer(64).eos_token_id
