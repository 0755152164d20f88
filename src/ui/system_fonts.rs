//! Scripts the bundled font lacks (Han, Kana, Hangul, Arabic, Devanagari, ..): pairs may hold any of them.
//! When such a character is first drawn, a font of this system that usually has it is looked up by its file
//! name and added behind the bundled one.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use eframe::egui::{Context, FontData, FontFamily};
use eframe::epaint::text::{
    FallbackRequest, FontInsert, FontPriority, FontProvider, InsertFontFamily,
};

/// Beginnings of file names, in lower case, by the first and last character of a block; the first that is
/// there is tried first.
const BLOCKS: &[(u32, u32, &[&str])] = &[
    (0x0590, 0x05FF, &["notosanshebrew", "arialhb", "dejavusans.", "arial.", "segoeui."]),
    (
        0x0600,
        0x077F,
        &["notosansarabic", "notonaskharabic", "geezapro", "dejavusans.", "segoeui.", "arial."],
    ),
    (
        0x0900,
        0x097F,
        &["notosansdevanagari", "lohit-devanagari", "kohinoor.", "kohinoordevanagari", "nirmala"],
    ),
    (0x0980, 0x09FF, &["notosansbengali", "lohit-bengali", "kohinoorbangla", "nirmala"]),
    (0x0A00, 0x0A7F, &["notosansgurmukhi", "lohit-gurmukhi", "nirmala"]),
    (0x0A80, 0x0AFF, &["notosansgujarati", "lohit-gujarati", "kohinoorgujarati", "nirmala"]),
    (0x0B80, 0x0BFF, &["notosanstamil", "lohit-tamil", "nirmala"]),
    (0x0C00, 0x0C7F, &["notosanstelugu", "lohit-telugu", "kohinoortelugu", "nirmala"]),
    (0x0E00, 0x0E7F, &["notosansthai", "garuda", "loma", "thonburi", "leelawui", "tahoma."]),
    (0x10A0, 0x10FF, &["notosansgeorgian", "dejavusans.", "segoeui.", "sylfaen"]),
    (0x1100, 0x11FF, HANGUL),
    (0x2E80, 0x312F, HAN),
    (0x3130, 0x318F, HANGUL),
    (0x3190, 0x9FFF, HAN),
    (0xAC00, 0xD7FF, HANGUL),
    (0xF900, 0xFAFF, HAN),
    (0xFF00, 0xFFEF, HAN),
    (0x1F000, 0x1FAFF, &["notoemoji", "symbola", "seguisym.", "seguiemj.", "notosanssymbols2"]),
    (0x20000, 0x323AF, HAN),
];

const HAN: &[&str] = &[
    "notosanscjk-regular",
    "notosanscjk",
    "notosanssc",
    "sourcehansans",
    "wqy-microhei",
    "wqy-zenhei",
    "droidsansfallback",
    "pingfang",
    "hiragino sans gb",
    "stheiti",
    "msyh.",
    "yugothr.",
    "simsun",
    "arial unicode",
];

const HANGUL: &[&str] = &[
    "notosanscjk-regular",
    "notosanscjk",
    "notosanskr",
    "nanumgothic.",
    "applesdgothicneo",
    "malgun.",
    "droidsansfallback",
    "arial unicode",
];

/// For everything else: fonts that cover much.
const OTHERS: &[&str] = &[
    "dejavusans.",
    "notosans-regular",
    "notosanssymbols2",
    "symbola",
    "apple symbols",
    "seguisym.",
    "segoeui.",
];

/// Fonts tried for one character before it is given up.
const TRIES: usize = 3;

/// Lets `ctx` find fonts of this system.
pub fn install(ctx: &Context) {
    let fonts = Arc::new(SystemFonts::default());
    for rank in 0..TRIES {
        ctx.add_font_provider(Arc::new(Candidate { fonts: Arc::clone(&fonts), rank }));
    }
}

#[derive(Default)]
struct SystemFonts {
    /// Font files by name in lower case; read at the first character that is missing.
    files: OnceLock<HashMap<String, PathBuf>>,
    loaded: Mutex<HashMap<PathBuf, Option<&'static [u8]>>>,
}

/// Offers the font of one rank among those that should have a character; egui asks the next rank when the
/// font does not have it after all.
struct Candidate {
    fonts: Arc<SystemFonts>,
    rank: usize,
}

impl FontProvider for Candidate {
    fn font_for(&self, request: &FallbackRequest<'_>) -> Option<FontInsert> {
        let character = request.cluster.chars().next()?;
        let path = self.fonts.candidates(character).into_iter().nth(self.rank)?;
        let bytes = self.fonts.bytes(&path)?;
        let family =
            |family: FontFamily| InsertFontFamily { family, priority: FontPriority::Lowest };
        let name = path.display().to_string();
        Some(FontInsert::new(
            &name,
            FontData::from_static(bytes),
            vec![family(request.family.clone())],
        ))
    }
}

impl SystemFonts {
    fn candidates(&self, character: char) -> Vec<PathBuf> {
        let files = self.files.get_or_init(|| font_files(&font_folders()));
        candidates(files, character)
    }

    /// A font's bytes. They stay in memory to the end, as the font in use does anyway.
    fn bytes(&self, path: &Path) -> Option<&'static [u8]> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || fs::read(path).ok().map(|bytes| &*Vec::leak(bytes));
        *loaded.entry(path.to_owned()).or_insert_with(read)
    }
}

fn candidates(files: &HashMap<String, PathBuf>, character: char) -> Vec<PathBuf> {
    let code = u32::from(character);
    let block = BLOCKS.iter().find(|(first, last, _)| (*first..=*last).contains(&code));
    let names = block.map_or(OTHERS, |(_, _, names)| names);
    let starting = |name: &str| {
        let mut found: Vec<&String> = files.keys().filter(|file| file.starts_with(name)).collect();
        // The plain face has the shortest name: `x-regular` before `x-regular-condensed`.
        found.sort_by_key(|file| (file.len(), (*file).clone()));
        found.first().and_then(|file| files.get(*file)).cloned()
    };
    let mut paths: Vec<PathBuf> = names.iter().copied().filter_map(starting).collect();
    paths.dedup();
    paths
}

fn font_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = if cfg!(target_os = "macos") {
        vec!["/System/Library/Fonts".into(), "/Library/Fonts".into()]
    } else if cfg!(windows) {
        let windows =
            std::env::var_os("WINDIR").map_or_else(|| "C:\\Windows".into(), PathBuf::from);
        vec![windows.join("Fonts")]
    } else {
        vec!["/usr/share/fonts".into(), "/usr/local/share/fonts".into()]
    };
    if let Some(own) =
        directories::UserDirs::new().and_then(|dirs| dirs.font_dir().map(Path::to_owned))
    {
        folders.push(own);
    }
    folders
}

/// Folders below a font folder that are looked into.
const DEPTH: usize = 5;

fn font_files(folders: &[PathBuf]) -> HashMap<String, PathBuf> {
    let mut files = HashMap::new();
    let mut open: Vec<(PathBuf, usize)> =
        folders.iter().map(|folder| (folder.clone(), 0)).collect();
    while let Some((folder, depth)) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                if depth < DEPTH {
                    open.push((path, depth + 1));
                }
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            if [".ttf", ".otf", ".ttc", ".otc"].iter().any(|end| name.ends_with(end)) {
                files.entry(name).or_insert(path);
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_font_is_found_by_the_script_of_the_character() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("truetype/noto");
        fs::create_dir_all(&below).unwrap();
        for name in
            ["NotoSansCJK-Bold.ttc", "NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "readme.txt"]
        {
            fs::write(below.join(name), "x").unwrap();
        }
        let files = font_files(&[dir.path().to_owned(), dir.path().join("gone")]);
        assert_eq!(files.len(), 3);
        assert_eq!(candidates(&files, '中')[0], below.join("NotoSansCJK-Regular.ttc"));
        assert_eq!(candidates(&files, '한')[0], below.join("NotoSansCJK-Regular.ttc"));
        assert_eq!(candidates(&files, 'ش'), [below.join("DejaVuSans.ttf")]);
        assert_eq!(candidates(&files, '⠿'), [below.join("DejaVuSans.ttf")]);
        assert_eq!(candidates(&files, 'क'), Vec::<PathBuf>::new());
    }

    #[test]
    fn blocks_ascend_and_do_not_overlap() {
        assert!(BLOCKS.windows(2).all(|pair| pair[0].1 < pair[1].0));
        assert!(BLOCKS.iter().all(|(first, last, names)| first <= last && !names.is_empty()));
    }
}
