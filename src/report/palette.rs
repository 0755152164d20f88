//! The colours in which charts are drawn, in the window and on paper.

/// Colours by meaning, as 0xRRGGBB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    pub card: u32,
    pub text: u32,
    pub muted: u32,
    pub faint: u32,
    pub grid: u32,
    pub chosen: u32,
    pub rejected: u32,
    pub kept: u32,
    pub twin: u32,
    pub reference: u32,
    pub danger: u32,
    /// One after the other for what has no colour of its own: runs that are compared, arms of a sweep.
    pub numbered: [u32; 8],
}

pub const DARK: Palette = Palette {
    card: 0x171C26,
    text: 0xE7EBF3,
    muted: 0xA3AEC2,
    faint: 0x76829A,
    grid: 0x2A3242,
    chosen: 0x5AA2FF,
    rejected: 0xFFA24C,
    kept: 0xB8A6FF,
    twin: 0x98A3B8,
    reference: 0x8D99AF,
    danger: 0xFF6B70,
    numbered: [0x5AA2FF, 0xFFA24C, 0x4CC995, 0xE27BD8, 0xE6CF5A, 0x54CFE0, 0xB8A6FF, 0xFF8E7A],
};

pub const LIGHT: Palette = Palette {
    card: 0xFFFFFF,
    text: 0x161D2B,
    muted: 0x4C586C,
    faint: 0x657187,
    grid: 0xE4E8F0,
    chosen: 0x1D6AE5,
    rejected: 0xD9690F,
    kept: 0x6B4FD8,
    twin: 0x7A869B,
    reference: 0x75819A,
    danger: 0xCF2E3A,
    numbered: [0x1D6AE5, 0xD9690F, 0x15803D, 0xB0309F, 0x8A6D00, 0x0B7A8A, 0x6B4FD8, 0xC2410C],
};

/// The meaning of a line's colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    Chosen,
    Rejected,
    Kept,
    Twin,
    /// The run or arm with this number among those drawn together.
    Number(usize),
}

impl Palette {
    /// Every colour, each kind at the same place in all palettes.
    pub fn all(&self) -> Vec<u32> {
        let named = [
            self.card,
            self.text,
            self.muted,
            self.faint,
            self.grid,
            self.chosen,
            self.rejected,
            self.kept,
            self.twin,
            self.reference,
            self.danger,
        ];
        named.into_iter().chain(self.numbered).collect()
    }

    pub fn ink(&self, ink: Ink) -> u32 {
        match ink {
            Ink::Chosen => self.chosen,
            Ink::Rejected => self.rejected,
            Ink::Kept => self.kept,
            Ink::Twin => self.twin,
            Ink::Number(number) => self.numbered[number % self.numbered.len()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page changes colours by what they are in light: equal ones must be equal in dark.
    #[test]
    fn a_colour_of_one_palette_is_one_colour_of_the_other() {
        let pairs: Vec<(u32, u32)> = LIGHT.all().into_iter().zip(DARK.all()).collect();
        for (light, dark) in &pairs {
            assert!(pairs.iter().all(|(l, d)| l != light || d == dark), "{light:06x}");
        }
    }
}
