//! GGUF files put together by hand, from the published format.
#![allow(dead_code)] // each test file uses its own part

/// A file of one version: metadata and tensors in the order in which they are added.
pub struct Writer {
    version: u32,
    values: Vec<u8>,
    value_count: u64,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

impl Writer {
    pub fn new(version: u32) -> Writer {
        Writer { version, values: Vec::new(), value_count: 0, tensors: Vec::new() }
    }

    /// Version 1 counts in 32 bits.
    fn count(&self, out: &mut Vec<u8>, count: usize) {
        match self.version {
            1 => out.extend((count as u32).to_le_bytes()),
            _ => out.extend((count as u64).to_le_bytes()),
        }
    }

    fn text(&self, out: &mut Vec<u8>, text: &str) {
        self.count(out, text.len());
        out.extend(text.as_bytes());
    }

    fn value(mut self, key: &str, kind: u32, bytes: &[u8]) -> Writer {
        let mut value = Vec::new();
        self.text(&mut value, key);
        value.extend(kind.to_le_bytes());
        value.extend(bytes);
        self.values.extend(value);
        self.value_count += 1;
        self
    }

    pub fn u32(self, key: &str, value: u32) -> Writer {
        self.value(key, 4, &value.to_le_bytes())
    }

    pub fn f32(self, key: &str, value: f32) -> Writer {
        self.value(key, 6, &value.to_le_bytes())
    }

    pub fn flag(self, key: &str, value: bool) -> Writer {
        self.value(key, 7, &[u8::from(value)])
    }

    pub fn string(self, key: &str, value: &str) -> Writer {
        let mut bytes = Vec::new();
        self.text(&mut bytes, value);
        self.value(key, 8, &bytes)
    }

    fn list(self, key: &str, kind: u32, count: usize, items: &[u8]) -> Writer {
        let mut bytes = kind.to_le_bytes().to_vec();
        self.count(&mut bytes, count);
        bytes.extend(items);
        self.value(key, 9, &bytes)
    }

    pub fn strings<T: AsRef<str>>(self, key: &str, values: &[T]) -> Writer {
        let mut items = Vec::new();
        values.iter().for_each(|value| self.text(&mut items, value.as_ref()));
        self.list(key, 8, values.len(), &items)
    }

    pub fn integers(self, key: &str, values: &[i32]) -> Writer {
        let items: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.list(key, 5, values.len(), &items)
    }

    pub fn floats(self, key: &str, values: &[f32]) -> Writer {
        let items: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.list(key, 6, values.len(), &items)
    }

    /// `shape` as ggml has it: innermost first.
    pub fn tensor(mut self, name: &str, shape: &[u64], kind: u32, bytes: &[u8]) -> Writer {
        self.tensors.push((name.to_owned(), shape.to_vec(), kind, bytes.to_vec()));
        self
    }

    /// A matrix or vector of f32, `shape` outermost first.
    pub fn floats_tensor(self, name: &str, shape: &[usize], values: &[f32]) -> Writer {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let shape: Vec<u64> = shape.iter().rev().map(|size| *size as u64).collect();
        self.tensor(name, &shape, 0, &bytes)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        self.count(&mut out, self.tensors.len());
        self.count(&mut out, self.value_count as usize);
        out.extend(&self.values);
        let mut data = Vec::new();
        for (name, shape, kind, bytes) in &self.tensors {
            self.text(&mut out, name);
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().for_each(|size| self.count(&mut out, *size as usize));
            out.extend(kind.to_le_bytes());
            out.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }
}

/// The metadata of a small decoder of the architecture `llama`.
pub fn decoder(version: u32, hidden: u32, layers: u32, inner: u32, heads: u32) -> Writer {
    Writer::new(version)
        .string("general.architecture", "llama")
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", hidden)
        .u32("llama.block_count", layers)
        .u32("llama.feed_forward_length", inner)
        .u32("llama.attention.head_count", heads)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
}

/// The tensors of one block of zeros with tables of `rows` rows; `given` stands for the output norm where it has a
/// value, and `lacking` is left out.
pub fn zeros(
    mut file: Writer,
    width: u64,
    rows: u64,
    given: Option<(u32, &[u8])>,
    lacking: &str,
) -> Writer {
    let square = ["attn_q", "attn_k", "attn_v", "attn_output"].map(|n| (n, vec![width, width]));
    let others = [
        ("attn_norm", vec![width]),
        ("ffn_norm", vec![width]),
        ("ffn_gate", vec![width, 8]),
        ("ffn_up", vec![width, 8]),
        ("ffn_down", vec![8, width]),
    ];
    let mut tensors: Vec<(String, Vec<u64>)> = square
        .into_iter()
        .chain(others)
        .map(|(name, shape)| (format!("blk.0.{name}.weight"), shape))
        .collect();
    tensors.push(("token_embd.weight".to_owned(), vec![width, rows]));
    tensors.push(("output_norm.weight".to_owned(), vec![width]));
    for (name, shape) in tensors.into_iter().filter(|(name, _)| name != lacking) {
        let zeros = vec![0; 4 * shape.iter().product::<u64>() as usize];
        let is_norm = name == "output_norm.weight";
        let (kind, bytes) = given.filter(|_| is_norm).unwrap_or((0, &zeros));
        file = file.tensor(&name, &shape, kind, bytes);
    }
    file
}
