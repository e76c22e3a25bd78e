//! The inputs of every library: hashes of a seed and an index, so that all compute with the same numbers.

fn hash(seed: u64, i: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E3779B97F4A7C15).wrapping_add((i + 1).wrapping_mul(0xBF58476D1CE4E5B9));
    z ^= z >> 30;
    z = z.wrapping_mul(0xBF58476D1CE4E5B9);
    z ^= z >> 27;
    z = z.wrapping_mul(0x94D049BB133111EB);
    z ^ (z >> 31)
}

/// Uniform in ±`scale`.
pub fn uniform(seed: u64, count: usize, scale: f32) -> Vec<f32> {
    let of = |i| ((hash(seed, i) >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale;
    (0..count as u64).map(of).collect()
}

/// Integers from 0 to below `n`.
pub fn below(seed: u64, count: usize, n: u64) -> Vec<i32> {
    (0..count as u64).map(|i| ((hash(seed, i) >> 33) % n) as i32).collect()
}

/// The weight `[inputs, outputs]` of a linear layer; its bias is zero.
pub fn linear(seed: u64, inputs: usize, outputs: usize) -> Vec<f32> {
    uniform(seed, inputs * outputs, 1.0 / (inputs as f32).sqrt())
}
