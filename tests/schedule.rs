//! Plans of the scheduler, counted on the null device.

mod common;

use common::Host;
use wgrad::{AdapterKind, Counters, DType, Device, Limits, Tensor, Var, autograd};

fn null(kind: AdapterKind) -> Device {
    Device::null(Limits { kind, storage_buffers: 32, ..Limits::webgpu() })
}

fn kinds() -> [Device; 2] {
    [null(AdapterKind::Discrete), null(AdapterKind::Software)]
}

fn leaf(shape: &[usize], device: &Device) -> Tensor {
    Tensor::new(vec![0f32; shape.iter().product()], shape, device)
}

/// The counters of the device for `f`; `bytes_live` and `bytes_peak` are the values after it.
fn during(device: &Device, f: impl FnOnce()) -> Counters {
    let before = device.counters();
    f();
    let mut after = device.counters();
    after.kernels -= before.kernels;
    after.plans -= before.plans;
    after.runs -= before.runs;
    after
}

#[test]
fn kernels_of_small_graphs() {
    type Graph = fn(&Tensor, &Tensor) -> Vec<Tensor>;
    let table: &[(&str, Graph, usize)] = &[
        ("an elementwise chain", |x, y| vec![((x * y + 1.0).exp() - y).tanh()], 1),
        ("a chain and its sum", |x, y| vec![(x * y).exp().sum_dim(1, false)], 1),
        ("a sum and what follows it", |x, _| vec![x.sum_dim(1, true).sqrt() + 1.0], 1),
        ("two sums of one tensor", |x, _| vec![x.sum_dim(1, false), x.square().sum_dim(1, false)], 1),
        (
            "two sums and what follows each",
            |x, _| vec![x.sum_dim(1, false).exp(), x.square().sum_dim(1, false) * 2.0],
            1,
        ),
        ("what follows two sums", |x, _| vec![x.sum_dim(1, true).exp() * x.square().sum_dim(1, true)], 1),
        (
            "a sum that needs its sibling",
            |x, _| {
                let mean = x.sum_dim(1, true) / 6.0;
                vec![(x - &mean).square().sum_dim(1, true).sqrt() * &mean]
            },
            2,
        ),
        ("a value and its sums", |x, y| vec![(x * y).sum_dim(0, false), x * y + x], 1),
        (
            "a sum of held values",
            |x, _| {
                let y = x.exp();
                vec![y.sum_dim(1, false), y]
            },
            1,
        ),
        (
            "a sum and what needs it in every place",
            |x, _| vec![x.sum_dim(1, true), x - x.sum_dim(1, true)],
            2,
        ),
        ("a product and what follows it", |x, y| vec![(x.matmul(&y.t()) + 1.0).relu()], 1),
        ("the transpose of a product", |x, y| vec![x.matmul(&y.t()).t().exp()], 1),
        ("two results that share an operand", |x, y| vec![x * y, x + y], 1),
        ("two results that share none", |x, y| vec![x * 2.0, y + 1.0], 2),
        ("a broadcast operand", |x, y| vec![x + y.narrow(0, 0, 1)], 1),
        ("movement alone", |x, _| vec![x.t().narrow(0, 1, 3)], 0),
        ("movement inside", |x, y| vec![x.t().flip(0) * y.t()], 1),
        // The exponentials read two buffers, so the kernel that sums them writes them instead of computing them twice.
        (
            "a softmax in primitives",
            |x, _| {
                let exp = (x - x.amax(1, true)).exp();
                vec![&exp / exp.sum_dim(1, true)]
            },
            3,
        ),
        ("a softmax", |x, _| vec![x.softmax(1)], 1),
        ("a matrix product", |x, y| vec![x.matmul(&y.t())], 1),
        ("a product of products", |x, y| vec![x.matmul(&y.t()).matmul(x)], 2),
        (
            "a gather in a chain",
            |x, _| vec![x.gather(0, &Tensor::arange(8, x.device()).reshape([8, 1])) * 2.0],
            1,
        ),
        ("a sum of all, in one stage", |x, _| vec![x.sum()], 1),
        (
            "two results of one index space",
            |x, y| {
                let z = x * y;
                vec![z.exp(), z]
            },
            1,
        ),
        ("a dropout mask", |x, _| vec![Tensor::rand(x.shape(), x.device()).lt(0.5).where_(x, 0.0)], 1),
        ("a concatenation", |x, y| vec![Tensor::cat(&[x, y], 1)], 1),
    ];
    for device in kinds() {
        let (x, y) = (leaf(&[8, 6], &device), leaf(&[8, 6], &device));
        for (name, graph, kernels) in table {
            let did = during(&device, || {
                let places: Vec<Var> = graph(&x, &y).into_iter().map(Var::buffer).collect();
                places[0].tensor().realize().unwrap();
            });
            assert_eq!(did.kernels, *kernels, "{name}");
        }
    }
}

#[test]
fn kernels_of_gradients() {
    for device in kinds() {
        let x = leaf(&[8, 6], &device).requires_grad();
        // The forward pass is a sum, and the gradient is one kernel that recomputes the operand of relu.
        let did = during(&device, || {
            let loss = (&x * 2.0).relu().sum();
            let gradient = autograd::grad(&loss, &[&x], false)[0].clone().unwrap();
            loss.realize().unwrap();
            gradient.realize().unwrap();
        });
        assert_eq!(did.kernels, 2, "relu, forward and backward");
        // Three gradients of one expression over one index space.
        let leaves = [0, 1, 2].map(|_| leaf(&[64], &device).requires_grad());
        let did = during(&device, || {
            let loss = (&leaves[0] * &leaves[1] * &leaves[2]).sum();
            let vars: Vec<Var> = autograd::grad(&loss, &leaves.each_ref(), false)
                .into_iter()
                .map(|gradient| Var::buffer(gradient.unwrap()))
                .collect();
            vars[0].tensor().realize().unwrap();
        });
        assert!(did.kernels <= 3, "three gradients took {} kernels", did.kernels);
    }
}

/// A held intermediate value is written by the kernel that computes it.
#[test]
fn a_held_intermediate_is_written_by_the_same_kernel() {
    for device in kinds() {
        let x = leaf(&[1000], &device);
        let middle = x.exp();
        let end = &middle * 2.0 + 1.0;
        let did = during(&device, || {
            end.realize().unwrap();
            middle.realize().unwrap();
        });
        assert_eq!((did.kernels, did.runs), (1, 1));
    }
}

#[test]
fn a_value_is_computed_once() {
    for device in kinds() {
        let x = leaf(&[1000], &device);
        let y = x.exp().sum();
        let did = during(&device, || {
            y.realize().unwrap();
            y.item().unwrap();
            let _again = y.clone().realize().unwrap();
        });
        assert_eq!(did.runs, 1);
    }
}

/// A chain that rebinds one variable overwrites its own buffer.
#[test]
fn an_operand_that_is_not_held_is_overwritten() {
    for device in kinds() {
        let mut x = &leaf(&[1000], &device) * 1.0;
        x.realize().unwrap();
        let did = during(&device, || {
            for _ in 0..100 {
                x = &x * 1.1;
                x.realize().unwrap();
            }
        });
        // The first leaf is dropped, and one buffer is reused.
        assert_eq!((did.kernels, did.bytes_live), (100, 4000));
        assert!(did.bytes_peak <= 8000, "{} bytes at the most", did.bytes_peak);
        assert!(did.plans <= 2, "{} plans for one step", did.plans);
    }
}

/// As above, but the assignment drops the old operand only after the new one was realized.
#[test]
fn a_held_operand_is_not_overwritten() {
    let x = leaf(&[1000], &null(AdapterKind::Discrete));
    let device = x.device().clone();
    let (clone, view) = (x.clone(), x.detach().reshape([10, 100]));
    let y = &x * 2.0;
    drop(x);
    y.realize().unwrap();
    assert_eq!(device.counters().bytes_live, 8000, "a clone and a view forbid donation");
    drop((clone, view));
    assert_eq!(device.counters().bytes_live, 4000);
}

/// On devices that compute: other references to an operand read the unchanged value.
#[test]
fn a_held_operand_keeps_its_value() {
    for device in [Device::cpu(), common::gpu()] {
        let start = || &Tensor::new([1.0, 2.0, 3.0, 4.0], [4], &device) * 1.0;
        let want = [1.0, 2.0, 3.0, 4.0];
        let realised = || start().realize().unwrap().clone();

        let (x, clone) = {
            let x = realised();
            (x.clone(), x)
        };
        let y = &x + 1.0;
        drop(x);
        y.realize().unwrap();
        assert_eq!(clone.to_vec::<f32>().unwrap(), want, "a clone");

        let x = realised();
        let view = x.detach().flip(0);
        view.realize().unwrap();
        let y = &x + 1.0;
        drop(x);
        y.realize().unwrap();
        assert_eq!(view.flip(0).to_vec::<f32>().unwrap(), want, "a view");

        let x = realised();
        let pending = &x * 10.0;
        let y = &x + 1.0;
        drop(x);
        y.realize().unwrap();
        assert_eq!(pending.to_vec::<f32>().unwrap(), want.map(|x| x * 10.0), "another pending node");

        let x = realised().requires_grad();
        let loss = x.square().sum();
        drop(x);
        loss.item().unwrap();
        let var = Var::parameter(realised());
        let loss = (var.tensor() * var.tensor()).sum();
        var.set(var.tensor() * 0.5);
        var.tensor().realize().unwrap();
        loss.backward();
        assert_eq!(loss.item().unwrap(), 30.0, "a graph that is still to be differentiated");
        assert_eq!(var.tensor().to_vec::<f32>().unwrap(), want.map(|x| x * 0.5));
    }
}

/// The cache has 256 plans. A plan that is used in every step is not evicted, however many others are created.
#[test]
fn the_least_recently_used_plan_is_evicted() {
    let device = null(AdapterKind::Discrete);
    let plans_of = |size: usize| {
        let run = || drop(leaf(&[size], &device).exp().realize().unwrap().clone());
        during(&device, run).plans
    };
    assert_eq!((plans_of(1), plans_of(2)), (1, 1));
    for other in 3..600 {
        assert_eq!((plans_of(other), plans_of(1)), (1, 0), "beside {other} others");
    }
    assert_eq!(plans_of(2), 1, "it was not used for long");
}

#[test]
fn plans_are_cached_by_structure() {
    for device in kinds() {
        let x = leaf(&[100], &device);
        let plans = |f: &dyn Fn()| during(&device, f).plans;
        let scaled = |x: &Tensor, rate: f64| {
            (x * rate + 1.0).sum().realize().unwrap();
        };
        assert_eq!(plans(&|| scaled(&x, 0.1)), 1);
        assert_eq!(plans(&|| (0..10).for_each(|i| scaled(&x, f64::from(i)))), 0, "another scalar");
        let doubled = |x: Tensor, drop_it: bool| {
            let y = &x * 2.0;
            let _kept = (!drop_it).then_some(x);
            y.realize().unwrap();
        };
        assert_eq!(plans(&|| doubled(leaf(&[100], &device), false)), 1);
        assert_eq!(plans(&|| doubled(leaf(&[100], &device), true)), 1, "an operand that may be written over");
        assert_eq!(plans(&|| scaled(&leaf(&[101], &device), 0.1)), 1, "another shape");
        let sum = |a: &Tensor, b: &Tensor| {
            (a + b).realize().unwrap();
        };
        let other = leaf(&[100], &device);
        assert_eq!(plans(&|| sum(&x, &x)), 1, "a + a");
        assert_eq!(plans(&|| sum(&x, &other)), 1, "a + b");
        assert_eq!(plans(&|| sum(&other, &x)), 0, "b + a");
        assert_eq!(
            plans(&|| {
                Tensor::rand([100], &device).realize().unwrap();
            }),
            1
        );
        assert_eq!(
            plans(&|| {
                Tensor::rand([100], &device).realize().unwrap();
            }),
            0,
            "another counter"
        );
        assert_eq!(
            plans(&|| {
                x.slice(0, Some(1), None, 1).exp().realize().unwrap();
            }),
            1
        );
        assert_eq!(
            plans(&|| {
                x.slice(0, Some(2), None, 1).exp().realize().unwrap();
            }),
            1,
            "another slice"
        );
    }
}

/// After the first steps a training step neither takes more memory nor creates plans.
#[test]
fn a_repeated_training_step_plans_and_allocates_nothing() {
    for device in kinds() {
        let w = Var::parameter(leaf(&[20, 10], &device));
        let (x, y) = (leaf(&[32, 20], &device), leaf(&[32, 10], &device));
        let step = |rate: f64| {
            let loss = (x.matmul(&w.tensor()).tanh() - &y).square().mean();
            loss.backward();
            w.set(w.tensor() - w.grad().unwrap() * rate);
            loss.item().unwrap();
        };
        (0..3).for_each(|_| step(0.1));
        let before = device.counters();
        let did = during(&device, || (0..50).for_each(|i| step(0.1 / f64::from(i + 1))));
        assert_eq!((did.plans, did.bytes_live, did.bytes_peak), (0, before.bytes_live, before.bytes_peak));
        assert_eq!(did.runs % 50, 0);
    }
}

/// WebGPU's default of 8 storage buffers splits a wide expression, and 32 do not.
#[test]
fn kernels_bind_no_more_storage_buffers_than_the_limit() {
    let sum = |device: &Device| {
        let xs: Vec<Tensor> = (0..20).map(|_| leaf(&[64], device)).collect();
        let all = xs[1..].iter().fold(xs[0].clone(), |sum, x| sum + x);
        during(device, || drop(all.realize().unwrap().clone())).kernels
    };
    assert_eq!(sum(&null(AdapterKind::Discrete)), 1);
    let few = sum(&Device::null(Limits::webgpu()));
    assert!((3..=4).contains(&few), "{few} kernels of at most 8 buffers for 20 operands");
}

// Minimal cases of mistakes that random graphs have found.

/// The results on the GPU and on the CPU reference, computed in one plan.
#[track_caller]
fn agrees(name: &str, graph: fn(&Tensor, &Tensor) -> Vec<Tensor>) {
    agrees_over(&[6, 6], name, graph);
}

fn agrees_over(shape: &[usize], name: &str, graph: fn(&Tensor, &Tensor) -> Vec<Tensor>) {
    let run = |device: &Device| {
        let [x, index] = [Host::draw(1, shape, -1.0..1.0), Host::draw(2, shape, 0.0..6.0)];
        let results = graph(&x.tensor(device), &index.tensor(device));
        results.iter().map(Host::read).collect::<Vec<_>>()
    };
    for (got, want) in run(&common::gpu()).iter().zip(&run(&Device::cpu_rounded())) {
        got.assert_close(name, want, common::SUMS);
    }
}

/// A gather reads its operand from memory, whether it is the head of its kernel or not. It must neither compute it
/// inside nor write it as a second result.
#[test]
fn a_gather_fuses_with_its_consumers() {
    agrees("of a computed value", |x, index| vec![x.exp().gather(0, &index.to_dtype(DType::I32))]);
    agrees("of a value that is also an output", |x, index| {
        let y = x.exp();
        vec![y.gather(0, &index.to_dtype(DType::I32)), y]
    });
    agrees("of the value that the index is made of", |_, index| {
        let y = index * 0.9;
        vec![y.gather(1, &y.to_dtype(DType::I32)), y]
    });
    agrees("as the gradient of a scatter", |x, index| {
        let (src, index) = (x.detach().requires_grad(), index.to_dtype(DType::I32));
        let sums = x.zeros_like().scatter_add(0, &index, &src).square().sum();
        autograd::grad(&sums, &[&src], false).into_iter().flatten().collect()
    });
}

/// The results, computed in one plan with a value that depends on all of them.
fn in_one_run(mut results: Vec<Tensor>) -> Vec<Tensor> {
    let all = results.iter().map(Tensor::sum).reduce(|a, b| a + b).expect("there are results");
    results.insert(0, all);
    results
}

/// Each of these kernels could write the value that the next one's sum needs.
#[test]
fn merging_creates_no_cycle() {
    type Graph = fn(&Tensor, &Tensor) -> Vec<Tensor>;
    let table: [(&str, Graph); 3] = [
        ("a cycle of two", |x, y| {
            let (a, b) = (x.exp(), y.sin());
            in_one_run(vec![&a + b.sum(), &b + a.sum(), a, b])
        }),
        ("a cycle of three", |x, y| {
            let (a, b, c) = (x.exp(), y.sin(), (x * y).tanh());
            in_one_run(vec![&a + b.sum(), &b + c.sum(), &c + a.sum(), a, b, c])
        }),
        ("through a product", |x, y| {
            let (a, b) = (x.exp(), y.sin());
            in_one_run(vec![&a + b.matmul(&b), &b + a.matmul(&a), a, b])
        }),
    ];
    for (name, graph) in table {
        agrees(name, graph);
        for device in kinds() {
            graph(&leaf(&[6, 6], &device), &leaf(&[6, 6], &device))[0].realize().unwrap();
        }
    }
    // Over large spaces a mean continues from partial results of another kernel, unless that kernel depends on it.
    let large: [(&str, Graph); 3] = [
        ("columns about the mean of all", |x, _| vec![(x - x.mean()).square().mean_dim(0, false)]),
        ("columns, and the mean of all", |x, y| {
            let z = x * y;
            in_one_run(vec![z.mean_dim(0, false), z.square().mean(), z.tanh()])
        }),
        ("the root of a mean square, and its gradients", |x, y| {
            let [x, y] = [x, y].map(|t| t.detach().requires_grad());
            let loss = (&x * 0.5 - y.mean_dim(0, false)).square().mean().sqrt();
            autograd::grad(&loss, &[&x, &y], false).into_iter().flatten().chain([loss]).collect()
        }),
    ];
    for (name, graph) in large {
        agrees_over(&[128, 256], name, graph);
        for device in kinds() {
            graph(&leaf(&[128, 256], &device), &leaf(&[128, 256], &device))[0].realize().unwrap();
        }
    }
}

/// A kernel loads an element once, however many paths lead to it.
#[test]
fn equal_views_are_loaded_once() {
    agrees("two flips", |x, _| vec![x * x.flip(0).flip(0)]);
    agrees("two transposes of a computed value", |x, y| {
        let z = x + y;
        vec![z.exp() * z.t().t()]
    });
    agrees("a slice and a slice of a slice", |x, _| {
        vec![x.narrow(0, 2, 3) - x.narrow(0, 1, 5).narrow(0, 1, 3)]
    });
    agrees("under a gather", |x, index| {
        let (index, back) = (index.to_dtype(DType::I32), index.t().t().to_dtype(DType::I32));
        vec![x.gather(0, &index) + x.gather(0, &back)]
    });
}

/// An operand of `eq` is materialized: recomputed in two kernels it could differ in the last bit.
#[test]
fn operands_of_eq_are_computed_once() {
    let bytes = |compare: fn(&Tensor, &Tensor) -> Tensor| {
        kinds().map(|device| {
            let x = leaf(&[8, 6], &device);
            let found = {
                let y = &x * 0.37 + 0.11;
                compare(&y, &y.amax(1, true))
            };
            during(&device, || drop(found.realize().unwrap().clone())).bytes_peak
        })
    };
    let computed_in_both = bytes(|y, largest| y.lt(largest));
    let written = bytes(|y, largest| y.eq(largest));
    assert_eq!(written, computed_in_both.map(|bytes| bytes + 8 * 6 * 4));
    agrees("a maximum is found", |x, _| {
        let y = (x * 0.37 + 0.11) * x + x.sin();
        vec![y.eq(y.amax(1, true)).sum_dim(1, false)]
    });
}

/// An elementwise consumer of a product is its epilogue: also if it reads the product transposed, or if the product itself
/// is an output, in any order.
#[test]
fn an_epilogue_changes_nothing() {
    agrees("a product", |x, y| vec![(x.matmul(y) + y.narrow(0, 0, 1)).relu()]);
    agrees("a product that is also an output", |x, y| in_one_run(vec![x.matmul(y) * 2.0, x.matmul(y)]));
    agrees("one that a later kernel wants", |x, y| {
        let z = x.matmul(y);
        vec![z.relu().matmul(&z.tanh()), z.relu() * y]
    });
    agrees("the transpose of a product", |x, y| vec![x.matmul(y).t() * x + y]);
    agrees("the transpose, wanted too", |x, y| {
        let z = x.matmul(y).t();
        vec![(&z * x).sum(), z.matmul(x), z]
    });
    agrees("a product and its transpose", |x, y| {
        let z = x.matmul(y);
        vec![&z + z.t()]
    });
    agrees("a product with its operand", |x, y| vec![x.matmul(y) * x + x.t()]);
    agrees("a product of two products", |x, y| vec![x.matmul(y) * y.matmul(x)]);
    agrees("a reduction", |x, y| vec![(x.sum_dim(0, false) * y.narrow(0, 1, 1).squeeze(0)).exp()]);
    agrees("reductions that meet", |x, y| vec![x.mean() + (x * 2.0).mean() * x.square().mean() + y.mean()]);
    agrees("a reduction and its siblings", |x, y| {
        in_one_run(vec![(x * y).sum_dim(0, false) * 3.0, (x + y).amax(0, false), x.sum_dim(0, false)])
    });
    agrees("two sums and what follows each", |x, y| {
        let sums = [x * y, x.square()].map(|z| z.sum_dim(1, false));
        vec![sums[0].exp(), &sums[1] * 2.0 + y.narrow(0, 0, 1).reshape([6]), sums[1].clone()]
    });
    agrees("two sums, and a result that both make", |x, y| {
        vec![x.sum_dim(0, false) * y.narrow(0, 0, 1).reshape([6]) - (x * y).sum_dim(0, false)]
    });
    agrees("a sum that needs its sibling", |x, _| {
        let mean = x.sum_dim(1, true) * (1.0 / 6.0);
        vec![(x - &mean).square().sum_dim(1, true).sqrt() * &mean]
    });
    agrees("a scatter", |x, y| vec![x.zeros_like().scatter_add(0, &y.to_dtype(DType::I32), x) * 0.5 + x]);
    agrees("of a large K, in parts", |x, y| {
        let wide = [x, y].map(|x| x.reshape([1, 36]).expand([2000, 36]).reshape([1, 72_000]));
        vec![wide[0].matmul(&wide[1].t()) * 1e-3 + 1.0]
    });
}

/// A reduction's kernel writes elementwise outputs: over rows, columns and all dims, vectorized or not, with an epilogue, and
/// in place of an operand.
#[test]
fn a_reduction_writes_elementwise_outputs() {
    type Graph = fn(Tensor, &Tensor) -> Vec<Tensor>;
    let table: [(&str, Graph, usize); 4] = [
        ("rows", |x, y| vec![(&x * y).square().sum_dim(1, false).sqrt(), (&x * y).tanh() - y], 1),
        ("columns", |x, y| vec![(&x * y).square().sum_dim(0, false) * 0.5, &x * y, y.lt(&x)], 1),
        (
            "columns, and all of them",
            |x, y| {
                let z = (&x * y + 1.0).tanh();
                vec![z.sum(), z.square().sum_dim(0, false), &z * x - y, z.amax(0, true) - 1.0]
            },
            2,
        ),
        (
            "a middle dim",
            |x, y| {
                let [x, y] = [&x, y].map(|x| x.reshape([2, x.shape()[0] as i64 / 2, -1]));
                vec![(&x * &y).square().sum_dim(1, false), &x - &y, x.exp()]
            },
            1,
        ),
    ];
    // Vars are computed in one plan, and x may be overwritten.
    let run = |graph: Graph, x: Tensor, y: &Tensor| {
        let places: Vec<Var> = graph(x, y).into_iter().map(Var::buffer).collect();
        places[0].tensor().realize().unwrap();
        places
    };
    for (name, graph, kernels) in table {
        for shape in [[6, 6], [130, 128]] {
            let [got, want] = [common::gpu(), Device::cpu_rounded()].map(|device| {
                let draw = |seed, range| Host::draw(seed, &shape, range).tensor(&device);
                let places = run(graph, draw(1, -1.0..1.0), &draw(2, 0.0..6.0));
                places.iter().map(|place| Host::read(&place.tensor())).collect::<Vec<_>>()
            });
            for (got, want) in got.iter().zip(&want) {
                got.assert_close(name, want, common::SUMS);
            }
            for device in kinds() {
                let (x, y) = (leaf(&shape, &device), leaf(&shape, &device));
                let did = during(&device, || drop(run(graph, x, &y)));
                assert_eq!(did.kernels, kernels, "{name} of {shape:?}");
            }
        }
    }
}

/// Two parameters whose updates read the old value of both.
#[test]
fn an_update_in_place_reads_before_it_writes() {
    let run = |device: &Device| {
        let [x, w, m] = [1, 2, 3].map(|seed| Host::draw(seed, &[9, 9], -1.0..1.0).tensor(device));
        let (w, m) = (Var::parameter(w), Var::buffer(m));
        for _ in 0..3 {
            let loss = x.matmul(&w.tensor()).tanh().sum();
            let gradient = autograd::grad(&loss, &[&w.tensor()], false).remove(0).unwrap();
            m.set(m.tensor() * 0.9 + gradient);
            w.set(w.tensor() - m.tensor() * 0.1);
            loss.realize().unwrap();
        }
        [Host::read(&w.tensor()), Host::read(&m.tensor())]
    };
    for (got, want) in run(&common::gpu()).iter().zip(run(&Device::cpu_rounded())) {
        got.assert_close("updated in place", &want, common::SUMS);
    }
}
