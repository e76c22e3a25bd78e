// Elementary functions, accurate to a few ulp (units in the last place) on every driver. WGSL allows its built-ins
// larger errors: sin and cos 2^-11 absolute within [-π, π] and any error outside, exp 3 + 2|x| ulp, pow those of log2
// and exp2 combined.
//
// A compiler may contract, reassociate, flush denormals, and assume that there is no NaN and no infinity. So a function
// detects special operands by their bits, and wraps in `as_is_` each value that must be rounded before it is used
// further. Polynomials are minimax; the error stated for each is relative to the function.

// A number as n times a unit, plus a remainder r.
struct Split { n: i32, r: f32 }

const LN_2_HIGH: f32 = 0.69314575; // 15 bits, so that its product with an integer up to 511 is exact
const LN_2_LOW: f32 = 1.4286068e-6;
// Adding it rounds a number to the nearest integer, which is then in the low bits of the sum.
const ROUND: f32 = 12582912.0; // 3 * 2^22
const ROUND_BITS: i32 = 0x4b400000;

// Returns x; it could only change the bits of a NaN. A compiler cannot reassociate or contract arithmetic across it.
fn as_is_(x: f32) -> f32 {
    return bitcast<f32>(min(bitcast<u32>(x), 0xfffffffeu));
}

// x truncated to a significand of 12 bits: products of two such numbers are exact.
fn high_(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
}

// x 2^n. The result must be a normal number.
fn scaled_(x: f32, n: i32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) + (bitcast<u32>(n) << 23u));
}

// x = n ln 2 + r with |r| <= ln 2 / 2.
fn split_by_ln_2_(x: f32) -> Split {
    let n = bitcast<i32>(fma(x, 1.442695, ROUND)) - ROUND_BITS;
    return Split(n, fma(f32(n), -LN_2_LOW, as_is_(fma(f32(n), -LN_2_HIGH, x))));
}

// x = 2^n (1 + r) with 1 + r in [√½, √2), from the bits of a positive, finite x.
fn split_by_power_of_2_(bits: u32) -> Split {
    let tiny = bits < 0x00800000u; // a denormal: its bits are converted as an integer, since arithmetic may flush it
    let normal = select(bits, bitcast<u32>(f32(bits)), tiny);
    let n = bitcast<i32>(normal - 0x3f3504f3u) >> 23u; // √½
    let r = bitcast<f32>(normal - (bitcast<u32>(n) << 23u)) - 1.0;
    return Split(select(n, n - 149, tiny), r);
}

// e^r - 1 for |r| <= ln 2 / 2. Error of the polynomial: 1.5e-8.
fn expm1_near_0_(r: f32) -> f32 {
    let p = fma(fma(fma(fma(0.0013882485, r, 0.008366697), r, 0.04166731), r, 0.16666542), r, 0.49999997);
    return as_is_(fma(r * r, p, r));
}

// e^(x + low) for a small `low`. The result must be a normal number.
fn exp_normal_(x: f32, low: f32) -> f32 {
    let s = split_by_ln_2_(x);
    return scaled_(1.0 + expm1_near_0_(s.r + low), s.n);
}

fn exp_(x: f32) -> f32 {
    let finite = select(exp_normal_(x, 0.0), 0.0, x < -87.336544);
    return select(select(finite, x * 3e38, x > 88.72283), x, is_nan(x));
}

fn exp4_(x: vec4<f32>) -> vec4<f32> {
    return vec4(exp_(x.x), exp_(x.y), exp_(x.z), exp_(x.w));
}

// e^x - 1 = 2^n (1 + q) - 1, computed from 2^(n - 1) because 2^128 overflows.
fn expm1_(x: f32) -> f32 {
    let s = split_by_ln_2_(x);
    let half = scaled_(0.5, s.n);
    let finite = select(2.0 * fma(expm1_near_0_(s.r), half, as_is_(half - 0.5)), -1.0, x < -18.0);
    return select(select(finite, x * 3e38, x > 88.72283), x, abs(x) < 1e-9 || is_nan(x));
}

// log(2^n (1 + r)). Error of the polynomial: 6e-9.
fn log_of_(s: Split) -> f32 {
    let n = f32(s.n);
    let r = s.r;
    let u = r * r;
    var p = fma(fma(-0.076344974, r, 0.1276159), r, -0.13160194);
    p = fma(fma(fma(p, r, 0.142018), r, -0.1662338), r, 0.20001228);
    p = fma(fma(p, r, -0.2500082), r, 0.3333333);
    return fma(n, LN_2_HIGH, r + fma(u, -0.5, fma(u * r, p, n * LN_2_LOW)));
}

// The logarithm of the number with these bits: `y` if it is positive and finite, otherwise the special value.
fn log_ends_(bits: u32, y: f32) -> f32 {
    let negative = bits > 0x80000000u;
    let infinite = bitcast<f32>(bits | select(0u, 0x7fc00000u, negative));
    let zero = (bits << 1u) == 0u;
    return select(select(y, infinite, bits >= 0x7f800000u), bitcast<f32>(bits | 0xff800000u), zero);
}

fn log_(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    return log_ends_(bits, log_of_(split_by_power_of_2_(bits)));
}

// 1 + x = 2^n (1 + r), where r is computed from x, because the rounded sum has lost x's last bits.
fn log1p_(x: f32) -> f32 {
    let bits = bitcast<u32>(1.0 + x);
    let s = split_by_power_of_2_(bits);
    let power = scaled_(1.0, -s.n);
    let r = select(fma(x, power, as_is_(power - 1.0)), s.r, s.n > 24);
    return select(log_ends_(bits, log_of_(Split(s.n, r))), x, x == 0.0);
}

// Uses a polynomial for |x| < 0.625, where the exponentials would cancel. Its error is 4e-9.
fn tanh_(x: f32) -> f32 {
    let u = x * x;
    let p = (((-0.0057170363 * u + 0.020650579) * u - 0.053743497) * u + 0.13331491) * u - 0.33333284;
    let small = x + x * u * p;
    let large = sign(x) * (1.0 - 2.0 / (exp_normal_(2.0 * min(abs(x), 15.0), 0.0) + 1.0));
    return select(select(large, small, abs(x) < 0.625), x, is_nan(x));
}

fn sigmoid_(x: f32) -> f32 {
    return 1.0 / (1.0 + exp_(-x));
}

// Φ(-t) for t >= 0, the tail of the normal distribution, as exp(-t²/2) u P(u). Error of the polynomial: 1.5e-8. The
// square is computed in two parts, because exp would turn its absolute rounding error into a relative one.
fn normal_tail_(t: f32) -> f32 {
    let u = 1.0 / fma(t, 0.390625, 1.0);
    var p = fma(fma(0.029538741, u, -0.16983117), u, 0.3898341);
    p = fma(fma(fma(p, u, -0.4189855), u, 0.17215592), u, -0.04396262);
    p = fma(fma(fma(fma(p, u, 0.09939287), u, 0.1300345), u, 0.15599136), u, 0.15583178);
    let high = high_(t);
    let gauss = exp_normal_(-0.5 * high * high, -0.5 * (t - high) * (t + high));
    return select(u * p * gauss, 0.0, t > 13.0);
}

fn ndtr_(x: f32) -> f32 {
    let tail = normal_tail_(abs(x));
    return select(select(tail, 1.0 - tail, x > 0.0), x, is_nan(x));
}

// x + x P(x²) for |x| < 1, otherwise sign(x) (1 - 2 Φ(-√2 |x|)). Error of the polynomial: 1.2e-9.
fn erf_(x: f32) -> f32 {
    let u = x * x;
    var p = 7.889119e-5 * u - 0.0008020841;
    p = ((p * u + 0.005189535) * u - 0.026854444) * u + 0.112836;
    p = (p * u - 0.37612626) * u + 0.12837917;
    let small = x + x * p;
    let large = sign(x) * (1.0 - 2.0 * normal_tail_(1.4142135 * abs(x)));
    return select(select(large, small, abs(x) < 1.0), x, is_nan(x));
}

// |x| = n π/2 + r with |r| <= π/4 and n modulo 4, for every finite x (Payne and Hanek, 1983). |x| is a 24-bit integer
// times a power of two. `words` and `later` hold 2/π after 32 zero bits; only the 96 bits from bit `start` on affect
// the product modulo 4.
fn split_by_half_pi_(x: f32) -> Split {
    let bits = bitcast<u32>(x) & 0x7fffffffu;
    let whole = (bits & 0x007fffffu) | 0x00800000u;
    let start = max(bits >> 23u, 120u) - 120u;
    var words = vec4(0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u);
    var later = vec4(0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu);
    words = select(words, later, start >= 128u);
    words = select(words, vec4(words.zw, later.xy), (start & 64u) != 0u);
    later = select(later, later.zwzw, (start & 64u) != 0u);
    words = select(words, vec4(words.yzw, later.x), (start & 32u) != 0u);
    let left = start & 31u;
    let window = (words.xyz << vec3(left)) | ((words.yzw >> vec3(1u)) >> vec3(31u - left));
    let middle = mul_wide(whole, window.y);
    let low = middle.x + mul_wide(whole, window.z).y;
    let high = whole * window.x + middle.y + select(0u, 1u, low < middle.x);
    let n = (high + 0x20000000u) >> 30u;
    // The remainder is signed. Its magnitude is converted in two parts, so that it is rounded once, and multiplied by
    // π/2, also in two parts.
    let rest = high - (n << 30u);
    let negative = rest >> 31u == 1u;
    let flip = select(0u, 0xffffffffu, negative);
    let size = vec2(rest, low) ^ vec2(flip);
    let first = f32(size.x & 0xffffff00u);
    let second = f32((size.x << 24u) | (size.y >> 8u)) * 5.9604645e-8; // 2^-24
    let r = fma(first, 1.4629181e-9, fma(first, -4.0709403e-17, second * 1.4629181e-9)); // π/2 2^-30
    let near = bits < 0x3f490fdbu; // π/4
    return Split(bitcast<i32>(select(n, 0u, near)), select(select(r, -r, negative), abs(x), near));
}

// sin(n π/2 + r) for |r| <= π/4. Error of the polynomials: 5e-9.
fn sine_of_(s: Split) -> f32 {
    let u = s.r * s.r;
    let sine = fma(s.r * u, fma(fma(-0.00019514651, u, 0.008332143), u, -0.16666654), s.r);
    let cosine = fma(u * u, fma(fma(2.4432327e-5, u, -0.001388731), u, 0.041666646), fma(u, -0.5, 1.0));
    let y = select(sine, cosine, (s.n & 1) == 1);
    return select(y, -y, (s.n & 2) == 2);
}

// y, or NaN if x is infinite or NaN.
fn of_finite_(x: f32, y: f32) -> f32 {
    let bits = bitcast<u32>(x) | 0x7fc00000u;
    return select(y, bitcast<f32>(bits), (bitcast<u32>(x) & 0x7f800000u) == 0x7f800000u);
}

fn sin_(x: f32) -> f32 {
    let y = sine_of_(split_by_half_pi_(x));
    return of_finite_(x, select(y, -y, bitcast<u32>(x) >> 31u == 1u));
}

fn cos_(x: f32) -> f32 {
    let s = split_by_half_pi_(x);
    return of_finite_(x, sine_of_(Split(s.n + 1, s.r)));
}

// a^b like C's powf: 0^0 and 1^b are 1; a negative base with a fractional exponent gives NaN. The logarithm is kept as
// a sum of two floats, because the exponent multiplies its rounding error (FreeBSD's e_powf.c does the same).
fn pow_(a: f32, b: f32) -> f32 {
    let bits = bitcast<u32>(a) & 0x7fffffffu;
    let s = split_by_power_of_2_(bits);
    // log2 |a| = n + 2/ln 2 artanh(q), where q = r / (2 + r), as high + low. Error of the series: 1.5e-10.
    let inverse = 1.0 / (2.0 + s.r);
    let q_high = high_(s.r * inverse);
    let r_high = high_(s.r);
    let left = fma(-q_high, r_high, as_is_(fma(-2.0, q_high, s.r)));
    let q_low = fma(-q_high, s.r - r_high, as_is_(left)) * inverse;
    let q = q_high + q_low;
    let v = q * q;
    let series = fma(fma(fma(0.34025943, v, 0.4117025), v, 0.57708204), v, 0.9617967);
    let rest = fma(q * v, series, fma(q_high, 0.0006244568, 2.88539 * q_low));
    let high = high_(f32(s.n) + fma(q_high, 2.8847656, rest));
    let low = as_is_(fma(q_high, 2.8847656, as_is_(f32(s.n) - high))) + rest;
    // b log2 |a| = n + r.
    let exponent = clamp(b, -1e30, 1e30);
    let e_high = high_(exponent);
    let small = fma(exponent - e_high, high, exponent * low);
    let ends = bits == 0u || bits >= 0x7f800000u;
    let y = select(fma(e_high, high, small), select(-1e3, 1e3, (bits == 0u) != (b > 0.0)), ends);
    let n = bitcast<i32>(as_is_(y) + ROUND) - ROUND_BITS;
    let r = as_is_(fma(e_high, high, -f32(n))) + small;
    let normal = scaled_(1.0 + expm1_near_0_(r * 0.6931472), n);
    let size = select(select(normal, 0.0, y < -126.0), y * 3e38, y >= 128.0);

    let whole = floor(b) == b;
    let odd = whole && abs(b) < 16777216.0 && fract(b * 0.5) != 0.0;
    let negative = bitcast<u32>(a) >> 31u == 1u;
    let signed = select(size, -size, negative && odd);
    let nan = bitcast<f32>(bits | 0x7fc00000u);
    let real = select(signed, nan, (negative && !whole && !ends) || is_nan(a) || is_nan(b));
    return select(real, 1.0, b == 0.0 || a == 1.0);
}
