// The prelude of the attention kernels for CPU adapters: the scores of queries against keys, 4 rows by 4 others, as a
// matrix with a column for each row. The rows are queries and the others are keys, or the reverse for gradients of keys
// and values.
//
// A workgroup has a tile of rows, 4 per invocation, and iterates over tiles of the others. It does not use workgroup
// memory, which is slow on a CPU adapter. By default an invocation processes four others at a time and reads them
// itself; `attention_broadcast.wgsl` is a variant.

const GROUP: u32 = 8u;
override OF_KEYS: bool = false; // the rows are keys

// How the others are read: an invocation loads LOADS rows, and `shared_rows` returns OTHERS times four rows.
// hook others
const OTHERS: u32 = 1u;
const LOADS: u32 = 4u;

// The index, within a tile, of the row that a load reads.
fn loaded(lane: u32, load: u32) -> u32 { return load; }

fn shared_rows(rows: array<vec4<f32>, LOADS>) -> Others {
    var blocks: Others;
    blocks[0] = mat4x4(rows[0], rows[1], rows[2], rows[3]);
    return blocks;
}
// end others

// An invocation's index in its workgroup.
// hook lane
struct Invocation { @builtin(local_invocation_index) lane: u32 }
// end lane

const ROWS: u32 = 4u * GROUP; // of a tile
const STEP: u32 = 4u * OTHERS; // others of a tile
const SPAN: vec4<u32> = vec4(0u, 1u, 2u, 3u);

alias At = array<u32, LOADS>;
alias Others = array<mat4x4<f32>, OTHERS>;

// A workgroup's tile of rows. An invocation has the four rows from `first + 4 lane` on. Surplus workgroups repeat the
// last tile and must not store.
struct Tile { exists: bool, batch: u32, first: u32 }

// Tiles are numbered along the rows, then along the batches.
fn tile_of(group: vec3<u32>, groups: vec3<u32>) -> Tile {
    let wanted = group.y * groups.x + group.x;
    let tiles = (row_count() + ROWS - 1u) / ROWS;
    let tile = min(wanted, tiles * params.batches - 1u);
    return Tile(wanted == tile, tile / tiles, tile % tiles * ROWS);
}

fn row_count() -> u32 { return select(params.queries, params.keys, OF_KEYS); }
fn other_count() -> u32 { return select(params.keys, params.queries, OF_KEYS); }

// Which of its four rows an invocation stores.
fn storing(tile: Tile, lane: u32) -> vec4<bool> {
    return vec4(tile.exists) & (own_row(tile, lane) + SPAN < vec4(row_count()));
}

fn own_row(tile: Tile, lane: u32) -> u32 { return tile.first + 4u * lane; }

// The offsets of four rows of a head. Rows beyond the last are clamped to it.
fn rows4(batch: u32, first: u32, count: u32, width: u32) -> vec4<u32> {
    let rows = batch / params.heads * count + min(first + SPAN, vec4(count - 1u));
    return (rows * params.heads + batch % params.heads) * width;
}

// The offsets of an invocation's rows.
fn own(tile: Tile, lane: u32, width: u32) -> vec4<u32> {
    return rows4(tile.batch, own_row(tile, lane), row_count(), width);
}

// The offsets of the others that an invocation reads in the tile from `first` on.
fn others(tile: Tile, lane: u32, first: u32, width: u32) -> At {
    var at: At;
    for (var i = 0u; i < LOADS; i += 1u) {
        at[i] = rows4(tile.batch, first + loaded(lane, i), other_count(), width).x;
    }
    return at;
}

// Four columns of the queries or keys: `own_qk` of an invocation's rows, `others_qk` of the others.
fn own_qk(at: vec4<u32>) -> mat4x4<f32> {
    if (OF_KEYS) { return mat4x4(k[at.x], k[at.y], k[at.z], k[at.w]); }
    return mat4x4(q[at.x], q[at.y], q[at.z], q[at.w]);
}

fn others_qk(at: At, c: u32) -> Others {
    var rows: array<vec4<f32>, LOADS>;
    for (var i = 0u; i < LOADS; i += 1u) {
        if (OF_KEYS) { rows[i] = q[at[i] + c]; } else { rows[i] = k[at[i] + c]; }
    }
    return shared_rows(rows);
}

fn scores(tile: Tile, lane: u32, other: u32) -> Others {
    let mine = own(tile, lane, params.width);
    let theirs = others(tile, lane, other, params.width);
    var all: Others;
    for (var c = 0u; c < params.width; c += 1u) {
        let x = own_qk(mine + c);
        let y = others_qk(theirs, c);
        for (var j = 0u; j < OTHERS; j += 1u) { all[j] += transpose(y[j]) * x; }
    }
    for (var j = 0u; j < OTHERS; j += 1u) {
        for (var i = 0u; i < 4u; i += 1u) {
            all[j][i] = seen(tile.batch, vec4(own_row(tile, lane) + i), other + 4u * j + SPAN, all[j][i] * params.scale);
        }
    }
    return all;
}

// The scores of four rows, each against one row of the other operand, after masking.
fn seen(batch: u32, rows: vec4<u32>, others: vec4<u32>, products: vec4<f32>) -> vec4<f32> {
    let queries = select(rows, others, OF_KEYS);
    let keys = select(others, rows, OF_KEYS);
    let in_range = (queries < vec4(params.queries)) & (keys < vec4(params.keys));
    return masked(batch / params.heads, batch % params.heads, queries, keys, in_range, products);
}

// e^(score - base), 0 for a masked key. `base` is a maximum or the log-sum-exp of the query.
fn weights(scores: vec4<f32>, base: vec4<f32>) -> vec4<f32> {
    return select(exp4_(scores - base), vec4(0.0), scores == vec4(UNSEEN));
}
