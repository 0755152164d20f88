//! The tour at the first start: three places in turn, each lit while the rest is dimmed.

use eframe::egui::{
    Align, Area, Frame, Id, Key, LayerId, Layout, Margin, Order, Pos2, Rect, RichText, Sense,
    Stroke, StrokeKind, Ui, pos2, vec2,
};

use crate::ui::action::{Action, Actions};
use crate::ui::state::State;
use crate::ui::theme::{self, FORM_WIDTH, RAIL_WIDTH, TokensExt};
use crate::ui::views::bottom;
use crate::ui::widgets;

/// A stop of the tour.
struct Stop {
    title: &'static str,
    text: &'static str,
    /// What is lit.
    place: fn(Rect) -> Rect,
}

const WIDTH: f32 = 360.0;

const STOPS: [Stop; 3] = [
    Stop {
        title: "What is trained, and how",
        text: "A model, preference pairs, a method. A small demo is chosen already. Drop your own pairs or \
               model folder anywhere on the window to use them instead.",
        place: |screen| {
            let left = screen.left() + RAIL_WIDTH;
            Rect::from_min_max(
                pos2(left, screen.top()),
                pos2(left + FORM_WIDTH, screen.bottom() - bottom::HEIGHT),
            )
        },
    },
    Stop {
        title: "Start",
        text: "Two adapters learn from the same batches: yours, and a twin with plain DPO. Training is a \
               process of its own; pause it, or stop and go on another day.",
        place: |screen| {
            Rect::from_min_max(
                pos2(screen.left() + RAIL_WIDTH, screen.bottom() - bottom::HEIGHT),
                screen.max,
            )
        },
    },
    Stop {
        title: "Watch the chosen answers",
        text: "If the blue line falls into the red region, the method is unlearning the answers it should \
               prefer. The step at which that happens is marked; Inspect shows the tokens that pay.",
        place: |screen| {
            Rect::from_min_max(
                pos2(screen.left() + RAIL_WIDTH + FORM_WIDTH, screen.top()),
                pos2(screen.right(), screen.bottom() - bottom::HEIGHT),
            )
        },
    },
];

/// Draws the stop the tour is at, if there is one.
pub fn tour_ui(ui: &Ui, state: &mut State, actions: &mut Actions) {
    let Some(number) = state.tour else { return };
    let Some(stop) = STOPS.get(number) else { return };
    let t = ui.tokens();
    let screen = ui.ctx().content_rect();
    let lit = (stop.place)(screen).shrink(3.0);
    let layer = LayerId::new(Order::Foreground, Id::unique("tour shade"));
    let painter = ui.ctx().layer_painter(layer);
    let shade = t.window.gamma_multiply(if t.dark { 0.78 } else { 0.72 });
    for part in around(screen, lit) {
        painter.rect_filled(part, 0.0, shade);
    }
    painter.rect_stroke(lit, 8.0, Stroke::new(2.0, t.accent), StrokeKind::Inside);
    // What the tour speaks of is out of reach while it does: for the pointer, and for Tab.
    Area::new(Id::unique("tour ground"))
        .order(Order::Foreground)
        .fixed_pos(screen.min)
        .show(ui.ctx(), |ui| ui.allocate_rect(screen, Sense::click_and_drag()));
    let area = Area::new(Id::unique("tour")).order(Order::Tooltip);
    ui.ctx().memory_mut(|memory| memory.set_modal_layer(area.layer()));
    area.fixed_pos(beside(screen, lit)).constrain(true).show(ui.ctx(), |ui| {
        let frame = Frame::popup(ui.style()).inner_margin(Margin::same(18)).corner_radius(12);
        frame.show(ui, |ui| {
            ui.set_width(WIDTH);
            let count = format!("{} of {}", number + 1, STOPS.len());
            ui.label(RichText::new(count).size(11.5).color(t.text_muted));
            ui.label(RichText::new(stop.title).font(theme::semibold(16.0)));
            let text = RichText::new(stop.text).size(13.0);
            ui.add(eframe::egui::Label::new(text).wrap());
            ui.add_space(6.0);
            steps(ui, state, number, actions);
        });
    });
    if ui.input(|i| i.key_pressed(Key::Escape)) {
        actions.push(Action::EndTour);
    }
}

fn steps(ui: &mut Ui, state: &mut State, number: usize, actions: &mut Actions) {
    let size = vec2(WIDTH, 34.0);
    ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), |ui| {
        let last = number + 1 == STOPS.len();
        let next = widgets::primary_button(ui, true, if last { "Done" } else { "Next" });
        if ui.memory(|memory| memory.focused().is_none()) {
            next.request_focus();
        }
        if next.clicked() {
            if last {
                actions.push(Action::EndTour);
            } else {
                state.tour = Some(number + 1);
            }
        }
        if !last && widgets::bar_button(ui, true, "Skip the tour").clicked() {
            actions.push(Action::EndTour);
        }
    });
}

/// The screen without `lit`, in four parts.
fn around(screen: Rect, lit: Rect) -> [Rect; 4] {
    let part = |min: Pos2, max: Pos2| Rect::from_min_max(min, max);
    [
        part(screen.min, pos2(screen.right(), lit.top())),
        part(pos2(screen.left(), lit.bottom()), screen.max),
        part(pos2(screen.left(), lit.top()), pos2(lit.left(), lit.bottom())),
        part(pos2(lit.right(), lit.top()), pos2(screen.right(), lit.bottom())),
    ]
}

/// A place for the words that does not hide what they speak of, where there is one.
fn beside(screen: Rect, lit: Rect) -> Pos2 {
    const HEIGHT: f32 = 190.0;
    if screen.right() - lit.right() > WIDTH + 60.0 {
        pos2(lit.right() + 16.0, lit.top() + 60.0)
    } else if lit.height() < 120.0 {
        pos2(lit.right() - WIDTH - 60.0, lit.top() - HEIGHT - 12.0)
    } else {
        pos2(lit.center().x - WIDTH / 2.0, lit.bottom() - HEIGHT - 30.0)
    }
}
