fn main(){println!("{}", gemm::DEFAULT_PARALLELISM_THRESHOLD.load(std::sync::atomic::Ordering::Relaxed));}
