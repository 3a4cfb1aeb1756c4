//! The rules by which gradients change parameters.

use ndarray::{Array2, Zip};

use crate::network::Parameters;

#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Kingma and Ba's rule. Each parameter's step is divided by the size of its gradients, so it does not shrink
    /// with them.
    Adam,
}

const SGD_STEP: f32 = 0.003;
const MOMENTUM: f32 = 0.9;

const ADAM_STEP: f32 = 0.001;
/// The decay factors of the mean gradient and of the mean squared gradient.
const KEPT: [f32; 2] = [0.9, 0.999];
const EPSILON: f32 = 1e-8;

pub(crate) struct Optimizer {
    rule: Rule,
    steps: i32,
    /// A sum of gradients in which old ones decay; for Adam, their mean.
    gradients: Parameters,
    /// The mean of the squared gradients, for Adam.
    squares: Parameters,
}

impl Optimizer {
    pub(crate) fn new(rule: Rule, parameters: &Parameters) -> Self {
        let zeros = || parameters.each_ref().map(|p| Array2::zeros(p.raw_dim()));
        Self { rule, steps: 0, gradients: zeros(), squares: zeros() }
    }

    pub(crate) fn step(&mut self, parameters: &mut Parameters, gradients: &Parameters) {
        self.steps += 1;
        for (i, (parameter, gradient)) in parameters.iter_mut().zip(gradients).enumerate() {
            match self.rule {
                Rule::Sgd => {
                    let velocity = &mut self.gradients[i];
                    velocity.zip_mut_with(gradient, |v, g| *v = MOMENTUM * *v + g);
                    parameter.scaled_add(-SGD_STEP, velocity);
                }
                Rule::Adam => {
                    // Corrects the means for their start at 0.
                    let unbiased = KEPT.map(|kept| (1.0 - kept.powi(self.steps)).recip());
                    let (mean, square) = (&mut self.gradients[i], &mut self.squares[i]);
                    Zip::from(parameter).and(mean).and(square).and(gradient).for_each(|p, m, s, g| {
                        *m = KEPT[0] * *m + (1.0 - KEPT[0]) * g;
                        *s = KEPT[1] * *s + (1.0 - KEPT[1]) * g * g;
                        *p -= ADAM_STEP * *m * unbiased[0] / ((*s * unbiased[1]).sqrt() + EPSILON);
                    });
                }
            }
        }
    }
}
