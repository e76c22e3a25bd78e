"""JAX on the CPU, the whole step under one jit: `jax_cpu.py W2` serves a workload."""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from common import below, cnn_params, gpt_params, mlp_params, serve, uniform

each = jax.tree_util.tree_map
zeros = lambda params: each(jnp.zeros_like, params)


def cross_entropy(logits, y):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits, -1), y[:, None], 1).mean()


def mlp(params, x):
    for k in range(0, len(params) - 2, 2):
        x = jax.nn.relu(x @ params[k] + params[k + 1])
    return x @ params[-2] + params[-1]


def cnn(params, x):
    for weight, bias in (params[:2], params[2:4]):
        x = jax.lax.conv_general_dilated(x, weight, (1, 1), ((1, 1), (1, 1))) + bias[None, :, None, None]
        x = jax.lax.reduce_window(jax.nn.relu(x), -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return x.reshape(64, -1) @ params[4] + params[5]


def gpt(params, tokens):
    def norm(name, x):
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred**2).mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + 1e-5) * params[name + ".gain"] + params[name + ".shift"]

    def linear(name, x):
        return x @ params[name + ".weight"] + params[name + ".bias"]

    x = params["tokens"][tokens] + params["positions"]
    causal = jnp.tril(jnp.ones((64, 64), bool))
    for block in range(4):
        qkv = linear(f"{block}.qkv", norm(f"{block}.norm1", x))
        q, k, v = (part.reshape(8, 64, 4, 32).transpose(0, 2, 1, 3) for part in jnp.split(qkv, 3, 2))
        scores = jnp.where(causal, q @ k.transpose(0, 1, 3, 2) / np.sqrt(np.float32(32)), -1e9)
        seen = (jax.nn.softmax(scores, -1) @ v).transpose(0, 2, 1, 3).reshape(8, 64, 128)
        x = x + linear(f"{block}.projection", seen)
        up = jax.nn.gelu(linear(f"{block}.up", norm(f"{block}.norm2", x)), approximate=True)
        x = x + linear(f"{block}.down", up)
    return linear("head", norm("norm", x)).reshape(512, 65)


def sgd(rate, momentum=0.0):
    def update(params, gradients, velocities):
        velocities = each(lambda v, g: momentum * v + g, velocities, gradients) if momentum else gradients
        return each(lambda p, v: p - rate * v, params, velocities), velocities

    return update, zeros


def adamw(rate, decay):
    def update(params, gradients, state):
        m, v, t = state
        t = t + 1
        m = each(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
        v = each(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)

        def one(p, m, v):
            step = (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8)
            return p * (1 - rate * decay) - rate * step

        return each(one, params, m, v), (m, v, t)

    return update, lambda params: (zeros(params), zeros(params), jnp.float32(0))


def train(network, params, optimizer, x, y):
    (update, start), params = optimizer, each(jnp.asarray, params)

    @jax.jit
    def step(params, state, x, y):
        loss, gradients = jax.value_and_grad(lambda params: cross_entropy(network(params, x), y))(params)
        return *update(params, gradients, state), loss

    x, y, state = jnp.asarray(x), jnp.asarray(y), start(params)

    def region(units):
        nonlocal params, state
        for _ in range(units):
            params, state, loss = step(params, state, x, y)
        jax.block_until_ready(params)
        return loss

    serve(region)


def differentiate(f, *inputs):
    inputs = [jnp.asarray(x) for x in inputs]
    both = jax.jit(jax.value_and_grad(f, argnums=tuple(range(len(inputs)))))

    def region(units):
        for _ in range(units):
            value, gradients = both(*inputs)
        jax.block_until_ready(gradients)
        return value

    serve(region)


def matmul(n):
    a, b = jnp.asarray(uniform(101, (n, n))), jnp.asarray(uniform(102, (n, n)))
    multiply = jax.jit(lambda a, b: a @ b)

    def region(units):
        for _ in range(units):
            c = multiply(a, b)
        return np.asarray(c)[0, 0]

    serve(region)


match sys.argv[1]:
    case "W2":
        params = mlp_params(211, [784, 512, 256, 10])
        train(mlp, params, sgd(0.01, 0.9), uniform(201, (128, 784)), below(202, (128,), 10))
    case "W3":
        params = mlp_params(311, [64, 128, 10])
        train(mlp, params, adamw(1e-3, 0.0), uniform(301, (32, 64)), below(302, (32,), 10))
    case "W4":
        train(gpt, gpt_params(), adamw(3e-4, 0.1), below(401, (8, 64), 65), below(402, (512,), 65))
    case "W5":
        train(cnn, cnn_params(), sgd(0.01), uniform(501, (64, 1, 28, 28)), below(502, (64,), 10))
    case "W6":
        f = lambda x, a, b: (jnp.tanh(x * a + b) * jax.nn.sigmoid(x) + x * x).sum()
        differentiate(f, *(uniform(seed, 1 << 20) for seed in (601, 602, 603)))
    case "W7":
        y = jnp.asarray(below(702, (4096,), 1000))
        differentiate(lambda logits: cross_entropy(logits, y), uniform(701, (4096, 1000), 3.0))
    case "W8":
        f = lambda x, g, b: ((x * g + b) ** 2).sum()
        differentiate(f, uniform(801, (8192, 1024)), uniform(802, 1024), uniform(803, 1024))
    case product:
        matmul(int(product.removeprefix("W1-")))
