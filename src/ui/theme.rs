//! Design tokens: every colour, size and font of the window, for light and dark. Views name tokens,
//! never literals.

use std::sync::Arc;

use eframe::egui::{
    self, Color32, Context, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin,
    Shadow, Stroke, Style, TextStyle, Theme, Visuals, vec2,
};

use crate::report::palette::{self, Palette};

/// Colours by meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tokens {
    pub dark: bool,
    /// The charts' own colours, of which some are also those of words.
    pub palette: &'static Palette,
    /// Behind everything.
    pub window: Color32,
    /// Rail and bottom bar.
    pub chrome: Color32,
    pub card: Color32,
    pub card_border: Color32,
    /// Text fields, plot backgrounds.
    pub well: Color32,
    pub button: Color32,
    pub button_hover: Color32,
    pub text: Color32,
    pub text_muted: Color32,
    pub text_faint: Color32,
    pub accent: Color32,
    pub on_accent: Color32,
    /// Log-likelihood of chosen answers, and everything that speaks of them.
    pub chosen: Color32,
    pub rejected: Color32,
    /// Lines of the kept arm and of its twin where chosen and rejected are not told apart.
    pub kept: Color32,
    pub twin: Color32,
    pub reference: Color32,
    pub danger: Color32,
    pub warning: Color32,
    pub success: Color32,
    pub grid: Color32,
}

pub const fn rgb(hex: u32) -> Color32 {
    Color32::from_rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

pub const DARK: Tokens = Tokens {
    dark: true,
    palette: &palette::DARK,
    window: rgb(0x0E1117),
    chrome: rgb(0x12161E),
    card: rgb(palette::DARK.card),
    card_border: rgb(0x252C3A),
    well: rgb(0x0F131A),
    button: rgb(0x222938),
    button_hover: rgb(0x2C3547),
    text: rgb(palette::DARK.text),
    text_muted: rgb(palette::DARK.muted),
    text_faint: rgb(palette::DARK.faint),
    accent: rgb(0x3470E8),
    on_accent: rgb(0xFFFFFF),
    chosen: rgb(palette::DARK.chosen),
    rejected: rgb(palette::DARK.rejected),
    kept: rgb(palette::DARK.kept),
    twin: rgb(palette::DARK.twin),
    reference: rgb(palette::DARK.reference),
    danger: rgb(palette::DARK.danger),
    warning: rgb(0xF0BF5A),
    success: rgb(0x4CC995),
    grid: rgb(palette::DARK.grid),
};

pub const LIGHT: Tokens = Tokens {
    dark: false,
    palette: &palette::LIGHT,
    window: rgb(0xF3F5F9),
    chrome: rgb(0xFAFBFD),
    card: rgb(palette::LIGHT.card),
    card_border: rgb(0xDDE3EC),
    well: rgb(0xF6F8FB),
    button: rgb(0xEDF0F6),
    button_hover: rgb(0xE1E6F0),
    text: rgb(palette::LIGHT.text),
    text_muted: rgb(palette::LIGHT.muted),
    text_faint: rgb(palette::LIGHT.faint),
    accent: rgb(0x2563EB),
    on_accent: rgb(0xFFFFFF),
    chosen: rgb(palette::LIGHT.chosen),
    rejected: rgb(palette::LIGHT.rejected),
    kept: rgb(palette::LIGHT.kept),
    twin: rgb(palette::LIGHT.twin),
    reference: rgb(palette::LIGHT.reference),
    danger: rgb(palette::LIGHT.danger),
    warning: rgb(0x9A6700),
    success: rgb(0x15803D),
    grid: rgb(palette::LIGHT.grid),
};

/// `share` of `over` on `ground`, as the eye mixes them.
pub fn mix(ground: Color32, over: Color32, share: f32) -> Color32 {
    let channel = |a: u8, b: u8| egui::lerp(f32::from(a)..=f32::from(b), share).round() as u8;
    Color32::from_rgb(
        channel(ground.r(), over.r()),
        channel(ground.g(), over.g()),
        channel(ground.b(), over.b()),
    )
}

/// Corner radius of cards.
pub const CARD_RADIUS: u8 = 10;
/// Space between neighbours.
pub const GAP: f32 = 10.0;
/// Width of the card column of Train.
pub const FORM_WIDTH: f32 = 318.0;
/// Width of the left rail.
pub const RAIL_WIDTH: f32 = 78.0;

/// Reaches the tokens of the theme that is shown.
pub trait TokensExt {
    fn tokens(&self) -> &'static Tokens;
}

impl TokensExt for egui::Ui {
    fn tokens(&self) -> &'static Tokens {
        if self.visuals().dark_mode { &DARK } else { &LIGHT }
    }
}

impl TokensExt for Context {
    fn tokens(&self) -> &'static Tokens {
        if self.theme() == Theme::Dark { &DARK } else { &LIGHT }
    }
}

/// The interface font, all weights in one file.
pub const INTER: &[u8] = include_bytes!("../../assets/fonts/InterVariable-subset.ttf");

const MEDIUM: &str = "inter-medium";
const SEMIBOLD: &str = "inter-semibold";
const EMOJI: &str = "noto-emoji";

/// Medium weight of the interface font.
pub fn medium(size: f32) -> FontId {
    FontId::new(size, FontFamily::Name(MEDIUM.into()))
}

/// Semibold weight of the interface font.
pub fn semibold(size: f32) -> FontId {
    FontId::new(size, FontFamily::Name(SEMIBOLD.into()))
}

pub fn regular(size: f32) -> FontId {
    FontId::proportional(size)
}

/// Installs fonts and both styles; called once.
pub fn install(ctx: &Context) {
    ctx.set_fonts(fonts());
    ctx.set_style_of(Theme::Dark, style(&DARK, ctx.style_of(Theme::Dark)));
    ctx.set_style_of(Theme::Light, style(&LIGHT, ctx.style_of(Theme::Light)));
}

/// Inter in three weights from one variable file, with egui's own fonts and emoji behind it.
fn fonts() -> FontDefinitions {
    let mut fonts = FontDefinitions::default();
    for (name, weight) in [("inter", 400.0), (MEDIUM, 520.0), (SEMIBOLD, 620.0)] {
        let mut data = FontData::from_static(INTER);
        data.tweak.coords.push(b"wght", weight);
        fonts.font_data.insert(name.to_owned(), Arc::new(data));
    }
    let mut emoji =
        FontData::from_static(include_bytes!("../../assets/fonts/NotoEmoji-Regular.ttf"));
    emoji.tweak.scale = 0.81;
    fonts.font_data.insert(EMOJI.to_owned(), Arc::new(emoji));
    let mut fallback = fonts.families.get(&FontFamily::Proportional).cloned().unwrap_or_default();
    fallback.push(EMOJI.to_owned());
    for (family, name) in [
        (FontFamily::Proportional, "inter"),
        (FontFamily::Name(MEDIUM.into()), MEDIUM),
        (FontFamily::Name(SEMIBOLD.into()), SEMIBOLD),
    ] {
        let chain = std::iter::once(name.to_owned()).chain(fallback.iter().cloned()).collect();
        fonts.families.insert(family, chain);
    }
    fonts
}

fn style(tokens: &Tokens, base: Arc<Style>) -> Style {
    let mut style = (*base).clone();
    style.text_styles = [
        (TextStyle::Small, regular(11.5)),
        (TextStyle::Body, regular(13.0)),
        (TextStyle::Button, medium(13.0)),
        (TextStyle::Heading, semibold(16.0)),
        (TextStyle::Monospace, FontId::monospace(12.0)),
    ]
    .into();
    style.spacing.item_spacing = vec2(8.0, 6.0);
    style.spacing.button_padding = vec2(10.0, 5.0);
    style.spacing.interact_size = vec2(36.0, 26.0);
    style.spacing.menu_margin = Margin::same(6);
    style.spacing.window_margin = Margin::same(16);
    style.spacing.icon_width = 16.0;
    style.spacing.icon_width_inner = 9.0;
    style.spacing.combo_height = 320.0;
    style.spacing.tooltip_width = 360.0;
    style.spacing.scroll = egui::style::ScrollStyle::solid();
    style.spacing.scroll.bar_width = 8.0;
    style.spacing.scroll.floating = true;
    style.spacing.scroll.foreground_color = false;
    style.visuals = visuals(tokens);
    style.animation_time = 0.12;
    style
}

fn visuals(t: &Tokens) -> Visuals {
    let mut v = if t.dark { Visuals::dark() } else { Visuals::light() };
    v.panel_fill = t.window;
    v.window_fill = t.card;
    v.window_stroke = Stroke::new(1.0, t.card_border);
    v.window_corner_radius = CornerRadius::same(12);
    v.menu_corner_radius = CornerRadius::same(8);
    v.extreme_bg_color = t.well;
    v.text_edit_bg_color = Some(t.well);
    v.faint_bg_color =
        if t.dark { Color32::from_white_alpha(5) } else { Color32::from_black_alpha(6) };
    v.code_bg_color = t.well;
    v.warn_fg_color = t.warning;
    v.error_fg_color = t.danger;
    v.hyperlink_color = t.accent;
    v.selection.bg_fill = t.accent.gamma_multiply(if t.dark { 0.55 } else { 0.25 });
    v.selection.stroke = Stroke::new(1.2, t.chosen);
    v.weak_text_color = Some(t.text_muted);
    let alpha = if t.dark { 90 } else { 28 };
    let shadow =
        Shadow { offset: [0, 6], blur: 22, spread: 0, color: Color32::from_black_alpha(alpha) };
    v.window_shadow = shadow;
    v.popup_shadow = shadow;
    v.striped = false;
    let radius = CornerRadius::same(6);
    let border = Stroke::new(1.0, t.card_border);
    let w = &mut v.widgets;
    for (state, fill, stroke, text) in [
        (&mut w.noninteractive, t.card, border, t.text),
        (&mut w.inactive, t.button, border, t.text),
        (&mut w.hovered, t.button_hover, Stroke::new(1.0, t.text_faint), t.text),
        (&mut w.active, t.button_hover, Stroke::new(1.0, t.accent), t.text),
        (&mut w.open, t.button_hover, Stroke::new(1.0, t.accent), t.text),
    ] {
        state.bg_fill = fill;
        state.weak_bg_fill = fill;
        state.bg_stroke = stroke;
        state.fg_stroke = Stroke::new(1.2, text);
        state.corner_radius = radius;
        state.expansion = 0.0;
    }
    v
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG relative luminance of an opaque colour.
    fn luminance(c: Color32) -> f64 {
        let channel = |v: u8| {
            let v = f64::from(v) / 255.0;
            if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(c.r()) + 0.7152 * channel(c.g()) + 0.0722 * channel(c.b())
    }

    fn contrast(a: Color32, b: Color32) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_and_lines_are_readable_in_both_themes() {
        for t in [&DARK, &LIGHT] {
            for ground in [t.window, t.card, t.well, t.chrome] {
                assert!(contrast(t.text, ground) >= 7.0, "text");
                assert!(contrast(t.text_muted, ground) >= 4.5, "muted");
                let named = [t.chosen, t.rejected, t.kept, t.twin, t.danger];
                for line in named.into_iter().chain(t.palette.numbered.map(rgb)) {
                    assert!(contrast(line, ground) >= 3.0, "line {line:?} on {ground:?}");
                }
                for text in [t.text_faint, t.danger, t.warning, t.success] {
                    assert!(contrast(text, ground) >= 4.0, "{text:?} on {ground:?}");
                }
            }
            assert!(contrast(t.on_accent, t.accent) >= 4.0);
        }
    }
}
