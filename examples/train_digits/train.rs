//! The training loop.

use elemgrad::{Error, Op, Runner};
use fastrand::Rng;

use crate::{
    data::Digits,
    network::Network,
    optimizer::{Optimizer, Rule},
};

const BATCH: usize = 64;

pub(crate) struct Trainer<'a> {
    pub(crate) runner: &'a Runner,
    pub(crate) training: Digits,
    pub(crate) held_out: Digits,
    pub(crate) epochs: u32,
}

/// The results of a network after one more pass over all its digits.
pub(crate) struct Epoch {
    /// The mean over the digits it learns from, while it learns.
    pub(crate) loss: f32,
    /// The share of held-out digits that the network classifies correctly.
    pub(crate) accuracy: f32,
}

impl Epoch {
    pub(crate) fn percent(&self) -> f32 {
        100.0 * self.accuracy
    }
}

impl Trainer<'_> {
    /// Trains a new network and reports each epoch to `tell`.
    pub(crate) fn train(
        &self,
        activation: &Op,
        rule: Rule,
        random: &mut Rng,
        mut tell: impl FnMut(&Epoch),
    ) -> Result<Vec<Epoch>, Error> {
        let mut network = Network::new(self.runner, activation, random);
        let mut optimizer = Optimizer::new(rule, &network.parameters);
        let epoch = |_| {
            let loss = self.epoch(&mut network, &mut optimizer, random)?;
            let epoch = Epoch { loss, accuracy: network.accuracy(&self.held_out)? };
            tell(&epoch);
            Ok(epoch)
        };
        (0..self.epochs).map(epoch).collect()
    }

    /// Takes one step per batch. Returns the mean loss.
    fn epoch(
        &self,
        network: &mut Network,
        optimizer: &mut Optimizer,
        random: &mut Rng,
    ) -> Result<f32, Error> {
        let mut order: Vec<usize> = (0..self.training.len()).collect();
        random.shuffle(&mut order);
        let mut sum = 0.0;
        for batch in order.chunks(BATCH) {
            let (loss, gradients) = network.loss(&self.training.select(batch))?;
            optimizer.step(&mut network.parameters, &gradients);
            sum += loss * batch.len() as f32;
        }
        Ok(sum / order.len() as f32)
    }
}
