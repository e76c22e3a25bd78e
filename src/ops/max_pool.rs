//! 2-D max pooling: one pass computes the maxima and their positions, and another pass computes the gradient.

use super::conv::divisor;
use super::{Buffer, Fused, Io, Launch, Word};
use crate::core::dtype::DType;
use crate::core::limits::{AdapterKind, Limits};
use crate::core::shape::{Shape, ShapeError, Spec};
use crate::graph::{Move, ShaderSource};
use crate::tensor::pool::PoolOptions;
use crate::tensor::{Const, Tensor};

impl Tensor {
    /// Computes the maximum of each window over the last two dims. Padding is never the maximum; a NaN in the window
    /// always is. Among equal elements, the first in row-major order receives the gradient.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32 or has fewer than three dims, if a kernel size, stride or dilation is 0, if the
    /// padding is more than half of the window, or if no window fits.
    #[track_caller]
    pub fn max_pool2d(&self, pool: PoolOptions) -> Tensor {
        let size = self.pool_size("max_pool2d", &pool);
        let outer = &self.shape()[..self.rank() - 2];
        let planes = [outer.iter().product(), self.size(-2), self.size(-1)];
        let planes = self.moved(Move::Reshape(planes.into()));
        let largest = Tensor::fused(MaxPool { pool, size }, &[&planes]).remove(0);
        largest.moved(Move::Reshape(outer.iter().copied().chain(size).collect()))
    }
}

/// `input [planes, height, width] -> (maxima [planes, size..], their positions in the plane, as i32)`
#[derive(Debug)]
pub(crate) struct MaxPool {
    pub pool: PoolOptions,
    /// The number of windows along each dim.
    pub size: [usize; 2],
}

/// `(gradient [planes, windows..], positions [planes, windows..]) -> gradient of the input [planes, size..]`
#[derive(Debug)]
pub(crate) struct MaxPoolBackward {
    pub pool: PoolOptions,
    /// Height and width of the input.
    pub size: [usize; 2],
}

/// Returns the attributes that are part of a plan's key. The size reflects `ceil_mode`.
fn attributes(pool: &PoolOptions, size: [usize; 2]) -> Vec<u64> {
    let pairs = [pool.kernel_size, pool.stride, pool.padding, pool.dilation, size];
    pairs.iter().flatten().map(|&x| x as u64).collect()
}

impl Fused for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn attributes(&self) -> Vec<u64> {
        attributes(&self.pool, self.size)
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        let shape: Shape = [inputs[0].shape[0], self.size[0], self.size[1]].into();
        let spec = |dtype| Spec { shape: shape.clone(), dtype };
        Ok(vec![spec(inputs[0].dtype), spec(DType::I32)])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let input = &inputs[0];
        let [height, width] = [input.shape()[1], input.shape()[2]];
        let windows = self.pool.windows(input, self.size); // [planes, size.., window]
        // The position of each element; -1 outside the input, where the windows contain 0.
        let place = Tensor::iota([1, height * width].into(), 1, input.device()) + Const(1.0);
        let place = place.moved(Move::Reshape([1, height, width].into()));
        let place = (self.pool.windows(&place, self.size) - Const(1.0)).broadcast_to(windows.shape());
        let outside = place.lt(Const(0.0));
        let largest = outside.where_(Const(f64::NEG_INFINITY), &windows).amax(-1, true).detach();
        let is_number = windows.abs().le(Const(f64::INFINITY));
        let beaten = outside.logical_or(windows.ne(&largest).logical_and(is_number));
        let first = beaten.where_(Const((height * width) as f64), &place).amin(-1, true);
        let values = place.eq(&first).where_(&windows, Const(0.0)).sum_dim(-1, false);
        vec![values, first.squeeze(-1)]
    }

    fn backward(&self, io: &Io, grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        let [Some(grad), None] = grads else { return None };
        let shape = io.inputs[0].shape();
        let back = MaxPoolBackward { pool: self.pool, size: [shape[1], shape[2]] };
        Some(vec![Some(Tensor::fused(back, &[grad, &io.outputs[1]]).remove(0))])
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        let PoolOptions { kernel_size, stride, padding, dilation, .. } = self.pool;
        let pairs = [area(&io[0]), self.size, stride, padding, dilation];
        let rows = PoolRows { planes: io[1].shape[0], area: self.size, places: kernel_size };
        let launch =
            rows.launch(ShaderSource::new(include_str!("../../shaders/max_pool.wgsl")), &pairs, io, limits)?;
        Some(vec![launch.buffers([Buffer::Input(0), Buffer::Output(0), Buffer::Output(1)])])
    }
}

impl Fused for MaxPoolBackward {
    fn name(&self) -> &'static str {
        "max_pool_backward"
    }

    fn attributes(&self) -> Vec<u64> {
        attributes(&self.pool, self.size)
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        let shape = [inputs[0].shape[0], self.size[0], self.size[1]];
        Ok(vec![Spec { shape: shape.into(), dtype: inputs[0].dtype }])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let flat = |x: &Tensor| {
            let shape = [x.shape()[0], x.shape()[1] * x.shape()[2]];
            x.moved(Move::Reshape(shape.into()))
        };
        let [planes, height, width] = [inputs[0].shape()[0], self.size[0], self.size[1]];
        let zeros = Tensor::zeros([planes, height * width], inputs[0].device());
        let sums = zeros.scatter_add(1, &flat(&inputs[1]), &flat(&inputs[0]));
        vec![sums.moved(Move::Reshape([planes, height, width].into()))]
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        let PoolOptions { kernel_size, stride, padding, dilation, .. } = self.pool;
        let reach = [0, 1].map(|d| dilation[d] * (kernel_size[d] - 1));
        let tile = stride.map(|stride| divisor(stride, MOST_SIDE));
        let tiles = [0, 1].map(|d| (self.size[d] + padding[d]).div_ceil(tile[d]));
        let steps = [0, 1].map(|d| stride[d] / tile[d]);
        let pairs = [self.size, area(&io[0]), padding, steps, tiles];
        let places = [0, 1].map(|d| reach[d] / stride[d] + 1);
        let rows = PoolRows { planes: io[2].shape[0], area: tiles, places };
        let constants = [("ROWS", tile[0]), ("COLUMNS", tile[1])];
        let source = ShaderSource::new(include_str!("../../shaders/max_pool_backward.wgsl"));
        let source = source.constants("constants", &constants);
        let launch = rows.launch(source, &pairs, io, limits)?;
        Some(vec![launch.buffers([Buffer::Input(0), Buffer::Input(1), Buffer::Output(0)])])
    }
}

/// Returns the height and width of the planes.
fn area(planes: &Spec) -> [usize; 2] {
    [planes.shape[1], planes.shape[2]]
}

/// Maximum height and width of a tile in elements.
const MOST_SIDE: usize = 4;

/// The index space of a kernel: the rows of planes. Each element or tile reads `places` positions along each dim.
struct PoolRows {
    planes: usize,
    area: [usize; 2],
    places: [usize; 2],
}

impl PoolRows {
    /// Returns a launch whose uniforms are pairs of sizes, then the number of rows and the run length. On a CPU
    /// adapter, divisions are slow, so an invocation computes a run of elements, a whole row if possible. On a GPU, an
    /// invocation computes one element, so that adjacent invocations read adjacent addresses.
    fn launch(
        &self,
        source: ShaderSource,
        pairs: &[[usize; 2]],
        io: &[Spec],
        limits: &Limits,
    ) -> Option<Launch> {
        let [height, width] = self.area;
        let rows = self.planes * height;
        // Number of loop iterations per element. The end of a loop counts as an iteration.
        let element = 3 + self.places[0] * (3 + self.places[1]);
        let (group, run) = match limits.kind {
            AdapterKind::Software => (8, width.min((limits.loop_iterations as usize - 2) / element)),
            _ => (64, 1),
        };
        // Kernels compute with i32 indices, which slightly exceed the sizes.
        let fits = io.iter().all(|spec| i32::try_from(spec.shape.numel()).is_ok())
            && pairs.iter().flatten().all(|&size| size < 1 << 29);
        if io[0].dtype != DType::F32 || run == 0 || !fits {
            return None;
        }
        let words = pairs.iter().flatten().copied().chain([rows, run]);
        Some(
            Launch::from_source(source)
                .trusted()
                .constant("GROUP", group as u32)
                .constant("HEIGHT", self.places[0] as u32)
                .constant("WIDTH", self.places[1] as u32)
                .uniforms(words.map(|size| Word::Size(size as u32)))
                .workgroups(u32::try_from((rows * width.div_ceil(run)).div_ceil(group)).ok()?)
                .work((rows * width * element) as u64),
        )
    }
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    use super::{Draw, Sample, Tolerance};

    let plain = PoolOptions::new([2, 2]);
    let cases = [
        (PoolOptions::new([1, 1]), 1, [1, 1], [1, 1]),
        (plain, 3, [4, 6], [2, 3]),
        (plain, 1, [7, 5], [3, 2]),
        (PoolOptions { ceil_mode: true, ..plain }, 2, [7, 5], [4, 3]),
        (PoolOptions { stride: [2, 1], padding: [1, 1], ..PoolOptions::new([3, 2]) }, 5, [9, 13], [5, 14]),
        (PoolOptions { stride: [3, 4], ..plain }, 2, [8, 11], [3, 3]),
        (
            PoolOptions { stride: [1, 2], dilation: [3, 2], padding: [1, 1], ..PoolOptions::new([2, 3]) },
            2,
            [7, 70],
            [6, 34],
        ),
    ];
    // Only sums of a few gradients are rounded.
    let tolerance = Tolerance { atol: 1e-6, rtol: 1e-6 };
    let input = |planes, [height, width]: [usize; 2]| Draw::Floats([planes, height, width].into(), -1.0..1.0);
    let forward = |(pool, planes, area, size): (PoolOptions, usize, [usize; 2], [usize; 2])| Sample {
        op: std::sync::Arc::new(MaxPool { pool, size }),
        inputs: vec![input(planes, area)],
        tolerance,
    };
    // The gradient is tested separately only where every position is inside the window. The pools above test the other
    // cases.
    let backward = |size: [usize; 2]| {
        let op = MaxPoolBackward { pool: PoolOptions::new(size), size };
        let inputs = vec![input(9, [1, 1]), Draw::Below([9, 1, 1].into(), size[0] * size[1])];
        Sample { op: std::sync::Arc::new(op), inputs, tolerance }
    };
    cases.into_iter().map(forward).chain([[1, 1], [3, 5]].map(backward)).collect()
}
