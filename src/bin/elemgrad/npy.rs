//! NumPy's `.npy` files: checked when they are opened, read and written in pieces.

use std::{
    cmp::Ordering,
    fs::File,
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use elemgrad::{DType, Element};
use npyz::{NpyHeader, Order, TypeStr, WriteOptions, WriterBuilder as _};

// A file has the bytes of its elements in the same order as a GPU's buffer.
const _: () = assert!(cfg!(target_endian = "little"), "needs a little-endian host");

/// The longest header to read. NumPy has the same limit.
const MAX_HEADER: u32 = 10_000;
/// The deepest nesting of brackets in a header. A structured type has a few levels, and the parser's stack is finite.
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
    #[error("holds elements of type {0}, needs '<f4', '<f2' or, for bf16, '<u2': save it as .astype('<f4')")]
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

/// An open file to read, or a number in its place.
pub(crate) struct Reader {
    path: PathBuf,
    file: Box<dyn Read>,
    is_number: bool,
    header: Header,
    /// The bytes of a piece before rounding.
    wide: Vec<u8>,
}

#[derive(Debug)]
struct Header {
    shape: Vec<u64>,
    elements: u64,
    stored: Stored,
}

/// The type of the elements in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    F16,
    /// 16-bit words: bf16, for which NumPy has no type.
    U16,
    F32,
    F64,
}

impl Stored {
    const ALL: [Self; 4] = [Self::F16, Self::U16, Self::F32, Self::F64];

    /// NumPy's name.
    fn descr(self) -> &'static str {
        match self {
            Self::F16 => "<f2",
            Self::U16 => "<u2",
            Self::F32 => "<f4",
            Self::F64 => "<f8",
        }
    }

    /// Its name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::U16 => "'<u2'",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    fn size(self) -> usize {
        match self {
            Self::F16 | Self::U16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

impl From<DType> for Stored {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self::F32,
            DType::F16 => Self::F16,
            // NumPy has no bf16: files hold its bits.
            _ => Self::U16,
        }
    }
}

impl Reader {
    /// Opens a file and checks everything except the data.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Self::try_open(path).map_err(|problem| Error { path: path.to_owned(), problem })
    }

    fn try_open(path: &Path) -> Result<Self, Problem> {
        let mut file = File::open(path)?;
        let (header, header_len) = read_header(&mut file)?;
        let need = header.elements.checked_mul(header.stored.size() as u64).ok_or(Problem::Shape)?;
        let metadata = file.metadata()?;
        // The length of a pipe is known only after it has been read.
        let got = if metadata.is_file() { metadata.len().saturating_sub(header_len) } else { need };
        if got != need {
            return Err(Problem::Length { got, need, shape: tuple(&header.shape) });
        }
        Ok(Self { path: path.to_owned(), file: Box::new(file), is_number: false, header, wide: Vec::new() })
    }

    /// A number, as an array without axes.
    pub(crate) fn number(value: f32) -> Self {
        Self {
            path: value.to_string().into(),
            file: Box::new(io::Cursor::new(value.to_le_bytes())),
            is_number: true,
            header: Header { shape: Vec::new(), elements: 1, stored: Stored::F32 },
            wide: Vec::new(),
        }
    }

    /// Whether this is a number, which takes the type of the files.
    pub(crate) fn is_number(&self) -> bool {
        self.is_number
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The type of the elements.
    pub(crate) fn stored(&self) -> Stored {
        self.header.stored
    }

    /// The array's shape.
    pub(crate) fn shape(&self) -> &[u64] {
        &self.header.shape
    }

    /// The number of elements.
    pub(crate) fn elements(&self) -> u64 {
        self.header.elements
    }

    /// Reads the next `values.len()` elements. Elements of a wider type are rounded.
    pub(crate) fn read<E: Element>(&mut self, values: &mut [E]) -> Result<(), Error> {
        self.try_read(E::DTYPE, bytemuck::cast_slice_mut(values))
            .map_err(|problem| Error { path: self.path.clone(), problem })
    }

    fn try_read(&mut self, dtype: DType, bytes: &mut [u8]) -> Result<(), Problem> {
        let (stored, size) = (self.header.stored, dtype.size() as usize);
        if stored.size() == size {
            return read_exact(&mut self.file, bytes, Problem::Short);
        }
        self.wide.resize(bytes.len() / size * stored.size(), 0);
        read_exact(&mut self.file, &mut self.wide, Problem::Short)?;
        let values = bytes.chunks_exact_mut(size);
        let store = |value: &mut [u8], bits: u32| value.copy_from_slice(&bits.to_le_bytes()[..size]);
        if stored == Stored::F64 {
            let (wide, _) = self.wide.as_chunks();
            values.zip(wide).for_each(|(value, wide)| store(value, round(dtype, f64::from_le_bytes(*wide))));
        } else {
            let (wide, _) = self.wide.as_chunks();
            values.zip(wide).for_each(|(value, wide)| store(value, dtype.round(f32::from_le_bytes(*wide))));
        }
        Ok(())
    }

    /// Checks that nothing follows the data. For a pipe this is known only after everything has been read.
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

/// The bits of the element nearest to `value`, ties to even. Rounds only once.
fn round(dtype: DType, value: f64) -> u32 {
    // `as` rounds to nearest, ties to even.
    let nearest = value as f32;
    let below = match f64::from(nearest).abs().partial_cmp(&value.abs()) {
        Some(Ordering::Greater) => f32::from_bits(nearest.to_bits() - 1),
        Some(Ordering::Less) => nearest,
        // `nearest` is exact, or NaN.
        _ => return dtype.round(nearest),
    };
    if dtype == DType::F32 {
        return nearest.to_bits();
    }
    // Rounded towards zero, with the last bit set to mark what is lost. An f32 has more bits than the 16-bit types,
    // so this value is on the same side of their ties as `value`.
    dtype.round(f32::from_bits(below.to_bits() | 1))
}

/// Writes the header of an array of `dtype` elements, or of 32-bit words.
pub(crate) fn write_header(writer: impl Write, dtype: Option<DType>, shape: &[u64]) -> io::Result<()> {
    let descr = dtype.map_or("<u4", |dtype| Stored::from(dtype).descr());
    let ty: TypeStr = descr.parse().map_err(io::Error::other)?;
    let options = WriteOptions::new_header_only().dtype(npyz::DType::new_scalar(ty));
    options.shape(shape).writer(writer).write_header_only().map(drop)
}

/// Reads the header. Returns it and its number of bytes.
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
        let named = |stored: &Stored| ty.trim_matches('\'') == stored.descr();
        let stored = Stored::ALL.into_iter().find(named).ok_or_else(|| Problem::Type(ty.clone()))?;
        if header.order() == Order::Fortran && header.shape().len() > 1 {
            return Err(Problem::Fortran);
        }
        Ok(Self { shape: header.shape().to_vec(), elements: header.len(), stored })
    }
}

/// Checks that a header is as plain as those that NumPy writes. On other headers the parser may panic (sums of
/// numbers, products that overflow), recurse without end or take exponential time (nested brackets).
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
    // The parser multiplies a shape's dimensions. A zero counts as 1 here because the parser also multiplies partial
    // products.
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

    /// A header with any few bytes replaced, removed or doubled is read or refused, without a panic.
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

    /// Tests values halfway between neighbours of a type, and values slightly off halfway by less than an f32
    /// resolves.
    #[test]
    fn doubles_are_rounded_once() {
        for &dtype in DType::ALL {
            let (one, infinity) = (dtype.round(1.0), dtype.round(f32::INFINITY));
            for low in (0..64).chain(one - 8..one + 8).chain(infinity - 8..infinity - 1) {
                let (a, b) = (f64::from(dtype.widen(low)), f64::from(dtype.widen(low + 1)));
                let (middle, even) = (f64::midpoint(a, b), low + (low & 1));
                let expected = [
                    (a, low),
                    (middle.next_down(), low),
                    (middle, even),
                    (middle.next_up(), low + 1),
                    (b, low + 1),
                ];
                for (value, expected) in expected {
                    let sign = 1 << (8 * dtype.size() - 1);
                    assert_eq!(round(dtype, value), expected, "{value:e} in {}", dtype.name());
                    assert_eq!(round(dtype, -value), expected | sign, "{:e} in {}", -value, dtype.name());
                }
            }
            assert_eq!(round(dtype, 1e300), infinity);
            assert_eq!(round(dtype, 1e-300), 0);
            assert!(dtype.widen(round(dtype, f64::NAN)).is_nan());
        }
    }

    #[test]
    fn deep_headers_are_refused_at_once() {
        for open in ["(", "[", "{", "{1:", "{'a':"] {
            let text = open.repeat(9_000 / open.len());
            assert!(matches!(read_header(&mut file(&text).as_slice()), Err(Problem::Header(_))));
        }
    }
}
