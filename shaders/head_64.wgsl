// Tiles of attention for heads of up to 64 channels; each thread block holds them in 32 KiB of workgroup memory.
const WIDEST = 64u;
// Forward: queries a thread accumulates (16 apart), keys of a tile.
const PER_THREAD = 2u;
const KEYS = 32u;
// Backward: rows a workgroup owns, and rows of the other side in a tile.
const OWN = 16u;
const OTHER = 16u;
