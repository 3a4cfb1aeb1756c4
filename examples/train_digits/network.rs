//! Two layers with an activation between them: the scores of images, and the gradients of the parameters.

use elemgrad::{Error, Op, Runner};
use fastrand::Rng;
use ndarray::{Array1, Array2, Axis};

use crate::data::{CLASSES, Digits, PIXELS};

const HIDDEN: usize = 512;
/// The first layer starts around the middle of the rising half of `spiky`, with weights so small that no image is
/// near the jump.
const FIRST_DEVIATION: f32 = 0.05 / 8.0;
const FIRST_BIAS: f32 = 0.25;

/// Weights and bias of the first layer, then of the second. A bias is a row.
pub(crate) type Parameters = [Array2<f32>; 4];

pub(crate) struct Network<'a> {
    runner: &'a Runner,
    activation: &'a Op,
    pub(crate) parameters: Parameters,
}

impl<'a> Network<'a> {
    pub(crate) fn new(runner: &'a Runner, activation: &'a Op, random: &mut Rng) -> Self {
        let mut weights = |shape, deviation: f32| {
            // The bound of uniform numbers with this standard deviation.
            let bound = deviation * 3.0_f32.sqrt();
            Array2::from_shape_simple_fn(shape, || bound * (2.0 * random.f32() - 1.0))
        };
        let parameters = [
            weights((PIXELS, HIDDEN), FIRST_DEVIATION),
            Array2::from_elem((1, HIDDEN), FIRST_BIAS),
            weights((HIDDEN, CLASSES), (HIDDEN as f32).sqrt().recip()),
            Array2::zeros((1, CLASSES)),
        ];
        Self { runner, activation, parameters }
    }

    /// The share of digits that the network classifies correctly.
    pub(crate) fn accuracy(&self, digits: &Digits) -> Result<f32, Error> {
        let [_, _, scores] = self.forward(&digits.images)?;
        let right = scores.rows().into_iter().zip(&digits.labels).filter(|(row, label)| {
            let best = row.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
            best.is_some_and(|(class, _)| class == **label)
        });
        Ok(right.count() as f32 / digits.len() as f32)
    }

    /// The mean loss, and its gradient with respect to each parameter.
    pub(crate) fn loss(&self, digits: &Digits) -> Result<(f32, Parameters), Error> {
        let [_, _, weights, _] = &self.parameters;
        let [x, z, scores] = self.forward(&digits.images)?;
        let (loss, dscores) = cross_entropy(scores, &digits.labels);
        let dz = dscores.dot(&weights.t());
        let dx = self.runner.backward(self.activation, &[flat(&x)], flat(&dz))?.swap_remove(0);
        let dx = shaped(dx, &x);
        let gradients =
            [digits.images.t().dot(&dx), sum_of_rows(&dx), z.t().dot(&dscores), sum_of_rows(&dscores)];
        Ok((loss, gradients))
    }

    /// The input of the activation, its output, and the scores of the classes.
    fn forward(&self, images: &Array2<f32>) -> Result<[Array2<f32>; 3], Error> {
        let [first, first_bias, second, second_bias] = &self.parameters;
        let x = images.dot(first) + first_bias;
        let z = shaped(self.runner.forward(self.activation, &[flat(&x)])?, &x);
        let scores = z.dot(second) + second_bias;
        Ok([x, z, scores])
    }
}

/// The mean cross-entropy of the softmax of the scores, and its gradient with respect to the scores.
fn cross_entropy(mut scores: Array2<f32>, labels: &Array1<usize>) -> (f32, Array2<f32>) {
    let mut loss = 0.0;
    for (mut row, label) in scores.rows_mut().into_iter().zip(labels) {
        let most = row.fold(f32::NEG_INFINITY, |most, score| most.max(*score));
        row.mapv_inplace(|score| (score - most).exp());
        row /= row.sum();
        loss -= row[*label].max(f32::MIN_POSITIVE).ln();
        row[*label] -= 1.0;
    }
    let count = labels.len() as f32;
    (loss / count, scores / count)
}

fn sum_of_rows(matrix: &Array2<f32>) -> Array2<f32> {
    matrix.sum_axis(Axis(0)).insert_axis(Axis(0))
}

/// The elements as a slice, for a kernel.
fn flat(matrix: &Array2<f32>) -> &[f32] {
    matrix.as_slice().expect("a product lies row by row")
}

/// A kernel's output, in the shape of its input.
fn shaped(elements: Vec<f32>, like: &Array2<f32>) -> Array2<f32> {
    Array2::from_shape_vec(like.raw_dim(), elements).expect("an output is as long as the input")
}
