"""What every library starts from (the numbers of benches/workloads/inputs.rs), and how it is measured."""

import json
import sys
import time

import numpy as np


def _hash(seed, count):
    with np.errstate(over="ignore"):
        i = np.arange(1, count + 1, dtype=np.uint64)
        z = np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64) + i * np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(30)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z *= np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(seed, shape, scale=1.0):
    """Uniform in +-scale."""
    steps = (_hash(seed, int(np.prod(shape))) >> np.uint64(40)).astype(np.float32)
    return ((steps / np.float32(1 << 23) - np.float32(1)) * np.float32(scale)).reshape(shape)


def below(seed, shape, n):
    """Integers from 0 to below n."""
    return ((_hash(seed, int(np.prod(shape))) >> np.uint64(33)) % np.uint64(n)).astype(np.int32).reshape(shape)


def linear(seed, inputs, outputs):
    """Weight [inputs, outputs] and bias."""
    return [uniform(seed, (inputs, outputs), 1 / np.sqrt(np.float32(inputs))), np.zeros(outputs, np.float32)]


def mlp_params(seed, sizes):
    return [p for k, pair in enumerate(zip(sizes, sizes[1:])) for p in linear(seed + k, *pair)]


def cnn_params():
    convs = [(511, (16, 1, 3, 3)), (512, (32, 16, 3, 3))]
    params = [p for seed, shape in convs
              for p in (uniform(seed, shape, 1 / np.sqrt(9 * shape[1])), np.zeros(shape[0], np.float32))]
    return params + linear(513, 1568, 10)


def gpt_params():
    def norm(name):
        return {name + ".gain": np.ones(128, np.float32), name + ".shift": np.zeros(128, np.float32)}

    def layer(name, *args):
        return dict(zip((name + ".weight", name + ".bias"), linear(*args)))

    params = {"tokens": uniform(411, (65, 128), 0.05), "positions": uniform(412, (64, 128), 0.05)}
    for block in range(4):
        seed = 420 + 10 * block
        params |= norm(f"{block}.norm1") | norm(f"{block}.norm2")
        params |= layer(f"{block}.qkv", seed, 128, 384) | layer(f"{block}.projection", seed + 1, 128, 128)
        params |= layer(f"{block}.up", seed + 2, 128, 512) | layer(f"{block}.down", seed + 3, 512, 128)
    return params | norm("norm") | layer("head", 413, 128, 65)


def serve(region):
    """Each line of standard input is a number of units; the answer is a JSON line. `region` does so many and returns the
    last one's value once it is on the host."""
    for line in sys.stdin:
        start = time.perf_counter()
        value = float(region(int(line)))
        print(json.dumps({"seconds": time.perf_counter() - start, "value": value}), flush=True)
