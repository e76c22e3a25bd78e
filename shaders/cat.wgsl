// Copies up to seven operands of `cat` to the result. From the offset `start`, a row of the result is the
// concatenation of one row of each operand. If there are fewer than seven, the last operand also takes the remaining bindings, with
// no elements.

// One element of any dtype, or a vec4.
// hook word
alias Word = u32;
// end word

struct Params {
    rows: u32, length: u32, start: u32,
    end0: u32, end1: u32, end2: u32, end3: u32, end4: u32, end5: u32, end6: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<Word>; // [rows, end0]
@group(0) @binding(2) var<storage, read> x1: array<Word>; // [rows, end1 - end0], and so on
@group(0) @binding(3) var<storage, read> x2: array<Word>;
@group(0) @binding(4) var<storage, read> x3: array<Word>;
@group(0) @binding(5) var<storage, read> x4: array<Word>;
@group(0) @binding(6) var<storage, read> x5: array<Word>;
@group(0) @binding(7) var<storage, read> x6: array<Word>;
@group(0) @binding(8) var<storage, read_write> y: array<Word>; // [rows, length]: writes `end6` per row, from `start`

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let row = i / params.end6;
    let at = i % params.end6;
    if (row >= params.rows) { return; }
    var word: Word;
    if (at < params.end0) {
        word = x0[row * params.end0 + at];
    } else if (at < params.end1) {
        word = x1[row * (params.end1 - params.end0) + at - params.end0];
    } else if (at < params.end2) {
        word = x2[row * (params.end2 - params.end1) + at - params.end1];
    } else if (at < params.end3) {
        word = x3[row * (params.end3 - params.end2) + at - params.end2];
    } else if (at < params.end4) {
        word = x4[row * (params.end4 - params.end3) + at - params.end3];
    } else if (at < params.end5) {
        word = x5[row * (params.end5 - params.end4) + at - params.end4];
    } else {
        word = x6[row * (params.end6 - params.end5) + at - params.end5];
    }
    y[row * params.length + params.start + at] = word;
}
