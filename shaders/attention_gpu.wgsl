// The prelude of the attention kernels for GPUs. They follow FlashAttention (Dao et al., 2022): a workgroup has a tile
// of ROWS rows and iterates over the other operand, OTHERS of its rows at a time. The rows are queries and the other
// operand is the keys, or the reverse for gradients of keys and values. For each tile of the other operand a workgroup
//
//   1. computes the scores of its rows against the tile, a product over the width (`products`),
//   2. computes a weight from each score,
//   3. adds to its result the weights times a matrix with one row per row of the tile (`plus_weighted`).
//
// The result stays in registers until the last tile. Scores, weights and results are Blocks: an invocation has 8 rows
// by 4 columns, and reads three vec4 from workgroup memory for 32 multiply-adds. 64 invocations, 8 by 8, form a team,
// which has 64 rows by 32 columns. The teams of a workgroup have the same rows. A team's columns are rows of the
// other operand in step 1, and columns of the result in step 3. A result with more than COLUMNS columns is split into slices. A different workgroup
// computes each slice, and recomputes the scores.

override TEAMS: u32 = 2u;

// The values of `load`'s and `put`'s parameter `matrix`.
const QUERIES: u32 = 0u;
const KEYS: u32 = 1u;
const VALUES: u32 = 2u;
const OUTS: u32 = 3u; // the output of attention, or its gradient

override THREADS: u32 = 64u * TEAMS;
const ROWS: u32 = 64u;
const ROW_VEC4S: u32 = ROWS / 4u;
override OTHERS: u32 = 32u * TEAMS;
override OTHER_VEC4S: u32 = OTHERS / 4u;
override COLUMNS: u32 = 32u * TEAMS; // of a workgroup's result
override COLUMN_VEC4S: u32 = COLUMNS / 4u;

const LOG2_E: f32 = 1.442695;

// Layout of workgroup memory. In step 1 it holds a slice of the rows and a slice of the other operand. A slice is
// SLICE_VEC4S vec4 of the width, transposed, so that each vec4 holds one column of four rows.
const SLICE_VEC4S: u32 = 4u;
const ROW_BLOCKS: u32 = SLICE_VEC4S * ROW_VEC4S; // blocks of 4 x 4 elements
override OTHER_BLOCKS: u32 = SLICE_VEC4S * OTHER_VEC4S;
const OTHERS_AT: u32 = 4u * ROW_BLOCKS;

// In step 3 it holds the weights of one team's columns, where each vec4 holds the weights of four rows, and
// MULTIPLIED_ROWS rows of the matrix that the weights multiply. WEIGHTS_STRIDE is the distance from the weights of four
// columns to those of the next four. It contains two vec4 of padding, so that neighbours write to different banks.
const WEIGHTS_STRIDE: u32 = 4u * ROW_VEC4S + 2u;
const MULTIPLIED_AT: u32 = 8u * WEIGHTS_STRIDE;
const MULTIPLIED: u32 = 256u;
override MULTIPLIED_ROWS: u32 = MULTIPLIED / COLUMN_VEC4S;

var<workgroup> staged: array<vec4<f32>, MULTIPLIED_AT + MULTIPLIED>;

// A workgroup's tile: its first row, and its slice of the result's columns. Surplus workgroups repeat the last tile and
// must not store.
struct Tile { exists: bool, batch: u32, outer: u32, head: u32, first: u32, slice: u32 }

// The number of slices of a result that is as wide as this matrix.
fn slices_of(matrix: u32) -> u32 { return (width_of(matrix) + COLUMN_VEC4S - 1u) / COLUMN_VEC4S; }

fn tile_of(group: vec3<u32>, groups: vec3<u32>, slices: u32) -> Tile {
    let wanted = group.y * groups.x + group.x;
    let tiles = (row_count() + ROWS - 1u) / ROWS;
    let index = min(wanted, slices * tiles * params.batches - 1u);
    let batch = index / slices / tiles;
    let first = index / slices % tiles * ROWS;
    return Tile(wanted == index, batch, batch / params.heads, batch % params.heads, first, index % slices);
}

// The position of an invocation in its team. It has the rows 4 y to 4 y + 3 and 4 y + 32 to 4 y + 35, and the columns
// 4 x to 4 x + 3.
struct Thread { index: u32, team: u32, x: u32, y: u32 }

// Two of four neighbours have the same x, and two have the same y. NVIDIA GPUs read vec4 from workgroup memory for
// eight invocations at a time, but for sixteen if every second one reads the same address as its neighbour.
fn thread_of(index: u32) -> Thread {
    let x = (index & 1u) | ((index >> 1u) & 6u);
    let y = ((index >> 1u) & 1u) | ((index >> 3u) & 6u);
    return Thread(index, index / 64u, x, y);
}

fn row_count() -> u32 { return select(params.queries, params.keys, ROWS_ARE_KEYS); }
fn other_count() -> u32 { return select(params.keys, params.queries, ROWS_ARE_KEYS); }

fn rows_of(matrix: u32) -> u32 {
    return select(params.keys, params.queries, matrix == QUERIES || matrix == OUTS);
}

// The width of a matrix, in vec4.
fn width_of(matrix: u32) -> u32 {
    return select(params.depth, params.width, matrix == QUERIES || matrix == KEYS);
}

// The offset of a row of the tile's batch and head. Rows beyond the last are clamped to it.
fn row_start(tile: Tile, matrix: u32, row: u32) -> u32 {
    let step = params.heads * width_of(matrix);
    let first = tile.outer * rows_of(matrix) * step + tile.head * width_of(matrix);
    return first + min(row, rows_of(matrix) - 1u) * step;
}

// Four columns of an invocation's eight rows: four rows of each column are in `low`, the other four in `high`.
struct Block { low: mat4x4<f32>, high: mat4x4<f32> }

// Adds the outer product of eight row values and four column values to a block.
fn plus_outer(block: Block, low: vec4<f32>, high: vec4<f32>, columns: vec4<f32>) -> Block {
    return Block(plus_outer4(block.low, low, columns), plus_outer4(block.high, high, columns));
}

fn plus_outer4(block: mat4x4<f32>, rows: vec4<f32>, columns: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(
        fma(rows, vec4(columns.x), block[0]),
        fma(rows, vec4(columns.y), block[1]),
        fma(rows, vec4(columns.z), block[2]),
        fma(rows, vec4(columns.w), block[3]));
}

// Multiplies each row of a block by a factor.
fn times_rows(block: Block, low: vec4<f32>, high: vec4<f32>) -> Block {
    return Block(times_rows4(block.low, low), times_rows4(block.high, high));
}

fn times_rows4(block: mat4x4<f32>, rows: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(block[0] * rows, block[1] * rows, block[2] * rows, block[3] * rows);
}

// Step 1: the dot products of the tile's rows of one matrix and OTHERS rows of another, from row `first` on.
fn products(tile: Tile, thread: Thread, rows: u32, others: u32, first: u32) -> Block {
    var sums = Block();
    let width = width_of(rows);
    for (var start = 0u; start < width; start += SLICE_VEC4S) {
        workgroupBarrier();
        for (var round = 0u; round < (ROW_BLOCKS + OTHER_BLOCKS + THREADS - 1u) / THREADS; round += 1u) {
            let i = round * THREADS + thread.index;
            if (i < ROW_BLOCKS) {
                stage_transposed(tile, rows, tile.first, start, i, ROW_VEC4S, 0u);
            } else if (i < ROW_BLOCKS + OTHER_BLOCKS) {
                stage_transposed(tile, others, first, start, i - ROW_BLOCKS, OTHER_VEC4S, OTHERS_AT);
            }
        }
        workgroupBarrier();
        for (var c = 0u; c < 4u * SLICE_VEC4S; c += 4u) {
            sums = plus_product(sums, thread, c);
            sums = plus_product(sums, thread, c + 1u);
            sums = plus_product(sums, thread, c + 2u);
            sums = plus_product(sums, thread, c + 3u);
        }
    }
    return sums;
}

// Stages block `i` of a slice, 4 rows by 4 columns, at `base`. The slice begins at row `first` and column 4 `start`,
// and has `vec4s` vec4 along the rows. Columns beyond the width are zero. Neighbours write to neighbouring addresses.
fn stage_transposed(tile: Tile, matrix: u32, first: u32, start: u32, i: u32, vec4s: u32, base: u32) {
    let column = i / vec4s;
    var columns = mat4x4<f32>();
    if (start + column < width_of(matrix)) {
        let row = first + 4u * (i % vec4s);
        columns = transpose(mat4x4(
            load(matrix, row_start(tile, matrix, row) + start + column),
            load(matrix, row_start(tile, matrix, row + 1u) + start + column),
            load(matrix, row_start(tile, matrix, row + 2u) + start + column),
            load(matrix, row_start(tile, matrix, row + 3u) + start + column)));
    }
    let at = base + 4u * column * vec4s + i % vec4s;
    staged[at] = columns[0];
    staged[at + vec4s] = columns[1];
    staged[at + 2u * vec4s] = columns[2];
    staged[at + 3u * vec4s] = columns[3];
}

fn plus_product(sums: Block, thread: Thread, column: u32) -> Block {
    let row = column * ROW_VEC4S + thread.y;
    let other = OTHERS_AT + column * OTHER_VEC4S + 8u * thread.team + thread.x;
    return plus_outer(sums, staged[row], staged[row + 8u], staged[other]);
}

// The masked scores of the tile's rows against OTHERS others from `first` on.
fn scores(tile: Tile, thread: Thread, first: u32) -> Block {
    let products = products(
        tile, thread, select(QUERIES, KEYS, ROWS_ARE_KEYS), select(KEYS, QUERIES, ROWS_ARE_KEYS), first);
    let scores = times_rows(products, vec4(params.scale), vec4(params.scale));
    if (MASK == 0u && all_seen(tile, first)) {
        return scores;
    }
    let row = tile.first + 4u * thread.y;
    let other = first + 32u * thread.team + 4u * thread.x;
    return Block(seen4(tile, row, other, scores.low), seen4(tile, row + 32u, other, scores.high));
}

// Whether the scores of the tile against OTHERS others from `first` on need no causal mask and no bounds check.
fn all_seen(tile: Tile, first: u32) -> bool {
    let before_diagonal = select(first + OTHERS <= tile.first + 1u, tile.first + ROWS <= first + 1u, ROWS_ARE_KEYS);
    return first + OTHERS <= other_count() && (params.causal == 0u || before_diagonal);
}

fn seen4(tile: Tile, first: u32, other: u32, scores: mat4x4<f32>) -> mat4x4<f32> {
    let rows = first + vec4(0u, 1u, 2u, 3u);
    return mat4x4(
        seen(tile, rows, other, scores[0]),
        seen(tile, rows, other + 1u, scores[1]),
        seen(tile, rows, other + 2u, scores[2]),
        seen(tile, rows, other + 3u, scores[3]));
}

// The scores of four rows against one row of the other operand, after masking. Rows beyond the last are not masked:
// their results are not stored.
fn seen(tile: Tile, rows: vec4<u32>, other: u32, products: vec4<f32>) -> vec4<f32> {
    let queries = select(rows, vec4(other), ROWS_ARE_KEYS);
    let keys = select(vec4(other), rows, ROWS_ARE_KEYS);
    return masked(tile.outer, tile.head, queries, keys, vec4(other < other_count()), products);
}

// e^(score - base). A masked key gets 0, because the base is at least LOWEST.
fn weights(scores: vec4<f32>, base: vec4<f32>) -> vec4<f32> {
    let x = scores - base;
    return vec4(weight(x.x), weight(x.y), weight(x.z), weight(x.w));
}

// e^x for x below 88, with half the operations of `exp_`: 2^n 2^f, where n is the integer nearest to x log2 e. The
// absolute error for x <= 0 is below 6e-8; the largest weight is 1. Error of the polynomial: 1.6e-8.
fn weight(x: f32) -> f32 {
    let rounded = fma(x, LOG2_E, ROUND);
    let f = fma(x, LOG2_E, ROUND - as_is_(rounded));
    var p = fma(fma(fma(0.00015353355, f, 0.0013398875), f, 0.009618438), f, 0.055503324);
    p = fma(fma(fma(p, f, 0.24022648), f, 0.6931472), f, 1.0);
    let power = scaled_(p, bitcast<i32>(rounded));
    return select(select(power, 0.0, x < -87.0), x, is_nan(x));
}

// Step 3: adds the weights times OTHERS rows of a matrix, from row `first` on, to the sums. Workgroup memory holds the
// weights of one team at a time.
fn plus_weighted(tile: Tile, thread: Thread, sums: Block, weights: Block, matrix: u32, first: u32) -> Block {
    var all = sums;
    for (var team = 0u; team < TEAMS; team += 1u) {
        for (var start = 0u; start < 32u; start += MULTIPLIED_ROWS) {
            workgroupBarrier();
            if (start == 0u && thread.team == team) {
                stage_weights(thread, weights);
            }
            stage_multiplied(tile, thread, matrix, first + 32u * team + start);
            workgroupBarrier();
            for (var row = 0u; row < MULTIPLIED_ROWS; row += 4u) {
                let weight = (start + row) / 4u * WEIGHTS_STRIDE + thread.y;
                all = plus_row(all, thread, weight, row);
                all = plus_row(all, thread, weight + ROW_VEC4S, row + 1u);
                all = plus_row(all, thread, weight + 2u * ROW_VEC4S, row + 2u);
                all = plus_row(all, thread, weight + 3u * ROW_VEC4S, row + 3u);
            }
        }
    }
    return all;
}

fn stage_weights(thread: Thread, weights: Block) {
    let at = thread.x * WEIGHTS_STRIDE + thread.y;
    staged[at] = weights.low[0];
    staged[at + ROW_VEC4S] = weights.low[1];
    staged[at + 2u * ROW_VEC4S] = weights.low[2];
    staged[at + 3u * ROW_VEC4S] = weights.low[3];
    staged[at + 8u] = weights.high[0];
    staged[at + 8u + ROW_VEC4S] = weights.high[1];
    staged[at + 8u + 2u * ROW_VEC4S] = weights.high[2];
    staged[at + 8u + 3u * ROW_VEC4S] = weights.high[3];
}

// Stages the tile's columns of MULTIPLIED_ROWS rows of a matrix.
fn stage_multiplied(tile: Tile, thread: Thread, matrix: u32, first: u32) {
    let width = width_of(matrix);
    for (var round = 0u; round < MULTIPLIED / THREADS; round += 1u) {
        let i = round * THREADS + thread.index;
        let column = tile.slice * COLUMN_VEC4S + i % COLUMN_VEC4S;
        if (column < width) {
            staged[MULTIPLIED_AT + i] = load(matrix, row_start(tile, matrix, first + i / COLUMN_VEC4S) + column);
        }
    }
}

// Adds the staged row `row`, times the weights staged at `weight`.
fn plus_row(sums: Block, thread: Thread, weight: u32, row: u32) -> Block {
    let column = MULTIPLIED_AT + row * COLUMN_VEC4S + 8u * thread.team + thread.x;
    return plus_outer(sums, staged[weight], staged[weight + 8u], staged[column]);
}

// Writes the result, which has the shape of this matrix.
fn store(tile: Tile, thread: Thread, matrix: u32, result: Block) {
    let row = tile.first + 4u * thread.y;
    let column = tile.slice * COLUMN_VEC4S + 8u * thread.team + thread.x;
    store4(tile, matrix, row, column, result.low);
    store4(tile, matrix, row + 32u, column, result.high);
}

fn store4(tile: Tile, matrix: u32, row: u32, column: u32, block: mat4x4<f32>) {
    let rows = transpose(block);
    let count = select(0u, rows_of(matrix), tile.exists && column < width_of(matrix));
    if (row < count) { put(matrix, row_start(tile, matrix, row) + column, rows[0]); }
    if (row + 1u < count) { put(matrix, row_start(tile, matrix, row + 1u) + column, rows[1]); }
    if (row + 2u < count) { put(matrix, row_start(tile, matrix, row + 2u) + column, rows[2]); }
    if (row + 3u < count) { put(matrix, row_start(tile, matrix, row + 3u) + column, rows[3]); }
}
