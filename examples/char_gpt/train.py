"""Repeats a run of char_gpt with PyTorch, from the same weights on the same batches, and compares the losses.

    cargo run --release --example char_gpt -- --text FILE --steps 100 --sample 0 --trace trace.safetensors
    python examples/char_gpt/train.py trace.safetensors --heads 4

Needs torch and safetensors. Fails unless the training loss of the last steps is within 2%.
"""

import argparse
import re

import torch
from safetensors.torch import load_file
from torch import nn


class Gpt(nn.Module):
    def __init__(self, vocabulary, context, width, layers, heads):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x):
        time = x.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(time)
        x = self.tokens(x) + self.positions(torch.arange(time))
        for block in self.blocks:
            x = block(x, src_mask=mask, is_causal=True)
        return self.head(self.norm(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace")
    parser.add_argument("--heads", type=int, default=4)
    args = parser.parse_args()

    tensors = load_file(args.trace)
    trace = {name: tensors.pop(f"trace.{name}") for name in ("inputs", "targets", "rates", "losses")}
    vocabulary, width = tensors["tokens.weight"].shape
    layers = 1 + max(int(n) for name in tensors for n in re.findall(r"^blocks\.(\d+)\.", name))
    model = Gpt(vocabulary, tensors["positions.weight"].shape[0], width, layers, args.heads)
    model.load_state_dict(tensors)  # every name and shape is PyTorch's

    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0.1)
    losses = []
    for step, (x, y, rate) in enumerate(zip(trace["inputs"].long(), trace["targets"].long(), trace["rates"])):
        for group in optimizer.param_groups:
            group["lr"] = rate.item()
        loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step in (0, 1, 9, 19, 49) or (step + 1) % 100 == 0:
            print(f"step {step + 1:5}   wgrad {trace['losses'][step]:.6f}   PyTorch {losses[-1]:.6f}")

    ours, theirs = trace["losses"][-10:].mean().item(), sum(losses[-10:]) / len(losses[-10:])
    apart = abs(ours / theirs - 1)
    print(f"the last 10 steps: wgrad {ours:.6f}, PyTorch {theirs:.6f}, {100 * apart:.4f}% apart")
    assert apart < 0.02


if __name__ == "__main__":
    main()
