"""PyTorch on the CPU, eager: `pytorch.py W2` serves a workload."""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from common import below, cnn_params, gpt_params, mlp_params, serve, uniform

tensor = lambda array: torch.from_numpy(np.array(array))
labels = lambda *args: torch.from_numpy(below(*args).astype(np.int64))
parameter = lambda array: nn.Parameter(tensor(array))


def linear(weight, bias):
    layer = nn.Linear(*weight.shape)
    layer.weight.data, layer.bias.data = tensor(weight.T.copy()), tensor(bias)
    return layer


def mlp(params):
    layers = [linear(*pair) for pair in zip(params[::2], params[1::2])]
    return nn.Sequential(*(part for layer in layers[:-1] for part in (layer, nn.ReLU())), layers[-1])


def cnn(params):
    convs = [nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)]
    for conv, weight, bias in zip(convs, params[:4:2], params[1:4:2]):
        conv.weight.data, conv.bias.data = tensor(weight), tensor(bias)
    features = (part for conv in convs for part in (conv, nn.ReLU(), nn.MaxPool2d(2)))
    return nn.Sequential(*features, nn.Flatten(), linear(*params[4:]))


class Block(nn.Module):
    def __init__(self, params, block):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(128), nn.LayerNorm(128)
        layer = lambda name: linear(params[f"{block}.{name}.weight"], params[f"{block}.{name}.bias"])
        self.qkv, self.projection = layer("qkv"), layer("projection")
        self.up, self.down = layer("up"), layer("down")

    def forward(self, x):
        heads = lambda part: part.view(8, 64, 4, 32).transpose(1, 2)
        q, k, v = map(heads, self.qkv(self.norm1(x)).split(128, 2))
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(8, 64, 128)
        x = x + self.projection(seen)
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, params):
        super().__init__()
        self.tokens, self.positions = parameter(params["tokens"]), parameter(params["positions"])
        self.blocks = nn.Sequential(*(Block(params, block) for block in range(4)))
        self.norm, self.head = nn.LayerNorm(128), linear(params["head.weight"], params["head.bias"])

    def forward(self, x):
        x = self.blocks(F.embedding(x, self.tokens) + self.positions)
        return self.head(self.norm(x)).flatten(0, 1)


def train(model, optimizer, x, y):
    def region(units):
        for _ in range(units):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        return loss.item()

    serve(region)


def differentiate(f, *inputs):
    inputs = [parameter(x) for x in inputs]

    def region(units):
        for _ in range(units):
            value = f(*inputs)
            gradients = torch.autograd.grad(value, inputs)
        return value.item()

    serve(region)


def matmul(n):
    a, b = tensor(uniform(101, (n, n))), tensor(uniform(102, (n, n)))

    def region(units):
        for _ in range(units):
            c = a @ b
        return c[0, 0].item()

    serve(region)


match sys.argv[1]:
    case "W2":
        model = mlp(mlp_params(211, [784, 512, 256, 10]))
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
        train(model, optimizer, tensor(uniform(201, (128, 784))), labels(202, (128,), 10))
    case "W3":
        model = mlp(mlp_params(311, [64, 128, 10]))
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        train(model, optimizer, tensor(uniform(301, (32, 64))), labels(302, (32,), 10))
    case "W4":
        model = Gpt(gpt_params())
        optimizer = torch.optim.AdamW(model.parameters(), 3e-4, weight_decay=0.1)
        train(model, optimizer, labels(401, (8, 64), 65), labels(402, (512,), 65))
    case "W5":
        model = cnn(cnn_params())
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        train(model, optimizer, tensor(uniform(501, (64, 1, 28, 28))), labels(502, (64,), 10))
    case "W6":
        f = lambda x, a, b: (torch.tanh(x * a + b) * torch.sigmoid(x) + x * x).sum()
        differentiate(f, *(uniform(seed, 1 << 20) for seed in (601, 602, 603)))
    case "W7":
        y = labels(702, (4096,), 1000)
        differentiate(lambda logits: F.cross_entropy(logits, y), uniform(701, (4096, 1000), 3.0))
    case "W8":
        f = lambda x, g, b: ((x * g + b) ** 2).sum()
        differentiate(f, uniform(801, (8192, 1024)), uniform(802, 1024), uniform(803, 1024))
    case product:
        matmul(int(product.removeprefix("W1-")))
