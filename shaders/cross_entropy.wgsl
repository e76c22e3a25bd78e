// Loss and log-sum-exp of each row of logits. The maximum is subtracted first, so logits of any size are safe.

struct Params { rows: u32, classes: u32, site: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>; // [rows, classes]
@group(0) @binding(2) var<storage, read> labels: array<u32>; // [rows]; a negative i32 is a large u32
@group(0) @binding(3) var<storage, read_write> loss: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read_write> lse: array<f32>; // [rows]
@group(0) @binding(5) var<storage, read_write> fault: atomic<u32>;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let wanted = (group.y * groups.x + group.x) * (GROUP / LANES) + lane / LANES;
    let row = min(wanted, params.rows - 1u); // barriers want every lane: the spare ones repeat the last row
    let base = row * params.classes;

    var largest = logits[base];
    for (var j = lane % LANES; j < params.classes; j += LANES) {
        largest = max_f32(largest, logits[base + j]);
    }
    largest = across(lane, largest, false);
    var sum = 0.0;
    for (var j = lane % LANES; j < params.classes; j += LANES) {
        sum += exp_(logits[base + j] - largest);
    }
    sum = across(lane, sum, true);

    if (wanted < params.rows && lane % LANES == 0u) {
        let total = largest + log_(sum);
        let label = labels[row];
        lse[row] = total;
        if (label < params.classes) {
            loss[row] = total - logits[base + label];
        } else {
            loss[row] = bitcast<f32>(0x7fc00000u | (label & 0u)); // NaN
            atomicMin(&fault, params.site);
        }
    }
}
