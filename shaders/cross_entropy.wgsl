// The loss and log-sum-exp of each row of logits, in one pass: it sums e^(x - maximum so far), so large logits do not
// overflow (Milakov and Gimelshein, 2018).

struct Params { rows: u32, length: u32, site: u32 } // `length` in packs
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<Pack>; // [rows, classes]
@group(0) @binding(2) var<storage, read> labels: array<u32>; // [rows]; a negative i32 is a large u32
@group(0) @binding(3) var<storage, read_write> loss: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read_write> lse: array<f32>; // [rows]
@group(0) @binding(5) var<storage, read_write> fault: atomic<u32>;

@compute @workgroup_size(GROUP)
fn main(workgroup: Workgroup, invocation: Invocation) {
    let wanted = row_of(workgroup, invocation);
    let row = min(wanted, params.rows - 1u); // barriers need every lane, so surplus lanes repeat the last row
    let base = row * params.length;
    let first = invocation.index % LANES;

    var largest = LOWEST;
    var sum = 0.0;
    for (var j = first; j < params.length; j += LANES) {
        let x = logits[base + j];
        let larger = max(largest, max_of(x));
        sum = sum * exp_(largest - larger) + sum_of(exp_of(x - larger));
        largest = larger;
    }
    let peak = across(workgroup, invocation, largest, false);
    sum = across(workgroup, invocation, sum * exp_(largest - peak), true);

    if (wanted < params.rows && first == 0u) {
        let total = peak + log_(sum);
        let label = labels[row];
        lse[row] = total;
        if (label < params.length * WIDTH) {
            loss[row] = total - element(logits[base + label / WIDTH], label % WIDTH);
        } else {
            loss[row] = bitcast<f32>(0x7fc00000u | (label & 0u)); // NaN
            atomicMin(&fault, params.site);
        }
    }
}
