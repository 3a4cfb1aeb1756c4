//! The handwritten digits, and the choice of those that are held out.

use std::io;

use fastrand::Rng;
use ndarray::{Array1, Array2, Axis};

/// 8 × 8 pixels.
pub(crate) const PIXELS: usize = 64;
pub(crate) const CLASSES: usize = 10;
/// Pixels range from 0 to 16.
const BRIGHTEST: f32 = 16.0;

/// Bytes, one row per digit: its pixels, then the digit. The README in this folder names the source.
static FILE: &[u8] = include_bytes!("digits.npy");

pub(crate) struct Digits {
    /// One row per digit, from 0 to 1.
    pub(crate) images: Array2<f32>,
    pub(crate) labels: Array1<usize>,
}

impl Digits {
    /// All digits, in an order that `random` fixes.
    pub(crate) fn shuffled(random: &mut Rng) -> io::Result<Self> {
        let table = npyz::NpyFile::new(FILE)?.into_vec::<u8>()?;
        let mut rows: Vec<&[u8]> = table.chunks_exact(PIXELS + 1).collect();
        random.shuffle(&mut rows);
        let images = Array2::from_shape_fn((rows.len(), PIXELS), |(row, pixel)| {
            f32::from(rows[row][pixel]) / BRIGHTEST
        });
        let labels = rows.iter().map(|row| usize::from(row[PIXELS])).collect();
        Ok(Self { images, labels })
    }

    /// The first `count` digits, and the others.
    pub(crate) fn split(&self, count: usize) -> [Self; 2] {
        let (first, others): (Vec<_>, Vec<_>) = (0..self.len()).partition(|digit| *digit < count);
        [self.select(&first), self.select(&others)]
    }

    pub(crate) fn select(&self, digits: &[usize]) -> Self {
        let rows = Axis(0);
        Self { images: self.images.select(rows, digits), labels: self.labels.select(rows, digits) }
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }
}
