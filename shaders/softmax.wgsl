// e^x / Σ e^x of each row, or its logarithm. The maximum is subtracted first, so that e^x cannot overflow. One pass
// computes the maximum and the sum, as in `cross_entropy.wgsl`.

override LOG: bool = false;

struct Params { rows: u32, length: u32, stride: u32 } // rows of `length` packs, `stride` apart
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Pack>; // [rows / stride, length, stride]
@group(0) @binding(2) var<storage, read_write> y: array<Pack>; // as x

@compute @workgroup_size(GROUP)
fn main(workgroup: Workgroup, invocation: Invocation) {
    let wanted = row_of(workgroup, invocation);
    let row = min(wanted, params.rows - 1u); // barriers need every lane, so surplus lanes repeat the last row
    let base = row / params.stride * params.stride * params.length + row % params.stride;
    let first = base + (invocation.index % LANES) * params.stride;
    let end = base + params.length * params.stride;
    let step = LANES * params.stride;

    var largest = LOWEST;
    var sum = 0.0;
    for (var i = first; i < end; i += step) {
        let v = x[i];
        let larger = max(largest, max_of(v));
        sum = sum * exp_(largest - larger) + sum_of(exp_of(v - larger));
        largest = larger;
    }
    let peak = across(workgroup, invocation, largest, false);
    sum = across(workgroup, invocation, sum * exp_(largest - peak), true);

    if (wanted >= params.rows) { return; }
    let log_sum = log_(sum);
    for (var i = first; i < end; i += step) {
        let shifted = x[i] - peak;
        if (LOG) {
            y[i] = shifted - log_sum;
        } else {
            y[i] = exp_of(shifted) / sum;
        }
    }
}
