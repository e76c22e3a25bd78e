//! Movement: each operation against the source index of every element.

use crate::common::{EXACT, Host, check};
use wgrad::Tensor;

struct Case {
    name: &'static str,
    input: &'static [usize],
    run: fn(&Tensor) -> Tensor,
    shape: &'static [usize],
    /// The element of the input at a coordinate of the result, or 0 where there is none.
    from: fn(&Host, &[usize]) -> f64,
}

const CASES: &[Case] = &[
    Case {
        name: "reshape",
        input: &[2, 6],
        run: |x| x.reshape([3, -1]),
        shape: &[3, 4],
        from: |x, c| x.data[4 * c[0] + c[1]],
    },
    Case {
        name: "reshape of a transpose",
        input: &[2, 6],
        run: |x| x.t().reshape([4, 3]),
        shape: &[4, 3],
        from: |x, c| x.at([(3 * c[0] + c[1]) % 2, (3 * c[0] + c[1]) / 2]),
    },
    Case {
        name: "permute",
        input: &[2, 3, 4],
        run: |x| x.permute([2, 0, 1]),
        shape: &[4, 2, 3],
        from: |x, c| x.at([c[1], c[2], c[0]]),
    },
    Case {
        name: "transpose",
        input: &[2, 3, 4],
        run: |x| x.transpose(0, -1),
        shape: &[4, 3, 2],
        from: |x, c| x.at([c[2], c[1], c[0]]),
    },
    Case {
        name: "expand",
        input: &[3, 1],
        run: |x| x.expand([2, -1, 4]),
        shape: &[2, 3, 4],
        from: |x, c| x.at([c[1], 0]),
    },
    Case {
        name: "expand of a scalar",
        input: &[],
        run: |x| x.expand([5]),
        shape: &[5],
        from: |x, _| x.data[0],
    },
    Case {
        name: "expand to nothing",
        input: &[1, 3],
        run: |x| x.expand([0, 3]),
        shape: &[0, 3],
        from: |_, _| 0.0,
    },
    Case {
        name: "narrow",
        input: &[4, 5],
        run: |x| x.narrow(1, -3, 2),
        shape: &[4, 2],
        from: |x, c| x.at([c[0], c[1] + 2]),
    },
    Case {
        name: "narrow to nothing",
        input: &[4, 5],
        run: |x| x.narrow(0, 4, 0),
        shape: &[0, 5],
        from: |_, _| 0.0,
    },
    Case {
        name: "slice",
        input: &[3, 8],
        run: |x| x.slice(1, Some(1), Some(-1), 2),
        shape: &[3, 3],
        from: |x, c| x.at([c[0], 1 + 2 * c[1]]),
    },
    Case {
        name: "slice of an uneven length",
        input: &[7, 3],
        run: |x| x.slice(0, None, None, 3),
        shape: &[3, 3],
        from: |x, c| x.at([3 * c[0], c[1]]),
    },
    Case {
        name: "slice beyond the end",
        input: &[5],
        run: |x| x.slice(0, Some(-100), Some(100), 4),
        shape: &[2],
        from: |x, c| x.data[4 * c[0]],
    },
    Case {
        name: "slice from behind its end",
        input: &[5],
        run: |x| x.slice(0, Some(4), Some(2), 2),
        shape: &[0],
        from: |_, _| 0.0,
    },
    Case {
        name: "pad",
        input: &[2, 3],
        run: |x| x.pad([1, 2, 0, 1]),
        shape: &[3, 6],
        from: |x, c| if c[0] < 2 && (1..4).contains(&c[1]) { x.at([c[0], c[1] - 1]) } else { 0.0 },
    },
    Case {
        name: "pad that crops",
        input: &[4, 5],
        run: |x| x.pad([-2, 1, 1, -1]),
        shape: &[4, 4],
        from: |x, c| if c[0] >= 1 && c[1] < 3 { x.at([c[0] - 1, c[1] + 2]) } else { 0.0 },
    },
    Case {
        name: "pad of nothing",
        input: &[0, 2],
        run: |x| x.pad([0, 0, 2, 1]),
        shape: &[3, 2],
        from: |_, _| 0.0,
    },
    Case {
        name: "pad of a computed value, twice",
        input: &[2, 2],
        run: |x| ((x * x).pad([1, 0]).exp() + 1.0).pad([0, 0, 0, 1]),
        shape: &[3, 3],
        from: |x, c| match (c[0], c[1]) {
            (2, _) => 0.0,
            (_, 0) => 2.0,
            (i, j) => x.at([i, j - 1]).powi(2).exp() + 1.0,
        },
    },
    Case {
        name: "pad, reshape, flip",
        input: &[2, 3],
        run: |x| x.pad([1, 0]).reshape([4, 2]).flip([1]),
        shape: &[4, 2],
        from: |x, c| match (2 * c[0] + 1 - c[1]) % 4 {
            0 => 0.0,
            j => x.at([c[0] / 2, j - 1]),
        },
    },
    Case {
        name: "flip",
        input: &[3, 4],
        run: |x| x.flip([0, -1]),
        shape: &[3, 4],
        from: |x, c| x.at([2 - c[0], 3 - c[1]]),
    },
    Case {
        name: "flip of a padded slice",
        input: &[6],
        run: |x| x.narrow(0, 2, 3).pad([2, 1]).flip(0),
        shape: &[6],
        from: |x, c| if (1..4).contains(&c[0]) { x.data[5 - c[0]] } else { 0.0 },
    },
    Case {
        name: "squeeze all",
        input: &[1, 3, 1],
        run: |x| x.squeeze(()),
        shape: &[3],
        from: |x, c| x.at([0, c[0], 0]),
    },
    Case {
        name: "squeeze one",
        input: &[1, 3, 1],
        run: |x| x.squeeze(-1),
        shape: &[1, 3],
        from: |x, c| x.at([0, c[1], 0]),
    },
    Case {
        name: "unsqueeze",
        input: &[2, 3],
        run: |x| x.unsqueeze(-2),
        shape: &[2, 1, 3],
        from: |x, c| x.at([c[0], c[2]]),
    },
    Case {
        name: "flatten",
        input: &[2, 3, 4],
        run: |x| x.flatten(1, -1),
        shape: &[2, 12],
        from: |x, c| x.at([c[0], c[1] / 4, c[1] % 4]),
    },
    Case {
        name: "flatten of a scalar",
        input: &[],
        run: |x| x.flatten(0, -1),
        shape: &[1],
        from: |x, _| x.data[0],
    },
    Case {
        name: "select",
        input: &[2, 3, 4],
        run: |x| x.select(1, -1),
        shape: &[2, 4],
        from: |x, c| x.at([c[0], 2, c[1]]),
    },
    Case {
        name: "cat",
        input: &[2, 3],
        run: |x| Tensor::cat(&[x, &x.narrow(1, 0, 1), &x.flip(1), &x.narrow(1, 0, 0)], 1),
        shape: &[2, 7],
        from: |x, c| x.at([c[0], [0, 1, 2, 0, 2, 1, 0][c[1]]]),
    },
    Case {
        name: "stack",
        input: &[2, 3],
        run: |x| Tensor::stack(&[x, &(x * 2.0)], -1),
        shape: &[2, 3, 2],
        from: |x, c| x.at([c[0], c[1]]) * (1 + c[2]) as f64,
    },
    Case {
        name: "cat of many, one of them of nothing",
        input: &[2, 3],
        run: |x| {
            let pieces: Vec<Tensor> = (0..10).map(|i| x.narrow(1, 0, i % 4)).collect();
            Tensor::cat(&pieces.iter().collect::<Vec<_>>(), 1)
        },
        shape: &[2, 13],
        from: |x, c| x.at([c[0], [0, 0, 1, 0, 1, 2, 0, 0, 1, 0, 1, 2, 0][c[1]]]),
    },
    Case {
        name: "many pieces in another order",
        input: &[2, 19, 2],
        run: |x| {
            let pieces = x.split(2, 1);
            Tensor::cat(&pieces.iter().rev().collect::<Vec<_>>(), 1)
        },
        shape: &[2, 19, 2],
        from: |x, c| x.at([c[0], if c[1] == 0 { 18 } else { 17 - (c[1] - 1) / 2 * 2 - c[1] % 2 }, c[2]]),
    },
    Case {
        name: "many slices, of which two are not used",
        input: &[2, 12],
        run: |x| {
            let slices = x.unbind(1);
            Tensor::stack(&slices[1..11].iter().collect::<Vec<_>>(), 0)
        },
        shape: &[10, 2],
        from: |x, c| x.at([c[1], c[0] + 1]),
    },
    Case {
        name: "more slices than a node has outputs",
        input: &[260],
        run: |x| {
            let slices = x.unbind(0);
            Tensor::stack(&slices.iter().rev().collect::<Vec<_>>(), 0)
        },
        shape: &[260],
        from: |x, c| x.data[259 - c[0]],
    },
    Case {
        name: "a value used by three movements",
        input: &[3, 3],
        run: |x| {
            let y = x.exp();
            y.t() + y.flip(0) + y.narrow(0, 1, 1)
        },
        shape: &[3, 3],
        from: |x, c| x.at([c[1], c[0]]).exp() + x.at([2 - c[0], c[1]]).exp() + x.at([1, c[1]]).exp(),
    },
];

#[test]
fn movement() {
    for (seed, case) in CASES.iter().enumerate() {
        let input = Host::draw(seed as u64, case.input, -2.0..2.0);
        let want = Host::tabulate(case.shape, |coords| (case.from)(&input, coords));
        // Values that are only moved keep every bit; the few that are computed take a rounding or two.
        let computes = want.data.iter().any(|x| *x != 0.0 && !input.data.contains(x));
        let tolerance = if computes { crate::common::F32 } else { EXACT };
        check(case.name, &[input], &|xs| (case.run)(&xs[0]), &want, tolerance);
    }
}

/// The same with operands that are realized views, so that kernels read their layouts.
#[test]
fn movement_of_realised_views() {
    for device in [wgrad::Device::cpu(), crate::common::gpu()] {
        for (seed, case) in CASES.iter().enumerate() {
            let input = Host::draw(seed as u64, case.input, -2.0..2.0);
            let want = Host::tabulate(case.shape, |coords| (case.from)(&input, coords));
            let reversed = Host::tabulate(case.input, |c| {
                let back = c.iter().zip(case.input).fold(0, |i, (x, size)| i * size + size - 1 - x);
                input.data[back]
            });
            let dims: Vec<i64> = (0..case.input.len() as i64).collect();
            let view = reversed.tensor(&device).flip(dims);
            view.realize().unwrap();
            let got = (case.run)(&view);
            got.realize().unwrap();
            Host::read(&got).assert_close(case.name, &want, crate::common::F32);
            // Once more with the realized result.
            Host::read(&(&got * 1.0)).assert_close(case.name, &want, crate::common::F32);
        }
    }
}

#[test]
fn movement_of_other_dtypes() {
    for device in [wgrad::Device::cpu(), crate::common::gpu()] {
        let ints = Tensor::new([-1, 2, i32::MIN, 4, 5, i32::MAX], [2, 3], &device);
        let padded = ints.t().pad([1, 0]);
        let want = [0, -1, 4, 0, 2, 5, 0, i32::MIN, i32::MAX];
        assert_eq!(padded.to_vec::<i32>().unwrap(), want);
        assert_eq!(Tensor::cat(&[&ints, &ints], 0).flip(1).to_vec::<i32>().unwrap()[9..], [i32::MAX, 5, 4]);
        let bools = Tensor::new([true, false, true], [3], &device);
        assert_eq!(bools.pad([1, 1]).flip(0).to_vec::<bool>().unwrap(), [false, true, false, true, false]);
        let cat = Tensor::cat(&[&bools, &bools.logical_not()], 0);
        assert_eq!(cat.to_vec::<bool>().unwrap(), [true, false, true, false, true, false]);
        let many = Tensor::cat(&[&bools; 9], 0);
        assert_eq!(many.to_vec::<bool>().unwrap(), [true, false, true].repeat(9));
    }
}
