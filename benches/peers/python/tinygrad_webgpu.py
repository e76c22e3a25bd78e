"""tinygrad, TinyJit around the step, on the device that DEV names: `DEV=WEBGPU tinygrad_webgpu.py W2` serves a workload."""

import sys

import numpy as np
from tinygrad import Context, Device, Tensor, TinyJit, nn

from common import below, cnn_params, gpt_params, mlp_params, serve, uniform

tensor = lambda array: Tensor(np.ascontiguousarray(array)).realize()
parameter = lambda array: tensor(array).is_param_()


def mlp(params, x):
    for k in range(0, len(params) - 2, 2):
        x = (x @ params[k] + params[k + 1]).relu()
    return x @ params[-2] + params[-1]


def cnn(params, x):
    for weight, bias in (params[:2], params[2:4]):
        x = x.conv2d(weight, bias, padding=1).relu().max_pool2d((2, 2))
    return x.flatten(1) @ params[4] + params[5]


def gpt(params, tokens):
    norm = lambda name, x: x.layernorm(eps=1e-5) * params[name + ".gain"] + params[name + ".shift"]
    linear = lambda name, x: x @ params[name + ".weight"] + params[name + ".bias"]
    x = params["tokens"][tokens] + params["positions"]
    for block in range(4):
        qkv = linear(f"{block}.qkv", norm(f"{block}.norm1", x)).split(128, 2)
        q, k, v = (part.reshape(8, 64, 4, 32).transpose(1, 2) for part in qkv)
        seen = q.scaled_dot_product_attention(k, v, is_causal=True).transpose(1, 2).reshape(8, 64, 128)
        x = x + linear(f"{block}.projection", seen)
        x = x + linear(f"{block}.down", linear(f"{block}.up", norm(f"{block}.norm2", x)).gelu())
    return linear("head", norm("norm", x)).reshape(512, 65)


def train(network, params, optimizer, x, y):
    if isinstance(params, dict):
        params = {name: parameter(value) for name, value in params.items()}
        optimizer = optimizer(list(params.values()))
    else:
        params = [parameter(value) for value in params]
        optimizer = optimizer(params)
    x, y = tensor(x), tensor(y)

    @TinyJit
    @Context(TRAINING=1)
    def step():
        optimizer.zero_grad()
        loss = network(params, x).sparse_categorical_crossentropy(y).backward()
        return loss.realize(*optimizer.schedule_step())

    def region(units):
        for _ in range(units):
            loss = step()
        return loss.item()

    serve(region)


def differentiate(f, *inputs):
    inputs = [parameter(x) for x in inputs]

    @TinyJit
    def both():
        value = f(*inputs)
        gradients = value.gradient(*inputs)
        Tensor.realize(value, *gradients)
        return value, *gradients

    def region(units):
        for _ in range(units):
            value = both()[0]
        Device[Device.DEFAULT].synchronize()
        return value.item()

    serve(region)


def matmul(n):
    a, b = tensor(uniform(101, (n, n))), tensor(uniform(102, (n, n)))
    multiply = TinyJit(lambda: (a @ b).realize())

    def region(units):
        for _ in range(units):
            c = multiply()
        return c.numpy()[0, 0]

    serve(region)


match sys.argv[1]:
    case "W2":
        params, optimizer = mlp_params(211, [784, 512, 256, 10]), lambda p: nn.optim.SGD(p, 0.01, momentum=0.9)
        train(mlp, params, optimizer, uniform(201, (128, 784)), below(202, (128,), 10))
    case "W3":
        params, optimizer = mlp_params(311, [64, 128, 10]), lambda p: nn.optim.Adam(p, 1e-3)
        train(mlp, params, optimizer, uniform(301, (32, 64)), below(302, (32,), 10))
    case "W4":
        optimizer = lambda p: nn.optim.AdamW(p, 3e-4, weight_decay=0.1)
        train(gpt, gpt_params(), optimizer, below(401, (8, 64), 65), below(402, (512,), 65))
    case "W5":
        optimizer = lambda p: nn.optim.SGD(p, 0.01)
        train(cnn, cnn_params(), optimizer, uniform(501, (64, 1, 28, 28)), below(502, (64,), 10))
    case "W6":
        f = lambda x, a, b: ((x * a + b).tanh() * x.sigmoid() + x * x).sum()
        differentiate(f, *(uniform(seed, 1 << 20) for seed in (601, 602, 603)))
    case "W7":
        y = tensor(below(702, (4096,), 1000))
        f = lambda logits: logits.sparse_categorical_crossentropy(y)
        differentiate(f, uniform(701, (4096, 1000), 3.0))
    case "W8":
        f = lambda x, g, b: ((x * g + b) ** 2).sum()
        differentiate(f, uniform(801, (8192, 1024)), uniform(802, 1024), uniform(803, 1024))
    case product:
        matmul(int(product.removeprefix("W1-")))
