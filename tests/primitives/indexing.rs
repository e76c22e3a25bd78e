//! Gather, scatter and what is made of them; random numbers.

use crate::common::{EXACT, F32, Host, SUMS, check, check_gpu, gpu, indices};
use wgrad::{DType, Device, Generator, GpuOptions, Tensor};

fn index(shape: &[usize], n: usize) -> (Vec<i32>, Vec<usize>) {
    (indices(shape.len() as u64, shape.iter().product(), n), shape.to_vec())
}

/// The element of an index array at a coordinate.
fn named((data, shape): &(Vec<i32>, Vec<usize>), c: &[usize]) -> usize {
    data[c.iter().zip(shape).fold(0, |i, (x, size)| i * size + x)] as usize
}

#[test]
fn gather_along_each_dim() {
    let x = Host::draw(1, &[3, 4, 5], -1.0..1.0);
    for (dim, shape) in [(0, [6, 4, 5]), (1, [3, 7, 2]), (2, [2, 4, 1]), (1, [3, 0, 5])] {
        let index = index(&shape, x.shape[dim]);
        let want = Host::tabulate(&shape, |c| {
            let mut at = [c[0], c[1], c[2]];
            at[dim] = named(&index, c);
            x.at(at)
        });
        for dtype in [DType::I32, DType::U32] {
            let f = |xs: &[Tensor]| {
                let index = Tensor::new(&index.0, &index.1[..], xs[0].device()).to_dtype(dtype);
                xs[0].gather(dim as i64, &index)
            };
            check(&format!("gather {shape:?} along {dim}"), std::slice::from_ref(&x), &f, &want, EXACT);
        }
    }
}

#[test]
fn scatter_add_along_each_dim() {
    let room = [4, 5];
    for (dim, shape, source) in
        [(0, [6, 5], [6, 5]), (1, [3, 7], [4, 8]), (0, [2, 2], [2, 2]), (1, [4, 0], [4, 0])]
    {
        let index = index(&shape, room[dim]);
        let inputs = [Host::draw(1, &room, -1.0..1.0), Host::draw(2, &source, -1.0..1.0)];
        let mut want = inputs[0].clone();
        Host::tabulate(&shape, |c| {
            let mut at = [c[0], c[1]];
            at[dim] = named(&index, c);
            want.data[at[0] * room[1] + at[1]] += inputs[1].at([c[0], c[1]]);
            0.0
        });
        let f = |xs: &[Tensor]| {
            let index = Tensor::new(&index.0, &index.1[..], xs[0].device());
            xs[0].scatter_add(dim as i64, &index, &xs[1])
        };
        check(&format!("scatter_add {shape:?} along {dim}"), &inputs, &f, &want, F32);
    }
}

#[test]
fn scatter_add_of_integers_and_into_many_rows() {
    for device in [Device::cpu(), gpu()] {
        let index = Tensor::new([1, 1, 0, 1], [4], &device);
        let src = Tensor::new([i32::MAX, 1, 5, -2], [4], &device);
        let sums = Tensor::new([10, 0], [2], &device).scatter_add(0, &index, &src);
        assert_eq!(sums.to_vec::<i32>().unwrap(), [15, i32::MAX.wrapping_add(1).wrapping_sub(2)]);
    }
    // A histogram: whole numbers, so every order gives the same sums.
    let classes = indices(9, 3000, 11);
    let want: Vec<f64> =
        (0..11).map(|class| classes.iter().filter(|&&x| x == class).count() as f64).collect();
    for device in [Device::cpu(), gpu()] {
        let index = Tensor::new(&classes, [3000], &device);
        let counts = Tensor::zeros([11], &device).scatter_add(0, &index, &Tensor::ones([3000], &device));
        Host::read(&counts).assert_close("histogram", &Host::new(&want, &[11]), EXACT);
    }
}

#[test]
fn selecting_rows() {
    let x = Host::draw(1, &[4, 3], -1.0..1.0);
    let rows = [2, 0, 2, 3, 1];
    let want = Host::tabulate(&[5, 3], |c| x.at([rows[c[0]] as usize, c[1]]));
    let f = |xs: &[Tensor]| xs[0].index_select(0, &Tensor::new(rows, [5], xs[0].device()));
    check("index_select 0", std::slice::from_ref(&x), &f, &want, EXACT);
    let columns = [2, 2, 0];
    let want = Host::tabulate(&[4, 3], |c| x.at([c[0], columns[c[1]] as usize]));
    let f = |xs: &[Tensor]| xs[0].index_select(-1, &Tensor::new(columns, [3], xs[0].device()));
    check("index_select 1", std::slice::from_ref(&x), &f, &want, EXACT);
    let tokens = [1, 3, 3, 0, 2, 3];
    let want = Host::tabulate(&[2, 3, 3], |c| x.at([tokens[3 * c[0] + c[1]] as usize, c[2]]));
    let f = |xs: &[Tensor]| Tensor::new(tokens, [2, 3], xs[0].device()).embedding(&xs[0]);
    check("embedding", &[x], &f, &want, EXACT);
}

/// Gathers inside longer kernels: of a computed value, by a computed index, seen through movement.
#[test]
fn gather_among_other_operations() {
    let x = Host::draw(4, &[5, 3], -1.0..1.0);
    let rows = [4.0, 1.0, 2.0];
    let computed = |device: &Device| {
        let half = Tensor::new(rows.map(|x| x / 2.0 + 0.25), [3, 1], device);
        (half * 2.0).to_dtype(DType::I32).expand([3, 3])
    };
    let f = |xs: &[Tensor]| {
        let picked = xs[0].exp().gather(0, &computed(xs[0].device()));
        (picked * 2.0).t().flip(0) + 1.0
    };
    let want = Host::tabulate(&[3, 3], |c| 2.0 * x.at([rows[c[1]] as usize, 2 - c[0]]).exp() + 1.0);
    check("gather of a computed value", std::slice::from_ref(&x), &f, &want, SUMS);
    // Nothing is gathered in the padding, whatever index would be computed there.
    let f = |xs: &[Tensor]| {
        let index = computed(xs[0].device()) - 1;
        xs[0].gather(0, &index).pad([1, 0, 1, 1]) * 2.0
    };
    let want = Host::tabulate(&[5, 4], |c| match (c[0], c[1]) {
        (1..4, 1..) => 2.0 * x.at([rows[c[0] - 1] as usize - 1, c[1] - 1]),
        _ => 0.0,
    });
    check("gather, padded", &[x], &f, &want, F32);
}

/// An empty gather has no index that could be out of range.
#[test]
fn gather_of_nothing_among_other_elements() {
    let none = |shape: &[usize], device: &Device| Tensor::new([0f64; 0], shape, device);
    // A separate device, because the next read of the device would report a fault.
    for device in [Device::cpu(), Device::gpu_with(&GpuOptions::default()).unwrap()] {
        let index = Tensor::new([0; 0], [0], &device);
        let computed = &index + 1;
        let x = Tensor::new([1.0, 2.0], [2], &device);
        for index in [index, computed] {
            let picked = none(&[0], &device).gather(0, &index);
            assert_eq!((picked.pad([1, 1]) + 1.0).to_vec::<f32>().unwrap(), [1.0, 1.0], "{device}");
            assert_eq!(Tensor::cat(&[&x, &picked], 0).to_vec::<f32>().unwrap(), [1.0, 2.0], "{device}");
            let columns = none(&[2, 0], &device).index_select(1, &index).pad([1, 0]);
            assert_eq!((columns * 2.0).to_vec::<f32>().unwrap(), [0.0, 0.0], "{device}");
            let rows = none(&[0, 2], &device).gather(1, &index.reshape([0, 1])).pad([0, 0, 1, 1]);
            assert_eq!((rows * 2.0).to_vec::<f32>().unwrap(), [0.0, 0.0], "{device}");
        }
    }
}

/// Uniform numbers are a function of seed, counter and index: the same words on every device.
#[test]
fn random_numbers_agree_to_the_bit() {
    let draw = |device: &Device, run: fn(Tensor) -> Tensor| {
        wgrad::manual_seed(0xDEAD_BEEF_0000_0007);
        let _first = Tensor::rand([3], device);
        run(Tensor::rand([3, 5], device)).to_vec::<f32>().unwrap()
    };
    let mut generator = Generator::new(0xDEAD_BEEF_0000_0007);
    generator.uniform(1);
    let want = generator.uniform(15);
    for device in [Device::cpu(), gpu()] {
        assert_eq!(draw(&device, |x| x), want);
        // Seen through movement it is still a function of its own index.
        assert_eq!(draw(&device, |x| x.t().flip(0).flip(0).t()), want);
        assert_eq!(draw(&device, |x| (x.narrow(0, 1, 2) + 0.0).reshape([10])), want[5..]);
    }
}

/// Forward and backward, planned apart, see one mask.
#[test]
fn a_mask_is_the_same_in_both_passes() {
    for device in [Device::cpu(), gpu()] {
        wgrad::manual_seed(3);
        let x = Tensor::ones([1000], &device).requires_grad();
        let y = Tensor::rand([1000], &device).lt(0.5).where_(&x * 2.0, 0.0);
        let kept = y.to_vec::<f32>().unwrap();
        y.sum().backward();
        assert_eq!(x.grad().unwrap().to_vec::<f32>().unwrap(), kept);
        let count = kept.iter().filter(|&&x| x != 0.0).count();
        assert!((400..600).contains(&count), "{count} of 1000 kept");
    }
}

/// A kernel that reduces, or multiplies, cannot gather from its own results: other invocations compute them.
#[test]
fn a_gather_from_what_the_kernel_computes() {
    let inputs = [Host::draw(1, &[16, 32], -1.0..1.0), Host::draw(2, &[32, 16], -1.0..1.0)];
    let back = |x: &Tensor| {
        let index = Tensor::new((0..16).rev().collect::<Vec<i32>>(), [16], x.device());
        x.index_select(0, &index)
    };
    type Case<'a> = (&'a str, &'a dyn Fn(&[Tensor]) -> Tensor);
    let sum = |x: &Tensor| x.sum_dim(1, false);
    let cases: [Case; 4] = [
        ("a sum", &|xs| sum(&xs[0]) - back(&sum(&xs[0]))),
        ("two sums", &|xs| sum(&xs[0]) * back(&sum(&xs[0].square()))),
        ("a product", &|xs| xs[0].matmul(&xs[1]) - back(&xs[0].matmul(&xs[1]))),
        ("a scatter", &|xs| {
            let index = Tensor::new(indices(3, 512, 32), [16, 32], xs[0].device());
            let y = xs[0].scatter_add(1, &index, &xs[0]);
            &y - y.gather(1, &index)
        }),
    ];
    for (name, f) in cases {
        check_gpu(name, &inputs, f, SUMS, SUMS);
    }
}
