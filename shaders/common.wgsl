// What every kernel may call. WGSL lets a compiler assume that there are no NaNs, so they are told by their bits.

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// The larger one; NaN if either is (the built-in drops NaNs).
fn max_f32(a: f32, b: f32) -> f32 {
    return select(select(max(a, b), b, is_nan(b)), a, is_nan(a));
}

fn min_f32(a: f32, b: f32) -> f32 {
    return select(select(min(a, b), b, is_nan(b)), a, is_nan(a));
}

fn max_i32(a: i32, b: i32) -> i32 { return max(a, b); }
fn min_i32(a: i32, b: i32) -> i32 { return min(a, b); }
fn max_u32(a: u32, b: u32) -> u32 { return max(a, b); }
fn min_u32(a: u32, b: u32) -> u32 { return min(a, b); }

fn sign_f32(x: f32) -> f32 { return select(sign(x), 0.0, is_nan(x)); }
fn sign_i32(x: i32) -> i32 { return sign(x); }

fn relu_(x: f32) -> f32 {
    return select(max(x, 0.0), x, is_nan(x));
}

// A polynomial near 0, where the exponentials would cancel; clamped, since drivers overflow for large |x|.
// Error of the polynomial for |x| < 0.625: 4e-9, relative.
fn tanh_(x: f32) -> f32 {
    let u = x * x;
    let p = (((-0.0057170363 * u + 0.020650579) * u - 0.053743497) * u + 0.13331491) * u - 0.33333284;
    let small = x + x * u * p;
    let large = sign(x) * (1.0 - 2.0 / (exp(2.0 * min(abs(x), 15.0)) + 1.0));
    return select(select(large, small, abs(x) < 0.625), x, is_nan(x));
}

// Near 0 as 2 artanh(x / (2 + x)), whose series ends soon; 1 + x would lose x's last digits.
fn log1p_(x: f32) -> f32 {
    let s = x / (2.0 + x);
    let u = s * s;
    let small = 2.0 * s * (1.0 + u * (0.33333333 + u * (0.2 + u * (0.14285714 + u * 0.11111111))));
    return select(log(1.0 + x), small, abs(x) < 0.4);
}

// Near 0 by Taylor's series; e^x - 1 would cancel.
fn expm1_(x: f32) -> f32 {
    var p = 1.0 + x * 0.125;
    p = 1.0 + x * p * 0.14285714;
    p = 1.0 + x * p * 0.16666667;
    p = 1.0 + x * p * 0.2;
    p = 1.0 + x * p * 0.25;
    p = 1.0 + x * p * 0.33333333;
    p = 1.0 + x * p * 0.5;
    return select(exp(x) - 1.0, x * p, abs(x) < 0.5);
}

// |x| < 1: x + x P(x^2), error 1.2e-9 relative; beyond: 1 - exp(Q(|x|)), error 2e-11; from 4 on it is 1 in f32.
fn erf_(x: f32) -> f32 {
    let u = x * x;
    var p = 7.889119e-5 * u - 0.0008020841;
    p = ((p * u + 0.005189535) * u - 0.026854444) * u + 0.112836;
    p = (p * u - 0.37612626) * u + 0.12837917;
    let small = x + x * p;
    let t = min(abs(x), 4.0);
    var q = (2.513273e-7 * t - 2.5314817e-5) * t + 0.00046378808;
    q = ((q * t - 0.004282383) * t + 0.025373556) * t - 0.108639;
    q = ((q * t - 0.6330396) * t - 1.1296612) * t + 0.00020435991;
    let large = sign(x) * (1.0 - exp(q));
    return select(select(large, small, abs(x) < 1.0), x, is_nan(x));
}

// a^b as C's powf: 0^0 and 1^b are 1, a negative base wants a whole exponent (else NaN, from the logarithm).
fn pow_(a: f32, b: f32) -> f32 {
    let whole = floor(b) == b;
    let odd = whole && abs(b) < 16777216.0 && fract(b * 0.5) != 0.0;
    let size = exp2(b * log2(abs(a)));
    let signed = select(size, -size, a < 0.0 && odd);
    let real = select(log(a), signed, a >= 0.0 || whole);
    return select(real, 1.0, b == 0.0 || a == 1.0);
}

fn mul_wide(a: u32, b: u32) -> vec2<u32> { // low word, high word
    let al = a & 0xffffu; let ah = a >> 16u; let bl = b & 0xffffu; let bh = b >> 16u;
    let low = al * bl;
    let mid = ah * bl + (low >> 16u);
    let cross = al * bh + (mid & 0xffffu);
    return vec2(a * b, ah * bh + (mid >> 16u) + (cross >> 16u));
}

// Philox 4x32-10 (Salmon et al., 2011): word `index` of the stream (seed, counter), as a number in [0, 1).
fn uniform_(seed_low: u32, seed_high: u32, counter_low: u32, counter_high: u32, index: u32) -> f32 {
    var x = vec4(index / 4u, 0u, counter_low, counter_high);
    var key = vec2(seed_low, seed_high);
    for (var round = 0u; round < 10u; round += 1u) {
        let a = mul_wide(x.x, 0xD2511F53u);
        let b = mul_wide(x.z, 0xCD9E8D57u);
        x = vec4(b.y ^ x.y ^ key.x, b.x, a.y ^ x.w ^ key.y, a.x);
        key += vec2(0x9E3779B9u, 0xBB67AE85u);
    }
    let part = index % 4u;
    let word = select(select(x.w, x.z, part == 2u), select(x.y, x.x, part == 0u), part < 2u);
    return f32(word >> 8u) / 16777216.0;
}
