//! What can be taken away of a run, and how it is written.

use std::path::{Path, PathBuf};

use crate::data::source_rows::write_rows;
use crate::report::charts::{self, Chart};
use crate::report::csv::csv;
use crate::report::page;
use crate::report::palette::Palette;
use crate::report::picture::{Style, picture};
use crate::report::run_view::RunView;
use crate::report::scene::Scene;
use crate::report::svg::svg;
use crate::report::tensorboard;
use crate::report::{Skip, read};
use crate::run::durable;
use crate::run::export::export_arm;

use super::raster;
use super::views::charts::Look;

/// Something to be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Export {
    Picture {
        what: What,
        format: Format,
    },
    /// Every series.
    Values,
    /// The run as one page.
    Report,
    /// Some rows of a preference file, as they stand there.
    Rows {
        data: PathBuf,
        rows: Vec<usize>,
    },
    /// TensorBoard's event files, as a folder.
    TensorBoard,
    /// The adapter of the arm of this name, as a folder.
    Adapter(String),
}

/// What a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Chosen above rejected.
    Main,
    /// One of the small charts, by its id.
    Small(&'static str),
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Png,
    Svg,
}

impl Export {
    pub fn title(&self) -> &'static str {
        match self {
            Export::Picture { format: Format::Png, .. } => "Save as PNG",
            Export::Picture { format: Format::Svg, .. } => "Save as SVG",
            Export::Values => "Save all values as CSV",
            Export::Report => "Save the report as HTML",
            Export::Rows { .. } => "Save the pairs as a new file",
            Export::TensorBoard => "Save TensorBoard event files into a folder",
            Export::Adapter(_) => "Save the adapter into a new folder",
        }
    }

    /// Empty for a folder.
    pub fn extension(&self) -> &'static str {
        match self {
            Export::Picture { format: Format::Png, .. } => "png",
            Export::Picture { format: Format::Svg, .. } => "svg",
            Export::Values => "csv",
            Export::Report => "html",
            Export::Rows { .. } => "jsonl",
            Export::TensorBoard | Export::Adapter(_) => "",
        }
    }

    /// A name for the file, after the run's.
    pub fn file_name(&self, run: &str) -> String {
        let what = match self {
            Export::Picture { what: What::Main, .. } => "-log-likelihood",
            Export::Picture { what: What::Small(id), .. } => &format!("-{id}"),
            Export::Picture { what: What::All, .. } => "-charts",
            Export::Rows { data, .. } => {
                let stem = data.file_stem().unwrap_or_default().to_string_lossy();
                return format!("{stem}-kept.jsonl");
            }
            Export::TensorBoard => return format!("{run}-tensorboard"),
            Export::Adapter(arm) => return format!("{run}-{arm}"),
            Export::Values | Export::Report => "",
        };
        format!("{run}{what}.{}", self.extension())
    }
}

/// What is needed to write an export away from the window's thread.
pub enum Parcel {
    Scene {
        scene: Scene,
        title: String,
        format: Format,
    },
    /// Read from the run's folder: a long run's values are many.
    Values(PathBuf),
    Report(PathBuf),
    Rows {
        data: PathBuf,
        rows: Vec<usize>,
    },
    TensorBoard(PathBuf),
    Adapter {
        run: PathBuf,
        arm: String,
    },
}

/// Puts together what `export` needs; an error is a sentence.
pub fn pack(
    export: &Export,
    run: &RunView,
    look: Look,
    palette: &Palette,
) -> Result<Parcel, String> {
    let folder = || run.folder.clone().ok_or("This run has no folder to read from.".to_owned());
    match export {
        Export::Values => Ok(Parcel::Values(folder()?)),
        Export::Report => Ok(Parcel::Report(folder()?)),
        Export::Rows { data, rows } => Ok(Parcel::Rows { data: data.clone(), rows: rows.clone() }),
        Export::TensorBoard => Ok(Parcel::TensorBoard(folder()?)),
        Export::Adapter(arm) => Ok(Parcel::Adapter { run: folder()?, arm: arm.clone() }),
        Export::Picture { what, format } => {
            let title = name(run);
            let scene = scene(*what, run, look, palette, &title);
            Ok(Parcel::Scene { scene, title, format: *format })
        }
    }
}

/// The run's name: its folder's.
pub fn name(run: &RunView) -> String {
    let name = run.folder.as_deref().and_then(Path::file_name);
    name.map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn scene(what: What, run: &RunView, look: Look, palette: &Palette, title: &str) -> Scene {
    let main = what == What::Main || what == What::All;
    let mut shown: Vec<Chart> = Vec::new();
    if main {
        shown.extend(charts::answers(run, look.scale, look.smooth));
    }
    let small = charts::small(run).into_iter();
    shown.extend(small.filter(|c| what == What::All || what == What::Small(c.id)));
    let height = match what {
        What::Main => 240.0,
        What::Small(_) => 260.0,
        What::All => 150.0,
    };
    let style = Style { palette, axis: look.axis, width: 960.0, height, name_marks: main };
    picture(&[run], &shown, title, &style)
}

impl Parcel {
    /// Writes the file; an error is a sentence.
    pub fn write(self, path: &Path) -> Result<(), String> {
        let bytes = match self {
            Parcel::Rows { data, rows } => {
                let mut bytes = Vec::new();
                write_rows(&data, &rows, &mut bytes).map_err(|error| error.to_string())?;
                bytes
            }
            Parcel::TensorBoard(run) => {
                let written = tensorboard::write(&run, path);
                return written.map(drop).map_err(|error| error.to_string());
            }
            Parcel::Adapter { run, arm } => {
                return export_arm(&run, &arm, path).map(drop).map_err(|error| error.to_string());
            }
            Parcel::Scene { scene, format: Format::Png, .. } => raster::png(&scene)?,
            Parcel::Scene { scene, title, format: Format::Svg } => svg(&scene, &title).into_bytes(),
            Parcel::Values(folder) => {
                let run = read(&folder, Skip::Nothing).map_err(|error| error.to_string())?;
                csv(&run).into_bytes()
            }
            Parcel::Report(folder) => {
                page::report(&folder).map_err(|error| error.to_string())?.into_bytes()
            }
        };
        durable::replace_file(path, &bytes).map_err(|error| error.to_string())
    }
}
