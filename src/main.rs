fn main() {
    println!("{} cuda {}", tch::Tensor::from_slice(&[1.0f32, 2.0]).sum(tch::Kind::Float), tch::Cuda::is_available());
}
