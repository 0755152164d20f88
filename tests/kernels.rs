//! Do the kernels compute what their plain-tensor twins compute, and are their gradients those of finite
//! differences in f64? On the CPU, and on a Vulkan, Metal or DX12 adapter (a software one counts) where there is one.

use burn::tensor::{DType, Device, Distribution, FloatDType, Int, Tensor, TensorData};
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::kernels::{self, Activation, AttentionSaved, AttentionSpec, Weight, plain};
use dpop_studio::model::layout::{Continuation, PackedBatch};

mod common;

fn devices() -> Vec<Device> {
    let mut devices = vec![Device::flex()];
    devices.extend(common::gpu());
    devices
}

fn random<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let cpu = Device::flex();
    cpu.seed(seed);
    let values = Tensor::<D>::random(shape, Distribution::Normal(0.0, 1.0), &cpu);
    Tensor::from_data(values.into_data(), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_to_vec().unwrap()
}

fn to_f64<const D: usize>(tensor: &Tensor<D>) -> Tensor<D> {
    let cpu = Device::flex();
    let data = tensor.clone().into_data();
    Tensor::<D>::from_data(data, &cpu).cast(FloatDType::F64)
}

#[track_caller]
fn close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let scale = want.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(
        worst <= tolerance * scale,
        "{what}: off by {worst:.3e} where values reach {scale:.3e}"
    );
    assert!(scale > 1e-3, "{what}: all values are zero, the test shows nothing");
}

/// Central differences of `sum(f(x) * dy)` by every element of `x`, in f64.
fn numeric<const D: usize>(x: &Tensor<D>, f: impl Fn(Tensor<D>) -> f64) -> Vec<f64> {
    let data = to_f64(x).into_data();
    let shape = data.shape().clone();
    let base: Vec<f64> = data.try_to_vec().unwrap();
    let eval = |v: Vec<f64>| {
        let data = TensorData::new(v, shape.clone());
        let options = (&Device::flex(), DType::F64);
        f(Tensor::<D>::from_data(data, options))
    };
    let h = 1e-5;
    (0..base.len())
        .map(|i| {
            let (mut up, mut down) = (base.clone(), base.clone());
            up[i] += h;
            down[i] -= h;
            (eval(up) - eval(down)) / (2.0 * h)
        })
        .collect()
}

fn weighted<const D: usize>(y: Tensor<D>, dy: &Tensor<D>) -> f64 {
    values(y).iter().zip(values(to_f64(dy))).map(|(a, b)| a * b).sum()
}

#[test]
fn matmul_matches_in_every_orientation() {
    for device in devices() {
        let a = random([5, 7], 1, &device);
        let b = random([7, 4], 2, &device);
        let want = values(to_f64(&a).matmul(to_f64(&b)));
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let left = if ta { a.clone().transpose() } else { a.clone() };
            let right = if tb { b.clone().transpose() } else { b.clone() };
            close("matmul", &values(kernels::matmul(&left, &right, ta, tb)), &want, 1e-6);
            let acc = random([5, 4], 3, &device);
            let sum = kernels::matmul_add(acc.clone(), &left, &right, ta, tb, -0.5);
            let want: Vec<f64> =
                values(acc).iter().zip(&want).map(|(acc, v)| acc - 0.5 * v).collect();
            close("matmul_add", &values(sum), &want, 1e-6);
        }
    }
}

#[test]
fn rms_norm_matches() {
    for device in devices() {
        let x = random([5, 48], 1, &device);
        let w = random([48], 2, &device);
        let dy = random([5, 48], 3, &device);
        let want = plain::rms_norm(to_f64(&x), to_f64(&w), 1e-6);
        close("rms_norm", &values(kernels::rms_norm(&x, &w, 1e-6)), &values(want), 1e-6);
        let dx = kernels::rms_norm_backward(&x, &w, dy.clone(), 1e-6);
        let want = numeric(&x, |x| weighted(plain::rms_norm(x, to_f64(&w), 1e-6), &dy));
        close("rms_norm_backward", &values(dx), &want, 2e-6);
    }
}

#[test]
fn rope_matches_and_turns_back() {
    for device in devices() {
        // All channels of a head turn, and the first six of eight.
        for half in [4, 3] {
            let x = random([6, 3 * 8], 1, &device);
            let angles = random([6, half], 2, &device);
            let (cos, sin) = (angles.clone().cos(), angles.sin());
            let y = kernels::rope(x.clone(), &cos, &sin, 3, false);
            let want = plain::rope(to_f64(&x), to_f64(&cos), to_f64(&sin), 3);
            close("rope", &values(y.clone()), &values(want), 1e-6);
            let back = kernels::rope(y, &cos, &sin, 3, true);
            close("rope back", &values(back), &values(x), 1e-6);
        }
    }
}

#[test]
fn columns_are_cut_out() {
    for device in devices() {
        let x = random([5, 11], 1, &device);
        for range in [0..4, 4..5, 5..11] {
            let want = values(x.clone().slice([0..5, range.clone()]));
            close("columns", &values(kernels::columns(&x, range)), &want, 0.0);
        }
    }
}

fn check_gate(g: &Tensor<2>, activation: Activation, device: &Device) {
    let what = format!("{activation:?}");
    let [n, f] = g.dims();
    let (u, dy) = (random([n, f], 2, device), random([n, f], 3, device));
    let twin = |g, u| plain::gated_activation(g, u, activation);
    let want = values(twin(to_f64(g), to_f64(&u)));
    close(&what, &values(kernels::gated_activation(g, &u, activation)), &want, 1e-6);
    let (dg, du) = kernels::gated_activation_backward(g.clone(), u.clone(), dy.clone(), activation);
    let want = numeric(g, |g| weighted(twin(g, to_f64(&u)), &dy));
    close(&format!("{what} by gate"), &values(dg), &want, 2e-6);
    let want = numeric(&u, |u| weighted(twin(to_f64(g), u), &dy));
    close(&format!("{what} by up"), &values(du), &want, 2e-6);
}

#[test]
fn gated_activations_match() {
    for device in devices() {
        for activation in [Activation::Silu, Activation::GeluTanh] {
            check_gate(&random([5, 33], 1, &device), activation, &device);
            // Far out, where an exponential would overflow.
            let far: Tensor<2> =
                Tensor::from_floats([[-60.0, -12.0, -3.0, 0.0, 3.0, 12.0, 60.0]], &device);
            check_gate(&far, activation, &device);
        }
    }
}

/// Two packed pairs with shared prefixes, tails of different lengths, and one empty tail.
fn spans() -> PackedBatch {
    let pair = |prompt: usize, chosen: &[u32], rejected: &[u32]| TokenizedPair {
        row: 0,
        prompt_ids: vec![1; prompt],
        chosen_ids: chosen.to_vec(),
        rejected_ids: rejected.to_vec(),
    };
    PackedBatch::new(&[
        pair(3, &[4, 5, 6, 7, 2], &[4, 9, 2]),
        pair(2, &[3, 8], &[3, 8, 8, 2]),
        pair(5, &[3; 80], &[4; 70]),
    ])
}

fn check_attention(device: &Device, spec: AttentionSpec, tolerance: f64) {
    let batch = spans();
    let n = batch.tokens();
    let shape = [n, kernels::SPAN_COLUMNS];
    let table = TensorData::new(batch.spans.clone(), shape);
    let spans: Tensor<2, Int> = Tensor::from_data(table, device);
    let (width, kv_width) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
    let q = random([n, width], 1, device);
    let (k, v) = (random([n, kv_width], 2, device), random([n, kv_width], 3, device));
    let dout = random([n, width], 4, device);
    let (out, lse) = kernels::attention(&q, &k, &v, &spans, spec);
    let want = plain::attention(to_f64(&q), to_f64(&k), to_f64(&v), &batch.spans, spec);
    close("attention", &values(out.clone()), &values(want), tolerance);

    let saved = AttentionSaved { q: q.clone(), k: k.clone(), v: v.clone(), out, lse };
    let (dq, dk, dv) = kernels::attention_backward(saved, dout.clone(), &spans, spec);
    // Finite differences by a sample of elements: the dense twin is slow.
    let sample =
        |x: &Tensor<2>, grad: Tensor<2>, f: &dyn Fn(Tensor<2>) -> Tensor<2>, name: &str| {
            let grad = values(grad);
            let base = values(to_f64(x));
            let dims = x.dims();
            let value = |v: Vec<f64>| {
                let options = (&Device::flex(), DType::F64);
                weighted(f(Tensor::<2>::from_data(TensorData::new(v, dims), options)), &dout)
            };
            let (mut got, mut want) = (Vec::new(), Vec::new());
            for i in (0..base.len()).step_by(base.len() / 60) {
                let (mut up, mut down) = (base.clone(), base.clone());
                up[i] += 1e-5;
                down[i] -= 1e-5;
                want.push((value(up) - value(down)) / 2e-5);
                got.push(grad[i]);
            }
            close(name, &got, &want, tolerance * 5.0);
        };
    let (q64, k64, v64) = (to_f64(&q), to_f64(&k), to_f64(&v));
    let table = &batch.spans;
    let by_q = |q| plain::attention(q, k64.clone(), v64.clone(), table, spec);
    sample(&q, dq, &by_q, "attention by q");
    let by_k = |k| plain::attention(q64.clone(), k, v64.clone(), table, spec);
    sample(&k, dk, &by_k, "attention by k");
    let by_v = |v| plain::attention(q64.clone(), k64.clone(), v, table, spec);
    sample(&v, dv, &by_v, "attention by v");
}

#[test]
fn attention_matches() {
    for device in devices() {
        // Scores reach 3: one cap bends all of them, one hardly any.
        for (window, softcap) in
            [(None, None), (Some(4), None), (None, Some(1.5)), (Some(4), Some(50.0))]
        {
            let (heads, kv_heads, head_dim) = (4, 2, 8);
            let spec = AttentionSpec { heads, kv_heads, head_dim, window, scale: 0.3, softcap };
            check_attention(&device, spec, 3e-6);
        }
        // The shaders' middle tile size, not filled.
        let (heads, kv_heads, head_dim, scale) = (2, 1, 96, 0.1);
        let window = Some(40);
        let spec = AttentionSpec { heads, kv_heads, head_dim, window, scale, softcap: None };
        check_attention(&device, spec, 3e-6);
        // Gemma 2's heads are the widest that the shaders hold.
        let spec = AttentionSpec {
            heads: 2,
            kv_heads: 1,
            head_dim: 256,
            window: Some(16),
            scale: 1.0 / 16.0,
            softcap: Some(2.0),
        };
        check_attention(&device, spec, 5e-6);
    }
}

/// Queries that see keys of earlier passes: rows of a buffer in which other rows belong to other sequences or to nobody.
#[test]
fn attention_over_cached_keys_matches() {
    let ids = [1u32; 70];
    // (first row of the sequence, tokens before the new ones, new ones)
    let sequences = [(0, 6, 70), (80, 3, 1), (90, 0, 2)];
    let new = sequences.map(|(row, position, count)| Continuation {
        ids: &ids[..count],
        position,
        row,
        longest: 100,
    });
    let batch = PackedBatch::continuing(&new);
    let (n, m) = (batch.tokens(), 95);
    for device in devices() {
        for window in [None, Some(4)] {
            let spec = AttentionSpec {
                heads: 4,
                kv_heads: 2,
                head_dim: 8,
                window,
                scale: 0.3,
                softcap: None,
            };
            let table = TensorData::new(batch.spans.clone(), [n, kernels::SPAN_COLUMNS]);
            let spans: Tensor<2, Int> = Tensor::from_data(table, &device);
            let q = random([n, 32], 1, &device);
            let (k, v) = (random([m, 16], 2, &device), random([m, 16], 3, &device));
            let (out, lse) = kernels::attention(&q, &k, &v, &spans, spec);
            let (q, k, v) = (to_f64(&q), to_f64(&k), to_f64(&v));
            let want = plain::attention(q.clone(), k.clone(), v.clone(), &batch.spans, spec);
            close("cached attention", &values(out.clone()), &values(want), 3e-6);
            assert!(values(lse).iter().all(|sum| sum.is_finite()));
            // The same keys as one whole sequence, of which the queries are the end.
            let mut first = 0;
            for (row, position, count) in sequences {
                let whole = [Continuation {
                    ids: &[1; 76][..position + count],
                    position: 0,
                    row: 0,
                    longest: 100,
                }];
                let rows = row..row + position + count;
                let [k, v] = [&k, &v].map(|t| t.clone().slice([rows.clone(), 0..16]));
                let own = q.clone().slice([first..first + count, 0..32]);
                let before = Tensor::zeros([position, 32], (&Device::flex(), DType::F64));
                let q = Tensor::cat(vec![before, own], 0);
                let all = plain::attention(q, k, v, &PackedBatch::continuing(&whole).spans, spec);
                let want = all.slice([position..position + count, 0..32]);
                let got = out.clone().slice([first..first + count, 0..32]);
                close("cached attention beside the whole", &values(got), &values(want), 3e-6);
                first += count;
            }
        }
    }
}

fn check_head(device: &Device, softcap: Option<f32>) {
    let (e, d, v) = (7, 12, 300);
    let h = random([e, d], 1, device);
    let w = random([v, d], 2, device);
    let targets: Vec<i32> = (0..e as i32).map(|i| (i * 37 + 5) % v as i32).collect();
    let on = |device: &Device| {
        Tensor::<1, Int>::from_data(TensorData::new(targets.clone(), [e]), device)
    };
    let cpu = on(&Device::flex());
    let twin = |h| plain::head_log_probs(h, to_f64(&w), cpu.clone(), softcap);
    let want = values(twin(to_f64(&h)));
    let weight = Weight::from(w.clone());
    let logps = kernels::head_log_probs(&h, &weight, &on(device), softcap);
    close("head", &values(logps), &want, 1e-6);
    let (logps, grads) = kernels::head_log_probs_grad(&h, &weight, &on(device), softcap);
    close("head with gradient", &values(logps), &want, 1e-6);
    let numeric = numeric(&h, |h| values(twin(h)).iter().sum());
    close("head gradient", &values(grads), &numeric, 5e-6);
}

#[test]
fn head_matches() {
    for device in devices() {
        // Logits reach 10: one cap bends all of them, one hardly any.
        for softcap in [None, Some(3.0), Some(30.0)] {
            check_head(&device, softcap);
        }
    }
}

/// A vocabulary so large that a block of logits holds two rows.
#[test]
fn head_blocks_join() {
    let (e, d, v) = (5, 2, 2_000_000);
    let device = Device::flex();
    let h = random([e, d], 1, &device);
    let w = random([v, d], 2, &device);
    let targets = TensorData::new((0..e as i32).map(|i| i * 399_999).collect::<Vec<_>>(), [e]);
    let targets: Tensor<1, Int> = Tensor::from_data(targets, &device);
    let want = values(plain::head_log_probs(h.clone(), w.clone(), targets.clone(), None));
    let (logps, grads) = kernels::head_log_probs_grad(&h, &Weight::from(w), &targets, None);
    assert_eq!(grads.dims(), [e, d]);
    close("blocks of the head", &values(logps), &want, 1e-5);
}

#[test]
fn scatter_sums_both_entries() {
    for device in devices() {
        let grads = random([3, 4], 1, &device);
        let weights: Tensor<1> = Tensor::from_floats([2.0, -1.0, 0.5], &device);
        let map: Tensor<2, Int> =
            Tensor::from_data(TensorData::new(vec![0i32, 2, -1, -1, 1, -1], [3, 2]), &device);
        let g = values(grads.clone());
        let got = values(kernels::combine_rows(grads, weights, &map));
        let want: Vec<f64> = (0..4)
            .map(|d| 2.0 * g[d] + 0.5 * g[8 + d])
            .chain([0.0; 4])
            .chain((0..4).map(|d| -g[4 + d]))
            .collect();
        close("scatter", &got, &want, 1e-6);
    }
}

/// Picking rows and adding them up again are each other's derivatives: `<combine(r), t> = <r, pick(t)>`.
#[test]
fn rows_of_many_slots_are_added_to_their_tokens() {
    // 70 tokens with three of 210 rows each, in an order of their own; one slot of every fifth token is empty.
    let (tokens, slots, width) = (70usize, 3usize, 33usize);
    let rows = tokens * slots;
    let row = |slot: usize| (slot * 89 + 5) % rows;
    let is_empty = |slot: usize| slot.is_multiple_of(15);
    let map: Vec<i32> =
        (0..rows).map(|slot| if is_empty(slot) { -1 } else { row(slot) as i32 }).collect();
    let mut token_of = vec![None; rows];
    (0..rows)
        .filter(|&slot| !is_empty(slot))
        .for_each(|slot| token_of[row(slot)] = Some(slot / slots));
    for device in devices() {
        let x = random([rows, width], 1, &device);
        let weights: Tensor<1> = random([rows, 1], 2, &device).reshape([rows]);
        let t = random([tokens, width], 3, &device);
        let map: Tensor<2, Int> =
            Tensor::from_data(TensorData::new(map.clone(), [tokens, slots]), &device);
        let (x_host, weights_host) =
            (values(x.clone()), values(weights.clone().reshape([rows, 1])));
        let mut want = vec![0.0; tokens * width];
        for (row, token) in token_of.iter().enumerate() {
            let Some(token) = token else { continue };
            for d in 0..width {
                want[token * width + d] += weights_host[row] * x_host[row * width + d];
            }
        }
        let got = kernels::combine_rows(x.clone(), weights, &map);
        close("many slots", &values(got), &want, 1e-5);
        // The derivative, with weights of 1 as the experts use it.
        let ones = Tensor::ones([rows], &device);
        let forward = (kernels::combine_rows(x.clone(), ones, &map) * t.clone()).sum();
        let used: Vec<i32> = token_of.iter().map(|token| token.unwrap_or(0) as i32).collect();
        let kept: Vec<f32> = token_of.iter().map(|token| f32::from(token.is_some())).collect();
        let kept: Tensor<2> = Tensor::from_data(TensorData::new(kept, [rows, 1]), &device);
        let used: Tensor<1, Int> = Tensor::from_data(TensorData::new(used, [rows]), &device);
        let backward = (x * kept * t.select(0, used)).sum();
        let (forward, backward) =
            (values(forward.reshape([1, 1])), values(backward.reshape([1, 1])));
        assert!((forward[0] - backward[0]).abs() < 1e-3 * forward[0].abs().max(1.0));
    }
}

#[test]
fn dropout_keeps_its_share_and_its_mask() {
    let mut masks = Vec::new();
    for device in devices() {
        let x: Tensor<2> = Tensor::ones([100, 100], &device);
        let y = values(kernels::dropout(&x, 0.25, 7));
        let kept = y.iter().filter(|&&v| v != 0.0).count() as f64 / y.len() as f64;
        assert!((kept - 0.75).abs() < 0.02, "kept {kept}");
        assert!(y.iter().all(|&v| v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-6));
        assert_ne!(y, values(kernels::dropout(&x, 0.25, 8)));
        masks.push(y.iter().map(|&v| v != 0.0).collect::<Vec<_>>());
    }
    assert!(masks.windows(2).all(|w| w[0] == w[1]), "the devices draw different masks");
}
