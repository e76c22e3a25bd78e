// The gradient of the logits: (softmax - one at the label) times the gradient of the row's loss.

struct Params { rows: u32, classes: u32, site: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>; // [rows, classes]
@group(0) @binding(2) var<storage, read> labels: array<u32>; // [rows]
@group(0) @binding(3) var<storage, read> lse: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read> grad: array<f32>; // [rows]
@group(0) @binding(5) var<storage, read_write> grad_logits: array<f32>; // [rows, classes]

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.y * groups.x + group.x) * (GROUP / LANES) + lane / LANES;
    if (row >= params.rows) { return; }
    let base = row * params.classes;
    for (var j = lane % LANES; j < params.classes; j += LANES) {
        let hit = select(0.0, 1.0, j == labels[row]);
        grad_logits[base + j] = (exp_(logits[base + j] - lse[row]) - hit) * grad[row];
    }
}
