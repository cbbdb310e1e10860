"""The post-norm Transformer: equal to torch's layers with the same tensors, differentiable twice, seeded; what does not fit is refused."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import gradgradcheck

from gconv_gan.layers.dropout import seed_dropout
from gconv_gan.models.classifiers.transformer import EncoderBlock, PostNormTransformer
from gconv_gan.models.summary import summarise


def block() -> EncoderBlock:
    torch.manual_seed(0)
    return EncoderBlock(12, 3, 20, 0.0).double()


def test_a_block_is_torchs_encoder_layer() -> None:
    ours = block()
    theirs = nn.TransformerEncoderLayer(12, 3, 20, dropout=0.0, activation="gelu", batch_first=True, norm_first=False).double()
    state = ours.state_dict()
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": state["attention.inputs.weight"],
            "self_attn.in_proj_bias": state["attention.inputs.bias"],
            "self_attn.out_proj.weight": state["attention.output.weight"],
            "self_attn.out_proj.bias": state["attention.output.bias"],
            **{f"linear{i}.{name}": state[f"hidden.{2 * i - 2}.{name}"] for i in (1, 2) for name in ("weight", "bias")},
            **{f"norm{i}.{name}": state[f"norm{i}.{name}"] for i in (1, 2) for name in ("weight", "bias")},
        }
    )
    x = torch.randn(2, 7, 12).double()
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-10, atol=1e-10)


def test_a_block_can_be_differentiated_twice() -> None:
    assert gradgradcheck(block(), (torch.randn(1, 3, 12).double().requires_grad_(),))


def test_shapes_features_and_sizes() -> None:
    network = PostNormTransformer(num_classes=5, image_size=12, width=16, depth=2, heads=4, patch_size=3)
    x = torch.randn(4, 3, 12, 12)
    assert network(x).shape == (4, 5)
    assert network.features(x).shape == (4, network.feature_dim)
    torch.testing.assert_close(network.head(network.features(x)), network(x))
    tokens, d = 16, 16
    per_block = tokens * d * 3 * d + tokens * d * d + 2 * tokens * tokens * d + 2 * tokens * d * 4 * d
    assert sum(row.macs for row in summarise(network, x)) == tokens * 27 * d + 2 * per_block + d * 5
    twin = copy.deepcopy(network)
    assert torch.equal(twin(x), network(x))
    torch.testing.assert_close(network(x[1:2]), network(x)[1:2], rtol=1e-5, atol=1e-6)
    # the positions matter: patches in another order are another image
    assert not torch.allclose(network(x.flip(3)), network(x))


def test_dropout_is_a_function_of_the_seed() -> None:
    network = PostNormTransformer(image_size=8, width=8, depth=1, heads=2, dropout=0.5)
    x, found = torch.randn(2, 3, 8, 8), []
    for seed in (1, 1, 2):
        masks = seed_dropout(network, seed, device=torch.device("cpu"))
        masks.indices = torch.arange(2)
        found.append(network(x))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(network.eval()(x), network(x))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="patches of 4 px do not fill images of 10 px"):
        PostNormTransformer(image_size=10)
    with pytest.raises(ValueError, match="width 10 is not divisible by heads 4"):
        PostNormTransformer(width=10)
