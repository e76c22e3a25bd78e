//! The table of a model: names, outputs, counts; and that making it leaves the model as it was.

use wgrad::nn::*;
use wgrad::{Device, Tensor};

use crate::common::gpu;

/// Layers that the model calls itself.
struct Net {
    stem: Sequential,
    blocks: ModuleList<TransformerBlock>,
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> Net {
        Net {
            stem: Sequential::new()
                .add(Embedding::new(10, 8, device))
                .add(Dropout::new(0.5))
                .add(Tanh)
                .add(Tanh),
            blocks: (0..2).map(|_| TransformerBlock::new(8, 2, device)).collect(),
            head: Linear::new(8, 3, device),
        }
    }
}

impl Module for Net {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.blocks.iter().fold(self.stem.forward(x), |x, block| block.forward(&x));
        self.head.forward(&x.mean_dim(1, false))
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("stem", &self.stem);
        visitor.module("blocks", &self.blocks);
        visitor.module("head", &self.head);
    }
}

#[test]
fn every_module_has_a_row() {
    let device = Device::cpu();
    let model = Net::new(&device);
    model.blocks[1].freeze();
    let table = summary(&model, &Tensor::new([1i32; 24], [4, 6], &device));
    let rows: Vec<String> = table
        .rows
        .iter()
        .map(|row| {
            let output = row.output.as_ref().map_or("-".to_owned(), ToString::to_string);
            format!("{} {} {} {output} {} {}", row.depth, row.name, row.kind, row.parameters, row.bytes)
        })
        .collect();
    let block = |i: usize| {
        [
            &*format!("2 {i} TransformerBlock f32[4, 6, 8] 0 768"),
            "3 self_attn MultiheadAttention f32[4, 6, 8] 216 1632",
            "4 out_proj Linear f32[4, 6, 8] 72 1056",
            "3 linear1 Linear f32[4, 6, 32] 288 4224",
            "3 linear2 Linear f32[4, 6, 8] 264 1824",
            "3 norm1 LayerNorm f32[4, 6, 8] 16 832",
            "3 norm2 LayerNorm f32[4, 6, 8] 16 832",
            "3 dropout Dropout f32[4, 6, 8] 0 768",
        ]
        .map(str::to_owned)
    };
    let stem = [
        "0  Net f32[4, 3] 0 48",
        "1 stem Sequential f32[4, 6, 8] 0 768",
        "2 0 Embedding f32[4, 6, 8] 80 1088",
        "2 1 Dropout f32[4, 6, 8] 0 768",
        "2 2 Tanh f32[4, 6, 8] 0 768",
        "2 3 Tanh f32[4, 6, 8] 0 768",
        "1 blocks ModuleList - 0 0",
    ]
    .map(str::to_owned);
    let want: Vec<String> = stem
        .into_iter()
        .chain(block(0))
        .chain(block(1))
        .chain(["1 head Linear f32[4, 3] 27 156".to_owned()])
        .collect();
    assert_eq!(rows, want);
    let (whole, frozen) = (80 + 27 + 2 * 872, 872);
    assert_eq!((table.parameters, table.trained, table.bytes), (whole, whole - frozen, 4 * whole));
    assert!(table.to_string().ends_with("1,851 parameters, 979 of them trained, in 7.2 KiB\n"), "{table}");
}

/// Nothing runs, nothing is drawn, no statistic moves, and the modes stay as they were, also where the input does not fit.
#[test]
fn a_summary_changes_nothing() {
    let device = gpu();
    wgrad::manual_seed(1);
    let norm = BatchNorm1d::new(3, &device);
    let used = Dropout::new(0.5);
    used.eval();
    let model = Sequential::new().add(norm.clone()).add(Dropout::new(0.5)).add(used.clone());
    let (x, before) = (Tensor::ones([4, 3], &device), wgrad::generator());
    summary(&model, &x);
    let wrong = Tensor::ones([4, 2], &device);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| summary(&model, &wrong)))
        .expect_err("it does not fit");
    assert_eq!(wgrad::generator(), before);
    assert_eq!(norm.num_batches_tracked.tensor().item().unwrap(), 0.0);
    norm.forward(&x);
    assert_eq!(norm.num_batches_tracked.tensor().item().unwrap(), 1.0);
    assert_eq!(used.forward(&x).to_vec::<f32>().unwrap(), [1.0; 12]);
}
