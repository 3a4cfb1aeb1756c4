//! NumPy's `.npy` files: checked when opened, read and written in pieces.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use npyz::{NpyHeader, Order, WriteOptions, WriterBuilder as _};

// A file's bytes are the elements' bytes, as they are in a GPU's buffers.
const _: () = assert!(cfg!(target_endian = "little"), "needs a little-endian host");

/// The longest header that is read: NumPy's own limit.
const MAX_HEADER: u32 = 10_000;
/// The deepest nesting of brackets in a header: a structured type has a few levels, the parser's stack has an end.
const MAX_NESTING: i32 = 8;

/// What is wrong with a file, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub(crate) struct Error {
    path: PathBuf,
    problem: Problem,
}

/// What is wrong with a file, and what to do.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is no .npy file: write it with numpy.save")]
    NotNpy,
    #[error("has .npy format version {0}.{1}, needs 1.0, 2.0 or 3.0: write it with numpy.save")]
    Version(u8, u8),
    #[error(
        "has a header of {0} bytes, more than the {MAX_HEADER} that NumPy reads: write it again with numpy.save"
    )]
    LongHeader(u32),
    #[error("ends within its header: the file is truncated, write it again")]
    ShortHeader,
    #[error("has a malformed header ({0}): write it again with numpy.save")]
    Header(String),
    #[error(
        "has an impossible shape (a negative dimension, or more elements than 2^64): write it again with numpy.save"
    )]
    Shape,
    #[error("holds f64: pass --cast to round it to f32, or save it as .astype('<f4')")]
    Double,
    #[error("holds elements of type {0}, needs '<f4': save it as .astype('<f4')")]
    Type(String),
    #[error("is in Fortran order, needs C order: save numpy.ascontiguousarray of it")]
    Fortran,
    #[error("has {got} bytes of data where the shape {shape} needs {need}: the file is {}, write it again",
        if got < need { "truncated" } else { "longer than it says" })]
    Length { got: u64, need: u64, shape: String },
    #[error("ends before its data does: write it again")]
    Short,
    #[error("goes on after its data: write it again")]
    Long,
}

/// A file that is being read.
pub(crate) struct Reader {
    path: PathBuf,
    file: File,
    header: Header,
    /// The bytes of a piece of f64.
    doubles: Vec<u8>,
}

#[derive(Debug)]
struct Header {
    shape: Vec<u64>,
    elements: u64,
    double: bool,
}

impl Reader {
    /// Opens a file and checks all of it but the data. With `cast`, f64 will do, and is rounded.
    pub(crate) fn open(path: &Path, cast: bool) -> Result<Self, Error> {
        Self::try_open(path, cast).map_err(|problem| Error { path: path.to_owned(), problem })
    }

    fn try_open(path: &Path, cast: bool) -> Result<Self, Problem> {
        let mut file = File::open(path)?;
        let (header, header_len) = read_header(&mut file)?;
        if header.double && !cast {
            return Err(Problem::Double);
        }
        let need = header.elements.checked_mul(if header.double { 8 } else { 4 }).ok_or(Problem::Shape)?;
        let metadata = file.metadata()?;
        // A pipe's length shows when it has been read.
        let got = if metadata.is_file() { metadata.len().saturating_sub(header_len) } else { need };
        if got != need {
            return Err(Problem::Length { got, need, shape: tuple(&header.shape) });
        }
        Ok(Self { path: path.to_owned(), file, header, doubles: Vec::new() })
    }

    /// The array's shape.
    pub(crate) fn shape(&self) -> &[u64] {
        &self.header.shape
    }

    /// How many elements it has.
    pub(crate) fn elements(&self) -> u64 {
        self.header.elements
    }

    /// The next elements, as many as `values` has.
    pub(crate) fn read(&mut self, values: &mut [f32]) -> Result<(), Error> {
        self.try_read(values).map_err(|problem| Error { path: self.path.clone(), problem })
    }

    fn try_read(&mut self, values: &mut [f32]) -> Result<(), Problem> {
        if !self.header.double {
            return read_exact(&mut self.file, bytemuck::cast_slice_mut(values), Problem::Short);
        }
        self.doubles.resize(values.len() * 8, 0);
        read_exact(&mut self.file, &mut self.doubles, Problem::Short)?;
        let (doubles, _) = self.doubles.as_chunks();
        // `as` rounds to nearest, ties to even.
        values.iter_mut().zip(doubles).for_each(|(value, bytes)| *value = f64::from_le_bytes(*bytes) as f32);
        Ok(())
    }

    /// Sees that nothing follows the data: a pipe shows it only when all has been read.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let problem = match self.file.read(&mut [0]) {
            Ok(0) => return Ok(()),
            Ok(_) => Problem::Long,
            Err(e) => e.into(),
        };
        Err(Error { path: self.path.clone(), problem })
    }
}

/// A shape as Python writes it.
pub(crate) fn tuple(shape: &[u64]) -> String {
    match shape {
        [one] => format!("({one},)"),
        _ => format!("({})", shape.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// The header of an array of f32.
pub(crate) fn write_header(writer: impl Write, shape: &[u64]) -> io::Result<()> {
    WriteOptions::<f32>::new().default_dtype().shape(shape).writer(writer).write_header_only().map(drop)
}

/// The header, and how many bytes it takes.
fn read_header(reader: &mut impl Read) -> Result<(Header, u64), Problem> {
    let mut bytes = vec![0; 8];
    read_exact(reader, &mut bytes, Problem::NotNpy)?;
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err(Problem::NotNpy);
    }
    let length_bytes = match (bytes[6], bytes[7]) {
        (1, 0) => 2,
        (2 | 3, 0) => 4,
        (major, minor) => return Err(Problem::Version(major, minor)),
    };
    let mut length = [0; 4];
    read_exact(reader, &mut length[..length_bytes], Problem::ShortHeader)?;
    bytes.extend_from_slice(&length[..length_bytes]);
    let length = u32::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(Problem::LongHeader(length));
    }
    let text_start = bytes.len();
    bytes.resize(text_start + length as usize, 0);
    read_exact(reader, &mut bytes[text_start..], Problem::ShortHeader)?;
    let text = str::from_utf8(&bytes[text_start..]).map_err(|_| Problem::Header("not text".into()))?;
    check_text(text)?;
    let header =
        NpyHeader::from_reader(bytes.as_slice()).map_err(|e| Problem::Header(first_line(&e.to_string())))?;
    Ok((Header::new(&header)?, bytes.len() as u64))
}

impl Header {
    fn new(header: &NpyHeader) -> Result<Self, Problem> {
        let ty = header.dtype().descr();
        let double = match ty.as_str() {
            "'<f4'" => false,
            "'<f8'" => true,
            _ => return Err(Problem::Type(ty)),
        };
        if header.order() == Order::Fortran && header.shape().len() > 1 {
            return Err(Problem::Fortran);
        }
        Ok(Self { shape: header.shape().to_vec(), elements: header.len(), double })
    }
}

/// Sees that a header is as plain as those that NumPy writes: on others the parser may panic (sums of numbers, products
/// that overflow), recurse without end or take exponential time (nested brackets).
fn check_text(text: &str) -> Result<(), Problem> {
    let malformed = |what: &str| Problem::Header(what.into());
    if text.contains(['\\', '"']) {
        return Err(malformed("an escape or a double quote"));
    }
    let outside_quotes: String = text.split('\'').step_by(2).collect();
    let mut depth = 0;
    for c in outside_quotes.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '-' => return Err(Problem::Shape),
            ',' | ':' | ' ' | '\n' => {}
            c if c.is_ascii_alphanumeric() => {}
            _ => return Err(malformed("an unexpected character")),
        }
        if depth > MAX_NESTING {
            return Err(malformed("too many brackets"));
        }
    }
    // The parser multiplies a shape's dimensions, zeros left out here because it multiplies partial products too.
    let words = outside_quotes.split(|c: char| !c.is_ascii_alphanumeric());
    let numbers: Vec<_> = words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit())).collect();
    if numbers.iter().any(|n| n.contains(|c: char| !c.is_ascii_digit())) {
        return Err(malformed("a number that is no plain integer"));
    }
    let product =
        numbers.iter().map(|n| n.parse::<u64>().ok()).try_fold(1u64, |all, n| all.checked_mul(n?.max(1)));
    product.map(drop).ok_or(Problem::Shape)
}

fn read_exact(reader: &mut impl Read, bytes: &mut [u8], at_the_end: Problem) -> Result<(), Problem> {
    reader.read_exact(bytes).map_err(|e| match e.kind() {
        ErrorKind::UnexpectedEof => at_the_end,
        _ => e.into(),
    })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end_matches(':').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Vec<u8> {
        let length = (text.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes()].concat()
    }

    /// Headers with any few bytes exchanged, left out or doubled are read or refused, without a panic.
    #[test]
    fn no_header_panics() {
        let headers = [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4294967295), }\n",
            "{'descr': [('a', '<f4', (2,)), ('b', '<U10')], 'fortran_order': True, 'shape': (1,), }\n",
        ];
        let pieces = [
            "(", ")", "{", "[", "'", "\"", "\\", "-", "+", ".", "9", "0x", "e9", "j", "_", ",", ":", "\n",
            "\u{e9}", "True",
        ];
        let mut accepted = 0;
        for header in headers {
            for at in 0..=header.len() {
                for (piece, skip) in pieces.iter().flat_map(|piece| [(piece, 0), (piece, 1), (piece, 9)]) {
                    let end = header.len().min(at + skip);
                    let text = header[..at].to_owned() + piece + &header[end..];
                    accepted += u32::from(read_header(&mut file(&text).as_slice()).is_ok());
                }
            }
        }
        assert!(accepted > 0);
    }

    #[test]
    fn deep_headers_are_refused_at_once() {
        for open in ["(", "[", "{", "{1:", "{'a':"] {
            let text = open.repeat(9_000 / open.len());
            assert!(matches!(read_header(&mut file(&text).as_slice()), Err(Problem::Header(_))));
        }
    }
}
