// Tiles of attention for heads of up to 128 channels; see head_64.wgsl.
const WIDEST = 128u;
const PER_THREAD = 2u;
const KEYS = 16u;
const OWN = 16u;
const OTHER = 8u;
