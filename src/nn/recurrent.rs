//! Recurrent layers: one loop over time, and three kinds of cells.

use std::array;
use std::fmt;
use std::marker::PhantomData;

use super::linear::value;
use super::summary::record_output;
use super::{Dropout, Module, Visitor, init};
use crate::core::shape::refuse;
use crate::graph::Device;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// Elman network, `h' = tanh(W_ih x + b_ih + W_hh h + b_hh)` (Elman, 1990). It is PyTorch's
/// [`RNN`](https://docs.pytorch.org/docs/stable/generated/torch.nn.RNN.html); its state is `[h]`.
pub type RNN = Recurrent<TanhCell, 1>;

/// Long short-term memory (Hochreiter and Schmidhuber, 1997; forget gates of Gers et al., 2000). It is PyTorch's
/// [`LSTM`](https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html); its state is `[h, c]`.
///
/// ```
/// use wgrad::nn::LSTM;
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let lstm = LSTM::new(4, 8, &dev).num_layers(2);
/// let (y, [h, c]) = lstm.forward(&Tensor::zeros([3, 5, 4], &dev), None);
/// assert_eq!(y.shape()[..], [3, 5, 8]); // [batch, time, hidden]
/// assert_eq!((&h.shape()[..], &c.shape()[..]), (&[2, 3, 8][..], &[2, 3, 8][..])); // [layers, batch, hidden]
/// let (next, _) = lstm.forward(&Tensor::zeros([3, 1, 4], &dev), Some(&[h, c])); // continues the sequence
/// # assert_eq!(next.shape()[..], [3, 1, 8]);
/// ```
pub type LSTM = Recurrent<LstmCell, 2>;

/// Gated recurrent unit (Cho et al., 2014). It is PyTorch's
/// [`GRU`](https://docs.pytorch.org/docs/stable/generated/torch.nn.GRU.html); its state is `[h]`.
pub type GRU = Recurrent<GruCell, 1>;

/// One time step of a recurrent layer: computes the next state from the projections of input and hidden state, and the
/// state.
pub trait Cell<const STATES: usize> {
    /// The name of the layer.
    const NAME: &str;
    /// The number of gates: the projections are `gates` times as wide as the hidden state.
    const GATES: usize;

    /// Computes the next state. `x` is `W_ih x + b_ih` and `h` is `W_hh h + b_hh`, both `[batch, gates * hidden]`. Each
    /// tensor of the state is `[batch, hidden]`; the first is the hidden state.
    fn step(x: &Tensor, h: &Tensor, state: &[Tensor; STATES]) -> [Tensor; STATES];
}

/// The cell of [`RNN`].
pub struct TanhCell;

impl Cell<1> for TanhCell {
    const NAME: &str = "RNN";
    const GATES: usize = 1;

    fn step(x: &Tensor, h: &Tensor, _state: &[Tensor; 1]) -> [Tensor; 1] {
        [(x + h).tanh()]
    }
}

/// The cell of [`LSTM`].
pub struct LstmCell;

impl Cell<2> for LstmCell {
    const NAME: &str = "LSTM";
    const GATES: usize = 4;

    fn step(x: &Tensor, h: &Tensor, [_, c]: &[Tensor; 2]) -> [Tensor; 2] {
        let [input, forget, cell, output] = gates(&(x + h));
        let c = forget.sigmoid() * c + input.sigmoid() * cell.tanh();
        [output.sigmoid() * c.tanh(), c]
    }
}

/// The cell of [`GRU`].
pub struct GruCell;

impl Cell<1> for GruCell {
    const NAME: &str = "GRU";
    const GATES: usize = 3;

    fn step(x: &Tensor, h: &Tensor, [state]: &[Tensor; 1]) -> [Tensor; 1] {
        let ([reset, update, new], [reset_h, update_h, new_h]) = (gates(x), gates(h));
        let new = (new + (reset + reset_h).sigmoid() * new_h).tanh();
        let update = (update + update_h).sigmoid();
        [&new + update * (state - &new)]
    }
}

/// Splits the last dim into equal parts.
fn gates<const N: usize>(x: &Tensor) -> [Tensor; N] {
    let width = x.size(-1) / N;
    array::from_fn(|i| x.narrow(-1, (i * width) as i64, width))
}

/// One or more recurrent layers: [`RNN`], [`LSTM`], [`GRU`]. The input of a layer is the output of the layer before it.
///
/// [`Module::forward`] starts with a state of zeros and returns only the outputs.
pub struct Recurrent<C, const STATES: usize> {
    /// For each layer, the weights of the forward direction in time, followed, if it is bidirectional, by the weights
    /// of the backward direction.
    weights: Vec<Weights>,
    input_size: usize,
    hidden_size: usize,
    directions: usize,
    batch_first: bool,
    dropout: Dropout,
    cell: PhantomData<fn() -> C>,
}

/// The weights of one layer in one direction.
#[derive(Clone)]
struct Weights {
    /// `[gates * hidden, in]`
    weight_ih: Var,
    /// `[gates * hidden, hidden]`
    weight_hh: Var,
    /// `[gates * hidden]`
    bias_ih: Option<Var>,
    /// `[gates * hidden]`
    bias_hh: Option<Var>,
}

impl<C: Cell<STATES>, const STATES: usize> Recurrent<C, STATES> {
    /// Creates one layer, forward in time. All weights are uniform in ±1/√hidden (PyTorch's default).
    ///
    /// # Panics
    ///
    /// Panics if `hidden_size` is 0.
    #[track_caller]
    pub fn new(input_size: usize, hidden_size: usize, device: &Device) -> Self {
        Self::drawn(input_size, hidden_size, 1, 1, device)
    }

    #[track_caller]
    fn drawn(
        input_size: usize,
        hidden_size: usize,
        layers: usize,
        directions: usize,
        device: &Device,
    ) -> Self {
        if layers == 0 || hidden_size == 0 {
            refuse!(C::NAME, "needs num_layers > 0 and hidden_size > 0, got {layers} and {hidden_size}");
        }
        let rows = C::GATES * hidden_size;
        let weights = (0..layers * directions).map(|i| {
            let width = if i < directions { input_size } else { directions * hidden_size };
            let [weight_ih, weight_hh] =
                [width, hidden_size].map(|width| init::within(hidden_size, [rows, width], device));
            let [bias_ih, bias_hh] = [(); 2].map(|()| Some(init::within(hidden_size, [rows], device)));
            Weights { weight_ih, weight_hh, bias_ih, bias_hh }
        });
        Recurrent {
            weights: weights.collect(),
            input_size,
            hidden_size,
            directions,
            batch_first: true,
            dropout: Dropout::new(0.0),
            cell: PhantomData,
        }
    }

    #[track_caller]
    fn redrawn(self, layers: usize, directions: usize) -> Self {
        let device = self.weights[0].weight_ih.tensor().device().clone();
        let new = Self::drawn(self.input_size, self.hidden_size, layers, directions, &device);
        let new = Recurrent { batch_first: self.batch_first, dropout: self.dropout, ..new };
        if self.weights[0].bias_ih.is_some() { new } else { new.without_bias() }
    }

    /// Sets the number of layers and draws new weights.
    ///
    /// # Panics
    ///
    /// Panics if `layers` is 0.
    #[track_caller]
    pub fn num_layers(self, layers: usize) -> Self {
        let directions = self.directions;
        self.redrawn(layers, directions)
    }

    /// Adds the direction backward in time and draws new weights. The outputs are `[batch, time, 2 hidden]`, and the
    /// states of the two directions of a layer are adjacent.
    ///
    /// # Panics
    ///
    /// Panics if the weights exceed the device's storage binding limit.
    #[track_caller]
    pub fn bidirectional(self) -> Self {
        let layers = self.weights.len() / self.directions;
        self.redrawn(layers, 2)
    }

    /// Removes the biases.
    pub fn without_bias(mut self) -> Self {
        self.weights.iter_mut().for_each(|weights| (weights.bias_ih, weights.bias_hh) = (None, None));
        self
    }

    /// Whether sequences are `[batch, time, features]` (the default) or `[time, batch, features]` (PyTorch's default).
    pub fn batch_first(self, batch_first: bool) -> Self {
        Recurrent { batch_first, ..self }
    }

    /// Sets the probability of dropout on the outputs of each layer except the last, in training.
    ///
    /// # Panics
    ///
    /// Panics if `p` is not in [0, 1].
    #[track_caller]
    pub fn dropout(self, p: f64) -> Self {
        Recurrent { dropout: Dropout::new(p), ..self }
    }

    /// Maps a sequence `[batch, time, in]` and a state (zeros if `None`) to the outputs `[batch, time, hidden]` and the
    /// final state. Each tensor of the state is `[layers * directions, batch, hidden]`.
    ///
    /// # Panics
    ///
    /// Panics if the input is not `[batch, time, in]` with at least one time step, or if a tensor of the state is not
    /// `[layers * directions, batch, hidden]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, state: Option<&[Tensor; STATES]>) -> (Tensor, [Tensor; STATES]) {
        if x.rank() != 3 || x.size(-1) != self.input_size || x.numel() == 0 {
            refuse!(C::NAME, "expects [batch, time, {}] with at least one step, got {x}", self.input_size);
        }
        let laid_out = |x: Tensor| if self.batch_first { x } else { x.transpose(0, 1) };
        let mut x = laid_out(x.clone());
        let shape = [self.weights.len(), x.size(0), self.hidden_size];
        if let Some(wrong) = state.into_iter().flatten().find(|state| state.shape()[..] != shape) {
            refuse!(C::NAME, "the state must be {shape:?} ([layers, batch, hidden]), got {wrong}");
        }
        let zeros = Tensor::zeros(&shape[1..], x.device());
        let mut ends = Vec::new();
        for (layer, weights) in self.weights.chunks(self.directions).enumerate() {
            if layer > 0 {
                x = x.dropout(self.dropout.now(), true);
            }
            let outputs = weights.iter().enumerate().map(|(direction, weights)| {
                let at = (layer * self.directions + direction) as i64;
                let start =
                    array::from_fn(|i| state.map_or_else(|| zeros.clone(), |state| state[i].select(0, at)));
                let (output, end) = weights.run::<C, STATES>(&x, start, direction == 1);
                ends.push(end);
                output
            });
            let outputs: Vec<Tensor> = outputs.collect();
            x = Tensor::cat(&outputs.iter().collect::<Vec<_>>(), -1);
        }
        let end = |i: usize| Tensor::stack(&ends.iter().map(|end| &end[i]).collect::<Vec<_>>(), 0);
        (record_output(self, laid_out(x)), array::from_fn(end))
    }
}

impl Weights {
    /// Runs one direction of a layer over `x` `[batch, time, in]`. Returns the hidden states `[batch, time, hidden]`
    /// and the last state.
    fn run<C: Cell<STATES>, const STATES: usize>(
        &self,
        x: &Tensor,
        mut state: [Tensor; STATES],
        backward: bool,
    ) -> (Tensor, [Tensor; STATES]) {
        // One product projects the inputs of all steps.
        let inputs = x.linear(&self.weight_ih.tensor(), value(&self.bias_ih).as_ref());
        let (weight, bias) = (self.weight_hh.tensor(), value(&self.bias_hh));
        let mut inputs = inputs.unbind(1);
        if backward {
            inputs.reverse();
        }
        let mut outputs = Vec::with_capacity(inputs.len());
        for input in &inputs {
            let hidden = state[0].linear(&weight, bias.as_ref());
            state = C::step(input, &hidden, &state);
            outputs.push(state[0].clone());
        }
        if backward {
            outputs.reverse();
        }
        (Tensor::stack(&outputs.iter().collect::<Vec<_>>(), 1), state)
    }
}

impl<C: Cell<STATES>, const STATES: usize> Module for Recurrent<C, STATES> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.forward(x, None).0
    }

    fn visit(&self, visitor: &mut Visitor) {
        for (i, weights) in self.weights.iter().enumerate() {
            let end = if i % self.directions == 0 { "" } else { "_reverse" };
            let layer = i / self.directions;
            visitor.var(&format!("weight_ih_l{layer}{end}"), &weights.weight_ih);
            visitor.var(&format!("weight_hh_l{layer}{end}"), &weights.weight_hh);
            visitor.optional(&format!("bias_ih_l{layer}{end}"), &weights.bias_ih);
            visitor.optional(&format!("bias_hh_l{layer}{end}"), &weights.bias_hh);
        }
        self.dropout.visit(visitor);
    }

    fn kind(&self) -> String {
        C::NAME.to_owned()
    }
}

impl<C, const STATES: usize> Clone for Recurrent<C, STATES> {
    /// Returns a handle to the same weights.
    fn clone(&self) -> Self {
        Recurrent { weights: self.weights.clone(), dropout: self.dropout.clone(), ..*self }
    }
}

impl<C: Cell<STATES>, const STATES: usize> fmt::Debug for Recurrent<C, STATES> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Recurrent { input_size, hidden_size, .. } = self;
        write!(f, "{}({input_size}, {hidden_size}, {} layers)", C::NAME, self.weights.len() / self.directions)
    }
}
