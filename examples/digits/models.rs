//! The two networks.

use clap::ValueEnum;
use wgrad::nn::{Conv2d, Dropout, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential};
use wgrad::{Device, Tensor};

use crate::data::{CLASSES, PIXELS};

#[derive(Clone, Copy, ValueEnum)]
pub enum Model {
    /// An MLP with layers of 128 and 64
    Mlp,
    /// Two convolutions with 32 and 64 channels, a pool, a layer of 128, dropout
    Cnn,
}

impl Model {
    pub fn title(self) -> &'static str {
        match self {
            Model::Mlp => "64-128-64-10 network",
            Model::Cnn => "convolutional network",
        }
    }

    pub fn build(self, dev: &Device) -> Box<dyn Module> {
        let model = Sequential::new();
        Box::new(match self {
            Model::Mlp => model
                .add(Linear::new(PIXELS, 128, dev))
                .add(ReLU)
                .add(Linear::new(128, 64, dev))
                .add(ReLU)
                .add(Linear::new(64, CLASSES, dev)),
            Model::Cnn => model
                .add(AsPicture)
                .add(Conv2d::new(1, 32, [3, 3], dev).padding([1, 1]))
                .add(ReLU)
                .add(Conv2d::new(32, 64, [3, 3], dev).padding([1, 1]))
                .add(ReLU)
                .add(MaxPool2d::new([2, 2]))
                .add(Flatten)
                .add(Linear::new(64 * 4 * 4, 128, dev))
                .add(ReLU)
                .add(Dropout::new(0.3))
                .add(Linear::new(128, CLASSES, dev)),
        })
    }
}

/// Reshapes 64 pixels to one channel of 8 x 8.
struct AsPicture;

impl Module for AsPicture {
    fn forward(&self, x: &Tensor) -> Tensor {
        x.reshape([-1, 1, 8, 8])
    }
}
