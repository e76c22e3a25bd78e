use wgrad::*;
fn main() {
    for dev in [Device::cpu(), Device::gpu().unwrap()] {
        println!("{dev}");
        let x = Tensor::new([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &dev).requires_grad();
        let w = Tensor::new([0.5, -1.0, 2.0, 1.0, 0.0, 3.0], [2, 3], &dev).requires_grad();
        let y = x.linear(&w, None).tanh();
        let loss = (y.softmax(-1) * 3.0).square().sum();
        println!("{:?}", loss.item());
        loss.backward();
        println!("{:?} {:?}", x.grad().unwrap().to_vec::<f32>(), w.grad().unwrap().to_vec::<f32>());
        let logits = Tensor::new([1.01, 1.2, 12.5, 0.02, 0.23, 1.35], [3, 2], &dev).requires_grad();
        let loss = logits.cross_entropy(&Tensor::new([0, 0, 1], [3], &dev));
        loss.backward();
        println!("{:?} {:?}", loss.item(), logits.grad().unwrap().to_vec::<f32>());
        println!("{:?}", x.t().to_vec::<f32>());
        println!("{:?}", x.t().reshape([6]).to_vec::<f32>());
        println!("{:?}", x.pad([1, 0, 0, 1]).exp().pad([0, 1]).to_vec::<f32>());
        println!("{:?}", x.argmax(1, false).to_vec::<i32>());
        println!("{:?}", x.index_select(1, &Tensor::new([2, 0], [2], &dev)).to_vec::<f32>());
        println!("{:?}", Tensor::rand([5], &dev).to_vec::<f32>());
        println!("{:?}", Tensor::ones([300, 700], &dev).sum().item());
        println!(
            "{:?}",
            x.zeros_like().scatter_add(1, &Tensor::new([2, 0], [2, 1], &dev), &x).to_vec::<f32>()
        );
        println!("{:?}", dev.counters());
    }
}
