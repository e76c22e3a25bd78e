//! Text generation: one character at a time, drawn from the model's prediction.

use std::io::{Write, stdout};

use anyhow::{Result, anyhow};
use clap::Args;
use wgrad::data::Vocabulary;
use wgrad::nn::Module;
use wgrad::{Device, Generator, Tensor, no_grad};

use crate::common::args::{count, positive};
use crate::gpt::Gpt;

#[derive(Args)]
pub struct Writer {
    /// Number of characters to generate
    #[arg(long, default_value_t = 500)]
    sample: usize,

    /// Prompt
    #[arg(long, default_value = "\n")]
    prompt: String,

    /// Temperature: below 1 prefers likely characters, above 1 gives more variety
    #[arg(long, default_value_t = 0.8, value_parser = positive)]
    temperature: f64,

    /// Choose among this many of the likeliest characters
    #[arg(long, default_value_t = 40, value_parser = count)]
    top_k: usize,
}

impl Writer {
    /// Generates text and prints each character as soon as it is known.
    pub fn write(
        &self,
        model: &Gpt,
        vocabulary: &Vocabulary,
        context: usize,
        seed: u64,
        dev: &Device,
    ) -> Result<()> {
        let mut text = vocabulary.encode(&self.prompt).map_err(|unknown| {
            anyhow!("the prompt contains {unknown:?}, which is not in the training text")
        })?;
        let chances = Generator::new(seed).uniform(self.sample);
        model.eval();
        print!("\n{}", self.prompt);
        for chance in chances {
            // The window always has the same size, so there is only one plan. The causal mask hides the padding after
            // the last character.
            let seen = &text[text.len().saturating_sub(context)..];
            let mut window = seen.to_vec();
            window.resize(context, 0);
            let logits = no_grad(|| model.forward(&Tensor::new(window, [1, context], dev)));
            let next = self.choose(&logits.select(1, seen.len() as i64 - 1).to_vec::<f32>()?, chance);
            text.push(next);
            print!("{}", vocabulary.decode(&[next]));
            stdout().flush()?;
        }
        println!("\n");
        Ok(())
    }

    /// Draws a character, given a random number from 0 to 1: softmax of the largest logits divided by the temperature.
    fn choose(&self, logits: &[f32], chance: f32) -> i32 {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&i, &j| logits[j].total_cmp(&logits[i]));
        order.truncate(self.top_k);
        let best = f64::from(logits[order[0]]);
        let weight = |&i: &usize| ((f64::from(logits[i]) - best) / self.temperature).exp();
        let mut left = f64::from(chance) * order.iter().map(weight).sum::<f64>();
        let chosen = order.iter().find(|i| {
            left -= weight(i);
            left < 0.0
        });
        *chosen.unwrap_or(&order[0]) as i32
    }
}
