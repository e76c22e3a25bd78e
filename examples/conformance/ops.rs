//! Maps an operation's name to a call of the public API, with PyTorch's defaults for missing arguments.

use wgrad::{
    BatchNorm, ConvOptions, CrossEntropyOptions, Device, Operand, PoolOptions, Reduction, Tensor, autograd,
};

use crate::case::{Attrs, Case, list};
use crate::compare;
use crate::guard::Fault;

/// The arguments of an operation.
pub struct Args<'a> {
    pub tensors: &'a [Option<Tensor>],
    pub attrs: Attrs<'a>,
    pub device: &'a Device,
}

/// The results of an operation.
pub struct Results(Vec<Tensor>);

type Call = fn(&Args) -> Results;

macro_rules! table {
    (unary: $($unary:ident)*; binary: $($binary:ident)*; $($name:literal => |$a:ident| $call:expr;)*) => {
        const OPS: &[(&str, Call)] = &[
            $((stringify!($unary), |a| a.x(0).$unary().into()),)*
            $((stringify!($binary), |a| a.x(0).$binary(a.operand("other")).into()),)*
            $(($name, |$a| $call.into()),)*
        ];
    };
}

table! {
    unary: neg exp log sqrt rsqrt reciprocal abs sign sin cos tanh sigmoid relu silu erf log1p expm1 floor square;
    binary: add sub mul div maximum minimum eq ne lt le gt ge;

    // Elementwise
    "pow" => |a| a.x(0).pow(a.operand("exponent"));
    "where" => |a| a.x(0).where_(a.x(1), a.x(2));
    "leaky_relu" => |a| a.x(0).leaky_relu(a.attrs.number("negative_slope").unwrap_or(0.01));
    "elu" => |a| a.x(0).elu(a.attrs.number("alpha").unwrap_or(1.0));
    "gelu" => |a| if a.attrs.text("approximate") == Some("tanh") { a.x(0).gelu_tanh() } else { a.x(0).gelu() };
    "softplus" => |a| {
        a.x(0).softplus(a.attrs.number("beta").unwrap_or(1.0), a.attrs.number("threshold").unwrap_or(20.0))
    };
    "clamp" => |a| match (a.attrs.number("min"), a.attrs.number("max")) {
        (Some(min), Some(max)) => a.x(0).clamp(min, max),
        (Some(min), None) => a.x(0).clamp_min(min),
        (None, Some(max)) => a.x(0).clamp_max(max),
        (None, None) => Fault::Impossible("a clamp without bounds".to_owned()).raise(),
    };

    // Reductions
    "sum" => |a| a.x(0).sum_dim(a.dims("dim"), a.keepdim());
    "mean" => |a| a.x(0).mean_dim(a.dims("dim"), a.keepdim());
    "amax" => |a| a.x(0).amax(a.dims("dim"), a.keepdim());
    "amin" => |a| a.x(0).amin(a.dims("dim"), a.keepdim());
    "logsumexp" => |a| a.x(0).logsumexp(a.dims("dim"), a.keepdim());
    "var" => |a| a.x(0).var(a.dims("dim"), a.attrs.number("correction").unwrap_or(1.0), a.keepdim());
    "std" => |a| a.x(0).std(a.dims("dim"), a.attrs.number("correction").unwrap_or(1.0), a.keepdim());
    "prod" => |a| match a.attrs.int("dim") {
        Some(dim) => a.x(0).prod_dim(dim, a.keepdim()),
        None => a.x(0).prod(),
    };
    "argmax" => |a| a.x(0).argmax(a.dims("dim"), a.keepdim());
    "argmin" => |a| a.x(0).argmin(a.dims("dim"), a.keepdim());
    "cumsum" => |a| a.x(0).cumsum(a.dim("dim"));
    "softmax" => |a| a.x(0).softmax(a.dim("dim"));
    "log_softmax" => |a| a.x(0).log_softmax(a.dim("dim"));

    // Products
    "matmul" => |a| a.x(0).matmul(a.x(1));
    "linear" => |a| a.x(0).linear(a.x(1), a.optional(2));

    // Losses
    "cross_entropy" => |a| a.x(0).cross_entropy_with(a.x(1), &a.classes());
    "nll_loss" => |a| a.x(0).nll_loss(a.x(1), &a.classes());
    "mse_loss" => |a| a.x(0).mse_loss(a.x(1), a.reduction());
    "l1_loss" => |a| a.x(0).l1_loss(a.x(1), a.reduction());
    "smooth_l1_loss" => |a| {
        a.x(0).smooth_l1_loss(a.x(1), a.attrs.number("beta").unwrap_or(1.0), a.reduction())
    };
    "huber_loss" => |a| a.x(0).huber_loss(a.x(1), a.attrs.number("delta").unwrap_or(1.0), a.reduction());
    "binary_cross_entropy_with_logits" => |a| {
        a.x(0).binary_cross_entropy_with_logits(a.x(1), a.optional(2), a.optional(3), a.reduction())
    };
    "kl_div" => |a| a.x(0).kl_div(a.x(1), a.attrs.flag("log_target").unwrap_or(false), a.reduction());

    // Shape
    "zeros" => |a| Tensor::zeros(a.dims("size"), a.device);
    "reshape" => |a| a.x(0).reshape(a.dims("shape"));
    "transpose" => |a| a.x(0).transpose(a.dim("dim0"), a.dim("dim1"));
    "permute" => |a| a.x(0).permute(a.dims("dims"));
    "expand" => |a| a.x(0).expand(a.dims("size"));
    "unsqueeze" => |a| a.x(0).unsqueeze(a.dim("dim"));
    "squeeze" => |a| a.x(0).squeeze(a.dims("dim"));
    "flatten" => |a| {
        a.x(0).flatten(a.attrs.int("start_dim").unwrap_or(0), a.attrs.int("end_dim").unwrap_or(-1))
    };
    "cat" => |a| Tensor::cat(&a.all(), a.dim_or_first());
    "stack" => |a| Tensor::stack(&a.all(), a.dim_or_first());
    "split" => |a| match a.attrs.get("split_size") {
        Some(sizes) if sizes.is_array() => {
            let sizes: Vec<usize> = list(sizes).iter().map(|size| size.as_u64().unwrap_or(0) as usize).collect();
            a.x(0).split_with_sizes(&sizes, a.dim_or_first())
        }
        _ => a.x(0).split(a.size("split_size"), a.dim_or_first()),
    };
    "chunk" => |a| a.x(0).chunk(a.size("chunks"), a.dim_or_first());
    "narrow" => |a| a.x(0).narrow(a.dim("dim"), a.dim("start"), a.size("length"));
    "slice" => |a| {
        let step = a.attrs.size("step").unwrap_or(1);
        a.x(0).slice(a.dim_or_first(), a.attrs.int("start"), a.attrs.int("end"), step)
    };
    "flip" => |a| a.x(0).flip(a.dims("dims"));
    "roll" => |a| a.x(0).roll(a.dims("shifts"), a.dims("dims"));
    "repeat" => |a| a.x(0).repeat(a.dims("repeats"));
    "tril" => |a| a.x(0).tril(a.attrs.int("diagonal").unwrap_or(0));
    "triu" => |a| a.x(0).triu(a.attrs.int("diagonal").unwrap_or(0));
    "pad" => |a| match a.attrs.number("value") {
        Some(value) => a.x(0).pad_value(a.dims("pad"), value),
        None => a.x(0).pad(a.dims("pad")),
    };

    // Indexing
    "index_select" => |a| a.x(0).index_select(a.dim("dim"), a.x(1));
    "gather" => |a| a.x(0).gather(a.dim("dim"), a.x(1));
    "scatter_add" => |a| a.x(0).scatter_add(a.dim("dim"), a.x(1), a.x(2));
    "masked_fill" => |a| a.x(0).masked_fill(a.x(1), a.number("value"));
    "embedding" => |a| match a.attrs.int("padding_idx") {
        Some(padding) => a.x(0).embedding_padded(a.x(1), padding),
        None => a.x(0).embedding(a.x(1)),
    };

    // Norms
    "layer_norm" => |a| a.x(0).layer_norm(a.dims("normalized_shape"), a.optional(1), a.optional(2), a.eps());
    "rms_norm" => |a| a.x(0).rms_norm(a.dims("normalized_shape"), a.optional(1), a.eps());
    "group_norm" => |a| a.x(0).group_norm(a.size("num_groups"), a.optional(1), a.optional(2), a.eps());
    "batch_norm" => |a| if a.attrs.flag("training").unwrap_or(false) {
        let momentum = a.attrs.number("momentum").unwrap_or(0.1);
        let BatchNorm { output, running_mean, running_var } =
            a.x(0).batch_norm_train(a.x(1), a.x(2), a.optional(3), a.optional(4), momentum, a.eps());
        vec![output, running_mean, running_var]
    } else {
        vec![a.x(0).batch_norm(a.x(1), a.x(2), a.optional(3), a.optional(4), a.eps())]
    };
    "dropout" => |a| {
        a.x(0).dropout(a.attrs.number("p").unwrap_or(0.5), a.attrs.flag("training").unwrap_or(true))
    };

    // Windows
    "conv1d" => |a| a.x(0).conv1d(a.x(1), a.optional(2), a.conv());
    "conv2d" => |a| a.x(0).conv2d(a.x(1), a.optional(2), a.conv());
    "conv_transpose2d" => |a| a.x(0).conv_transpose2d(a.x(1), a.optional(2), a.conv());
    "max_pool2d" => |a| a.x(0).max_pool2d(a.pool());
    "avg_pool2d" => |a| a.x(0).avg_pool2d(a.pool());
    "adaptive_avg_pool2d" => |a| {
        let size = |i: usize| {
            let size = a.attrs.get("output_size").and_then(|sizes| sizes.get(i)).filter(|size| !size.is_null());
            size.map(|size| match size.as_u64() {
                Some(size) => size as usize,
                None => Fault::Impossible(format!("output_size {size} as a usize")).raise(),
            })
        };
        a.x(0).adaptive_avg_pool2d([size(0), size(1)])
    };

    "scaled_dot_product_attention" => |a| {
        let is_causal = a.attrs.flag("is_causal").unwrap_or(false);
        a.x(0).scaled_dot_product_attention(a.x(1), a.x(2), a.optional(3), is_causal, a.attrs.number("scale"))
    };
}

/// Calls the operation with this name.
pub fn call(name: &str, args: &Args) -> Vec<Tensor> {
    match OPS.iter().find(|(op, _)| *op == name) {
        Some((_, call)) => call(args).0,
        None => Fault::NotThere(name.to_owned()).raise(),
    }
}

/// Checks a case of one operation: its results, then the gradient of each operand.
pub fn check(case: &Case) -> Result<(), String> {
    let grads = case.list("grads");
    let wanted = |i: usize| grads.get(i).is_some_and(|want| !want.is_null());
    let operand = |(i, name): (usize, &serde_json::Value)| {
        let tensor = (!name.is_null()).then(|| case.tensor(name))?;
        Some(if wanted(i) { tensor.requires_grad() } else { tensor })
    };
    let tensors: Vec<Option<Tensor>> = case.list("inputs").iter().enumerate().map(operand).collect();
    let results = call(case.op(), &Args { tensors: &tensors, attrs: case.attrs(), device: case.device });

    let one = |single: &str, several: &str| match &case.json[single] {
        serde_json::Value::Null => case.list(several).to_vec(),
        name => vec![name.clone()],
    };
    let outputs = one("output", "outputs");
    if results.len() != outputs.len() {
        return Err(format!("{} results, not {}", results.len(), outputs.len()));
    }
    // The backward pass is recorded before anything is read, as in a training step.
    let seeds = one("grad_output", "grad_outputs");
    let seeded = || results.iter().zip(&seeds).filter(|(_, seed)| !seed.is_null());
    if !seeds.is_empty() {
        let gradients: Vec<Tensor> = seeded().map(|(_, seed)| case.tensor(seed)).collect();
        let results: Vec<&Tensor> = seeded().map(|(result, _)| result).collect();
        autograd::backward(&results, &gradients.iter().collect::<Vec<_>>(), false);
    }
    for (i, (got, want)) in results.iter().zip(&outputs).enumerate() {
        compare::tensor(case, &format!("output {i}"), got, want)?;
    }
    for (i, want) in grads.iter().enumerate() {
        let gradient = tensors.get(i).and_then(Option::as_ref).and_then(Tensor::grad);
        compare::gradient(case, &format!("operand {i}"), gradient, want)?;
    }
    Ok(())
}

impl Args<'_> {
    pub fn x(&self, i: usize) -> &Tensor {
        self.optional(i).unwrap_or_else(|| Fault::Malformed(format!("operand {i} is missing")).raise())
    }

    pub fn optional(&self, i: usize) -> Option<&Tensor> {
        self.tensors.get(i).and_then(Option::as_ref)
    }

    fn all(&self) -> Vec<&Tensor> {
        self.tensors.iter().flatten().collect()
    }

    /// The second operand: a tensor or a number.
    fn operand(&self, key: &str) -> Operand {
        match self.optional(1) {
            Some(tensor) => tensor.into(),
            None => self.number(key).into(),
        }
    }

    pub fn number(&self, key: &str) -> f64 {
        self.attrs.number(key).unwrap_or_else(|| missing(key))
    }

    pub fn dim(&self, key: &str) -> i64 {
        self.attrs.int(key).unwrap_or_else(|| missing(key))
    }

    fn dim_or_first(&self) -> i64 {
        self.attrs.int("dim").unwrap_or(0)
    }

    pub fn size(&self, key: &str) -> usize {
        self.attrs.size(key).unwrap_or_else(|| missing(key))
    }

    /// An empty list means all dims, as in PyTorch.
    pub fn dims(&self, key: &str) -> Vec<i64> {
        self.attrs.ints(key).unwrap_or_default()
    }

    fn keepdim(&self) -> bool {
        self.attrs.flag("keepdim").unwrap_or(false)
    }

    pub fn eps(&self) -> f64 {
        self.attrs.number("eps").unwrap_or(1e-5)
    }

    pub fn reduction(&self) -> Reduction {
        match self.attrs.text("reduction") {
            Some("none") => Reduction::None,
            Some("mean") | None => Reduction::Mean,
            Some("sum") => Reduction::Sum,
            Some("batchmean") => Reduction::BatchMean,
            Some(other) => Fault::Impossible(format!("the reduction {other}")).raise(),
        }
    }

    pub fn classes(&self) -> CrossEntropyOptions {
        CrossEntropyOptions {
            weight: self.optional(2).cloned(),
            ignore_index: self.attrs.int("ignore_index").unwrap_or(-100),
            label_smoothing: self.attrs.number("label_smoothing").unwrap_or(0.0),
            reduction: self.reduction(),
        }
    }

    pub fn conv<const N: usize>(&self) -> ConvOptions<N> {
        let plain = ConvOptions::default();
        ConvOptions {
            stride: self.attrs.sizes("stride").unwrap_or(plain.stride),
            padding: self.attrs.sizes("padding").unwrap_or(plain.padding),
            dilation: self.attrs.sizes("dilation").unwrap_or(plain.dilation),
            groups: self.attrs.size("groups").unwrap_or(plain.groups),
            output_padding: self.attrs.sizes("output_padding").unwrap_or(plain.output_padding),
        }
    }

    pub fn pool(&self) -> PoolOptions {
        let plain =
            PoolOptions::new(self.attrs.sizes("kernel_size").unwrap_or_else(|| missing("kernel_size")));
        PoolOptions {
            stride: self.attrs.sizes("stride").unwrap_or(plain.stride),
            padding: self.attrs.sizes("padding").unwrap_or(plain.padding),
            dilation: self.attrs.sizes("dilation").unwrap_or(plain.dilation),
            ceil_mode: self.attrs.flag("ceil_mode").unwrap_or(plain.ceil_mode),
            count_include_pad: self.attrs.flag("count_include_pad").unwrap_or(plain.count_include_pad),
            ..plain
        }
    }
}

fn missing(key: &str) -> ! {
    Fault::Malformed(format!("there is no {key}")).raise()
}

impl From<Tensor> for Results {
    fn from(tensor: Tensor) -> Results {
        Results(vec![tensor])
    }
}

impl From<Vec<Tensor>> for Results {
    fn from(tensors: Vec<Tensor>) -> Results {
        Results(tensors)
    }
}
