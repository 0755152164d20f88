// Tiles of attention for heads of up to 256 channels; see head_64.wgsl.
const WIDEST = 256u;
const PER_THREAD = 1u;
const KEYS = 8u;
const OWN = 8u;
const OTHER = 4u;
