#!/usr/bin/env python3
"""What PyTorch says of the layers. `make FOLDER` writes, for each layer, its weights, operands, results and gradients, computed
in f64 and rounded once (tests/fixtures holds them); `check FIXTURES FOLDER` loads weights that wgrad saved, strictly, and
compares what both make of the fixtures' operands:

    python3 scripts/fixtures.py make tests/fixtures
    WGRAD_SAVE=saved cargo test --release --test nn pytorch && python3 scripts/fixtures.py check tests/fixtures saved
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn


class Rotary(nn.Module):
    """Pairs half a width apart as complex numbers, turned."""

    def forward(self, x):
        positions, pairs = x.shape[-2], x.shape[-1] // 2
        angles = torch.outer(torch.arange(positions), 100.0 ** (-torch.arange(pairs) / pairs)).to(x)
        turned = torch.complex(x[..., :pairs], x[..., pairs:]) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([turned.real, turned.imag], -1)


class LanguageModel(nn.Module):
    """A small language model, to have names two levels deep."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList([block() for _ in range(2)])
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 11, bias=False)

    def forward(self, tokens):
        x = self.tokens(tokens)
        for part in self.blocks:
            x = part(x, src_mask=causal(x.shape[1]), is_causal=True)
        return self.head(self.norm(x))


def block():
    return nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True)


def causal(n):
    """True where a position must not be seen."""
    return torch.ones(n, n).triu(1).bool()


def attention(embed, heads, **rest):
    return nn.MultiheadAttention(embed, heads, batch_first=True, **rest)


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(4 * 3 * 3, 5),
    )  # fmt: skip


def on(module, *shapes, forward=None, training=True):
    return module, shapes, forward or (lambda module, *xs: module(*xs)), training


def recurrent(module, *xs):
    y, state = module(xs[0], *([xs[1]] if len(xs) == 2 else [xs[1:]] if len(xs) > 2 else []))
    return y, *(state if isinstance(state, tuple) else (state,))


TOKENS = torch.tensor([[1, 3, 3], [10, 0, 2]])
SEEN = torch.tensor([[[1, 1, 0, 1, 1], [1, 0, 0, 0, 1], [0, 1, 1, 1, 1]], [[1, 0, 0, 0, 0]] * 3]).bool()


def cases():
    return {
        "linear": on(nn.Linear(5, 3), (2, 4, 5)),
        "linear_without_bias": on(nn.Linear(5, 3, bias=False), (4, 5)),
        "bilinear": on(nn.Bilinear(4, 5, 3), (2, 3, 4), (2, 3, 5)),
        "conv1d": on(nn.Conv1d(4, 6, 3, stride=2, padding=2, groups=2), (2, 4, 9)),
        "conv2d": on(nn.Conv2d(3, 4, (3, 2), stride=(1, 2), padding=(1, 0), dilation=(2, 1)), (2, 3, 7, 6)),
        "conv_transpose2d": on(
            nn.ConvTranspose2d(4, 6, (3, 2), stride=2, padding=(1, 0), output_padding=(1, 0), groups=2), (2, 4, 3, 4)
        ),
        "max_pool1d": on(nn.MaxPool1d(3, stride=2, padding=1), (2, 3, 8)),
        "avg_pool1d": on(nn.AvgPool1d(3, stride=2, padding=1), (2, 3, 8)),
        "adaptive_avg_pool1d": on(nn.AdaptiveAvgPool1d(3), (2, 3, 8)),
        "batch_norm1d": on(nn.BatchNorm1d(3), (4, 3)),
        "batch_norm1d_of_sequences": on(nn.BatchNorm1d(3, affine=False), (4, 3, 5)),
        "batch_norm2d": on(nn.BatchNorm2d(3, momentum=0.3), (2, 3, 4, 5)),
        "batch_norm2d_eval": on(nn.BatchNorm2d(3), (2, 3, 4, 5), training=False),
        "layer_norm": on(nn.LayerNorm([3, 5]), (4, 3, 5)),
        "group_norm": on(nn.GroupNorm(2, 6), (2, 6, 4)),
        "rms_norm": on(nn.RMSNorm(7, eps=torch.finfo(torch.float32).eps), (5, 7)),
        "embedding": on(nn.Embedding(11, 4), TOKENS),
        "embedding_padded": on(nn.Embedding(11, 4, padding_idx=3), TOKENS),
        "self_attention": on(
            attention(8, 2), (2, 5, 8), forward=lambda module, x: module(x, x, x, attn_mask=causal(5))[0]
        ),
        "cross_attention": on(
            attention(6, 3, bias=False), (2, 3, 6), (2, 5, 6), (2, 5, 6),
            forward=lambda module, *qkv: module(*qkv, attn_mask=~SEEN.repeat_interleave(3, 0))[0],
        ),  # fmt: skip
        "rotary": on(Rotary(), (2, 3, 5, 8)),
        "transformer_block": on(block(), (2, 5, 8)),
        "language_model": on(LanguageModel(), TOKENS),
        "cnn": on(cnn(), (3, 1, 6, 6)),
        "rnn": on(nn.RNN(4, 5, batch_first=True), (3, 6, 4), forward=recurrent),
        "lstm": on(
            nn.LSTM(4, 5, num_layers=2, bidirectional=True, batch_first=True), (3, 6, 4), forward=recurrent
        ),
        "lstm_from_a_state": on(nn.LSTM(4, 5, bias=False), (6, 3, 4), (1, 3, 5), (1, 3, 5), forward=recurrent),
        "gru": on(nn.GRU(4, 5, num_layers=2, batch_first=True), (3, 6, 4), (2, 3, 5), forward=recurrent),
    }


def written(tensor):
    """Counts stay int64, as PyTorch saves them."""
    tensor = tensor.detach().clone(memory_format=torch.contiguous_format)
    return tensor.float() if tensor.is_floating_point() else tensor


def make(folder):
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    draw = lambda shape: torch.empty(shape).uniform_(-1, 1).double()  # exact in f32
    for name, (module, shapes, forward, training) in cases().items():
        module.double().train(training)
        for place in [*module.parameters(), *module.buffers()]:
            if place.is_floating_point():
                place.data = draw(place.shape)
        for place in (place for key, place in module.named_buffers() if key.endswith("var")):
            place.data = place.abs() + 0.5
        for part in module.modules():
            if isinstance(part, nn.Embedding) and part.padding_idx is not None:
                part.weight.data[part.padding_idx] = 0
        module.float().double()  # what is written is what is computed with
        state = {f"state.{key}": written(place) for key, place in module.state_dict().items()}

        inputs = [x if isinstance(x, torch.Tensor) else draw(x).requires_grad_() for x in shapes]
        outputs = forward(module, *inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        seeds = [draw(y.shape) for y in outputs]
        torch.autograd.backward(outputs, seeds)

        tensors = dict(state)
        for kind, list_ in [("input", inputs), ("output", outputs), ("seed", seeds)]:
            tensors |= {f"{kind}.{i}": written(x) for i, x in enumerate(list_)}
        tensors |= {f"grad.input.{i}": written(x.grad) for i, x in enumerate(inputs) if x.grad is not None}
        tensors |= {f"grad.{key}": written(place.grad) for key, place in module.named_parameters()}
        tensors |= {f"after.{key}": written(place) for key, place in module.named_buffers()}
        save_file(tensors, folder / f"{name}.safetensors")


def check(fixtures, folder):
    for name, (module, _, forward, training) in cases().items():
        # A plain file has no version, so PyTorch takes what is there, every name of it, and nothing else.
        module.load_state_dict(load_file(folder / f"{name}.safetensors"), strict=True)
        module.train(training)
        inputs = {key: x for key, x in load_file(fixtures / f"{name}.safetensors").items() if key.startswith("input")}
        outputs = forward(module, *(x for _, x in sorted(inputs.items())))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        wanted = load_file(folder / f"{name}.output.safetensors")
        assert len(wanted) == len(outputs), name
        worst = 0.0
        for i, y in enumerate(outputs):
            want = wanted[f"output.{i}"]
            assert want.shape == y.shape, (name, want.shape, y.shape)
            worst = max(worst, (want - y).abs().max().item())
            torch.testing.assert_close(y, want, rtol=1e-5, atol=1e-5)
        print(f"{name}: off by {worst:.1e} at most")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", folder]:
            make(Path(folder))
        case ["check", fixtures, folder]:
            check(Path(fixtures), Path(folder))
        case _:
            sys.exit(__doc__)
