// Functions for every kernel. WGSL lets a compiler assume that there are no NaNs, so these functions detect NaN by its
// bits.

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// The maximum; NaN if either operand is NaN (the built-in may return the other one).
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

fn mul_wide(a: u32, b: u32) -> vec2<u32> { // low word, high word
    let al = a & 0xffffu; let ah = a >> 16u; let bl = b & 0xffffu; let bh = b >> 16u;
    let low = al * bl;
    let mid = ah * bl + (low >> 16u);
    let cross = al * bh + (mid & 0xffffu);
    return vec2(a * b, ah * bh + (mid >> 16u) + (cross >> 16u));
}

// Philox 4x32-10 (Salmon et al., 2011): word `index` of the stream (seed, counter), converted to [0, 1).
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
