//! A run as TensorBoard event files: a folder for each arm, so that TensorBoard lays the same metric of all arms over each
//! other.
//!
//! An event file is a row of TFRecords: `u64` length, its masked CRC-32C, the bytes, their masked CRC-32C, all
//! little-endian (tensorflow/core/lib/io/record_writer.cc). The bytes are an `Event` in protocol buffers
//! (tensorflow/core/util/event.proto): `double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5`,
//! where `Summary` is `repeated Value value = 1` and `Value` here `string tag = 1; float simple_value = 2`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::page::ReportError;
use super::ruler::Axis;
use super::run_view::RunView;
use super::series::{Key, Series};
use super::{Skip, read};
use crate::run::durable::{self, FileError};
use crate::run::folder;

/// The first event's words, by which readers know the format.
const FILE_VERSION: &str = "brain.Event:2";

/// Writes the event files of the run in `run` below `target`; answers them. Files that were written for the same run
/// before are replaced.
pub fn write(run: &Path, target: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let record = folder::read_record(run)?;
    let view = read(run, Skip::Nothing)?;
    if view.store.is_empty() {
        return Err(ReportError::Empty(run.to_owned()));
    }
    let began = began(&record.created);
    let arms: BTreeSet<&str> =
        view.store.all().into_iter().map(|(key, _)| key.arm.as_str()).collect();
    let mut written = Vec::new();
    for arm in arms {
        let folder = target.join(arm);
        fs::create_dir_all(&folder).map_err(|error| FileError::new("make", &folder, error))?;
        let path = folder.join(format!("events.out.tfevents.{:.0}.dpop-studio", began));
        durable::replace_file(&path, &events(&view, arm, began))?;
        written.push(path);
    }
    Ok(written)
}

/// Seconds since 1970 at which a run began; 0 where its record does not tell.
fn began(created: &str) -> f64 {
    let time: Result<jiff::Timestamp, _> = created.parse();
    time.map_or(0.0, |time| time.as_second() as f64)
}

/// One arm's event file: every series, step by step. `began`: seconds since 1970 at the first step.
pub fn events(run: &RunView, arm: &str, began: f64) -> Vec<u8> {
    let own: Vec<(String, &Series)> = run
        .store
        .all()
        .into_iter()
        .filter(|(key, _)| key.arm == arm)
        .map(|(Key { source, metric, .. }, series)| (format!("{}/{metric}", source.word()), series))
        .collect();
    let steps: BTreeSet<u32> =
        own.iter().flat_map(|(_, series)| series.steps().iter().copied()).collect();
    let time = run.ruler(Axis::Time);
    let mut next = vec![0; own.len()];
    let mut file = Vec::new();
    record(&mut file, &event(began, 0, &text_field(3, FILE_VERSION)));
    for step in steps {
        let mut summary = Vec::new();
        for ((tag, series), next) in own.iter().zip(&mut next) {
            if series.steps().get(*next) == Some(&step) {
                let value = value(tag, series.values()[*next] as f32);
                bytes_field(&mut summary, 1, &value);
                *next += 1;
            }
        }
        let mut field = Vec::new();
        bytes_field(&mut field, 5, &summary);
        record(&mut file, &event(began + time.x(f64::from(step)), u64::from(step), &field));
    }
    file
}

/// An `Event` with one more field, encoded already.
fn event(wall_time: f64, step: u64, what: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // Field 1, eight bytes.
    out.push(1 << 3 | 1);
    out.extend(wall_time.to_le_bytes());
    if step > 0 {
        // Field 2, a varint; 0 is what an absent one means.
        out.push(2 << 3);
        varint(&mut out, step);
    }
    out.extend(what);
    out
}

/// A `Summary.Value`.
fn value(tag: &str, value: f32) -> Vec<u8> {
    let mut out = text_field(1, tag);
    // Field 2, four bytes.
    out.push(2 << 3 | 5);
    out.extend(value.to_le_bytes());
    out
}

fn text_field(number: u8, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    bytes_field(&mut out, number, text.as_bytes());
    out
}

/// A length-delimited field with a number below 16.
fn bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// Seven bits a byte, the lowest first; the high bit says that more follow.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a TFRecord.
fn record(file: &mut Vec<u8>, bytes: &[u8]) {
    let length = (bytes.len() as u64).to_le_bytes();
    file.extend(length);
    file.extend(masked_crc32c(&length).to_le_bytes());
    file.extend(bytes);
    file.extend(masked_crc32c(bytes).to_le_bytes());
}

/// The checksum as TFRecords keep it: a CRC of data that holds CRCs would be weak, hence the mask.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), RFC 3720 appendix B.4.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, &byte| (crc >> 8) ^ TABLE[usize::from((crc as u8) ^ byte)])
}

/// The remainder of every byte, for the reflected polynomial.
const TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        let rising: Vec<u8> = (0..32).collect();
        let falling: Vec<u8> = (0..32).rev().collect();
        for (bytes, crc) in [
            (&[0u8; 32][..], 0x8a91_36aa),
            (&[0xffu8; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
            (&falling, 0x113f_db5c),
            (b"123456789", 0xe306_9283),
        ] {
            assert_eq!(crc32c(bytes), crc);
        }
        assert_eq!(crc32c(b""), 0);
    }

    /// The record that `tf.io.TFRecordWriter` makes of the event `tf.compat.v1.Event(wall_time=1, step=300,
    /// summary={value: {tag: "a", simple_value: 0.5}})`, byte by byte from the two formats.
    #[test]
    fn a_record_is_length_checksum_event_checksum() {
        let mut summary = Vec::new();
        bytes_field(&mut summary, 1, &value("a", 0.5));
        let mut field = Vec::new();
        bytes_field(&mut field, 5, &summary);
        let event = event(1.0, 300, &field);
        let bytes = [
            0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, // wall_time
            0x10, 0xac, 0x02, // step
            0x2a, 0x0a, // summary
            0x0a, 0x08, 0x0a, 0x01, b'a', 0x15, 0, 0, 0, 0x3f, // value
        ];
        assert_eq!(event, bytes);
        let mut file = Vec::new();
        record(&mut file, &event);
        assert_eq!(file.len(), 8 + 4 + bytes.len() + 4);
        assert_eq!(file[..8], 24u64.to_le_bytes());
        assert_eq!(file[12..36], bytes);
    }
}
